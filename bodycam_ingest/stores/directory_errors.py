"""What the operating system says about a directory store, sorted into the tree of faults, once."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import (
    StoreError,
    StoreFullError,
    StoreMisconfiguredError,
    StoreUnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_CLASSES: Final[Mapping[int, type[StoreError]]] = {
    errno.ENOSPC: StoreFullError,
    errno.EDQUOT: StoreFullError,
    errno.EROFS: StoreMisconfiguredError,
    errno.EACCES: StoreMisconfiguredError,
    errno.EPERM: StoreMisconfiguredError,
    errno.ENOTDIR: StoreMisconfiguredError,
    errno.ENOENT: StoreUnreachableError,
    errno.EIO: StoreUnreachableError,
    errno.ENODEV: StoreUnreachableError,
    errno.ENXIO: StoreUnreachableError,
    errno.ESTALE: StoreUnreachableError,
    errno.ENOTCONN: StoreUnreachableError,
    errno.EHOSTDOWN: StoreUnreachableError,
    errno.EHOSTUNREACH: StoreUnreachableError,
    errno.ENETUNREACH: StoreUnreachableError,
    errno.ECONNREFUSED: StoreUnreachableError,
    errno.ECONNRESET: StoreUnreachableError,
    errno.ETIMEDOUT: StoreUnreachableError,
    errno.EINTR: StoreUnreachableError,
    errno.EAGAIN: StoreUnreachableError,
    errno.EMFILE: StoreUnreachableError,
    errno.ENFILE: StoreUnreachableError,
}
_HINTS: Final[Mapping[int, str]] = {
    errno.ENOSPC: "Make room below {path}; uploads continue by themselves.",
    errno.EDQUOT: "Raise the quota of the daemon's user on {path}, or make room.",
    errno.EROFS: "Mount {path} writable. Where it is, the service may not write there: name it in "
    "ReadWritePaths= of the unit.",
    errno.EACCES: "Give {path} and all below it to the daemon's user (chown, chmod u+rwX).",
    errno.EPERM: "Give {path} and all below it to the daemon's user (chown, chmod u+rwX).",
    errno.EIO: "Look at the disk or share below {path}; uploads continue by themselves.",
}


@contextlib.contextmanager
def faults(doing: str, path: Path) -> Iterator[None]:
    """Raise what the operating system says about a store's files as the `StoreError` that it is.

    What is being done is told to people, the path in what they can do about it.
    """
    try:
        yield
    except OSError as error:
        kind = _CLASSES.get(error.errno or 0, StoreError)
        hint = _HINTS.get(error.errno or 0, "").format(path=path)
        text = f"{doing}: {error.strerror or error} (errno {error.errno})"
        raise kind(text, hint=hint) from error
