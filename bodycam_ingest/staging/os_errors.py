"""Sorts what the operating system says about the dock's own disk into the tree of faults, once."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import (
    StagingError,
    StagingForbiddenError,
    StagingFullError,
    StagingMissingError,
    StagingReadOnlyError,
    StagingUnreadableError,
    TooManyOpenFilesError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CLASSES: Final[Mapping[int, type[StagingError]]] = {
    errno.ENOSPC: StagingFullError,
    errno.EDQUOT: StagingFullError,
    errno.EROFS: StagingReadOnlyError,
    errno.EIO: StagingUnreadableError,
    errno.ENODEV: StagingUnreadableError,
    errno.ENXIO: StagingUnreadableError,
    errno.ESTALE: StagingUnreadableError,
    errno.EUCLEAN: StagingUnreadableError,
    errno.EBADMSG: StagingUnreadableError,
    # No regular file where a copy should be.
    errno.ELOOP: StagingUnreadableError,
    errno.EREMOTEIO: StagingUnreadableError,
    errno.EMFILE: TooManyOpenFilesError,
    errno.ENFILE: TooManyOpenFilesError,
    errno.EACCES: StagingForbiddenError,
    errno.EPERM: StagingForbiddenError,
}


def staging_error(error: OSError, doing: str, *, sealed: bool = False) -> StagingError:
    """The fault that an `OSError` on staging stands for, to be raised from it.

    Args:
        error: what the system call gave.
        doing: what was being done, for people.
        sealed: the file is a sealed copy: then its absence is a fault of its own.
    """
    message = f"{doing}: {error.strerror or error} (errno {error.errno})"
    if sealed and error.errno == errno.ENOENT:
        return StagingMissingError(message)
    return _CLASSES.get(error.errno or 0, StagingError)(message)


@contextlib.contextmanager
def staging_faults(doing: str, *, sealed: bool = False) -> Iterator[None]:
    """Translate every `OSError` of a `with` block; arguments as `staging_error`."""
    try:
        yield
    except OSError as error:
        raise staging_error(error, doing, sealed=sealed) from error
