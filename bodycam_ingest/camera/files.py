"""Opening what lies on a camera's volume: never followed out of it, never blocked by it.

A recording is open for one read, and watched for changes from first to last.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import (
    SourceChangedError,
    SourceError,
    SourceForbiddenError,
    SourceGoneError,
    SourceUnreadableError,
    TooManyOpenFilesError,
)
from bodycam_ingest.linux import beneath
from bodycam_ingest.linux.direct_io import read_fully
from bodycam_ingest.model.evidence import StatSignature, printable_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

    from bodycam_ingest.errors import IngestError

_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_TIME_MIN_NS: Final = -(2**63)
_TIME_MAX_NS: Final = 2**63 - 1

_BY_FAULT: Final[dict[type[IngestError], str]] = {
    SourceGoneError: "ENODEV ENXIO ENOENT ENOTDIR ESTALE ESHUTDOWN ENOMEDIUM",
    SourceUnreadableError: "EIO EUCLEAN EBADMSG EINVAL",
    SourceForbiddenError: "EACCES EPERM",
    SourceChangedError: "ELOOP EXDEV EISDIR",
    TooManyOpenFilesError: "EMFILE ENFILE",
}
_BY_ERRNO: Final = {name: fault for fault, names in _BY_FAULT.items() for name in names.split()}


def source_error(error: OSError, path: bytes) -> IngestError:
    """What a failed call on a camera means; the only place that sorts them.

    Returns:
        A `SourceError`, or `TooManyOpenFilesError`, which is the dock's own. ENOENT is "gone",
        which proves nothing about the file: FAT says so after a pull.
    """
    name = errno.errorcode.get(error.errno or 0, "unknown")
    kind = _BY_ERRNO.get(name, SourceError)
    return kind(f"{printable_path(path)}: {name}: {error.strerror}")


@contextlib.contextmanager
def source_faults(path: bytes) -> Iterator[None]:
    """Translate every `OSError` of a `with` block by `source_error`."""
    try:
        yield
    except OSError as error:
        raise source_error(error, path) from error


def open_volume(mount_path: Path) -> int:
    """Open the root of a volume; the caller closes it.

    Raises:
        SourceError: it is not there or not a directory.
    """
    with source_faults(os.fsencode(mount_path)):
        return os.open(mount_path, _DIRECTORY)


def read_head(mount_path: Path, path: bytes, length: int) -> bytes:
    """The first `length` bytes of a file on a volume; fewer where it is shorter.

    Raises:
        SourceError: it could not be opened or read.
    """
    root_fd = open_volume(mount_path)
    try:
        fd = open_beneath(root_fd, path)
    finally:
        os.close(root_fd)
    try:
        with source_faults(path):
            return os.pread(fd, length, 0)
    finally:
        os.close(fd)


def _open(root_fd: int, path: bytes, flags: int) -> int:
    if b"\0" in path:
        raise OSError(errno.EINVAL, "a NUL byte in the path")
    try:
        # Evidence keeps its access time, where the file is ours to ask that of.
        return beneath.open_beneath(root_fd, path, flags | os.O_NOATIME, one_device=True)
    except PermissionError:
        return beneath.open_beneath(root_fd, path, flags, one_device=True)


def open_beneath(root_fd: int, path: bytes) -> int:
    """Open a regular file below a volume's root for reading; the caller closes it.

    Raises:
        SourceChangedError: it is no regular file, a link is on the way, or another file system.
        SourceError: it could not be opened; sorted by `source_error`.
    """
    with source_faults(path):
        fd = _open(root_fd, path, _READ)
        try:
            is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
        except OSError:
            os.close(fd)
            raise
    if not is_regular:
        os.close(fd)
        raise SourceChangedError(f"{printable_path(path)} is no regular file any more")
    return fd


def open_directory_beneath(root_fd: int, path: bytes) -> int:
    """Open a directory below a volume's root; the caller closes it.

    Raises:
        OSError: as openat2(2); the caller knows whether it lists or reads.
    """
    if not path:
        return os.open(b".", _DIRECTORY, dir_fd=root_fd)
    return _open(root_fd, path, _DIRECTORY)


def signature_of(fd: int) -> StatSignature:
    """The signature of an open file; raises `OSError` as fstat(2)."""
    return signature_from(os.fstat(fd))


def signature_from(status: os.stat_result) -> StatSignature:
    """The signature in a stat result; times that 64 bits of ns do not hold stand at their bound."""
    return StatSignature(
        size_bytes=status.st_size,
        # Years before 1678 and after 2262: no camera's clock, but a card may claim them.
        mtime_ns=max(_TIME_MIN_NS, min(_TIME_MAX_NS, status.st_mtime_ns)),
        inode=status.st_ino,
        device=status.st_dev,
    )


def read_exactly_at(fd: int, offset: int, length: int, path: bytes) -> bytes:
    """Exactly `length` bytes of an open file.

    Raises:
        SourceChangedError: the file ends before.
        OSError: as pread(2).
    """
    pieces = []
    while length > 0:
        piece = os.pread(fd, length, offset)
        if not piece:
            raise SourceChangedError(f"{printable_path(path)} ends before its size says")
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return b"".join(pieces)


class SourceFile:
    """A file on a camera that must be what it was when it was listed, until it has been read.

    Raises:
        SourceChangedError: it is not the file of that signature any more.
        SourceError: it could not be opened.
    """

    def __init__(self, root_fd: int, path: bytes, signature: StatSignature) -> None:
        self._path = path
        self._signature = signature
        self._fd = open_beneath(root_fd, path)
        try:
            self._compare("before it was read")
        except BaseException:
            self.close()
            raise

    def _compare(self, when: str) -> None:
        with source_faults(self._path):
            now = signature_of(self._fd)
        if now != self._signature:
            raise SourceChangedError(
                f"{printable_path(self._path)} changed {when}: {self._signature} became {now}"
            )

    def fill(self, buffer: memoryview, length: int) -> int:
        """Read the next `length` bytes; fewer only at the file's end.

        Raises:
            SourceError: the medium failed or is gone.
        """
        return read_fully(self._read_some, buffer[:length], length)

    def _read_some(self, view: memoryview) -> int:
        with source_faults(self._path):
            return os.readv(self._fd, [view])

    def confirm(self, count: int) -> None:
        """Make sure that the `count` bytes read are the whole of an unchanged file.

        Raises:
            SourceChangedError: size, mtime, inode or device differ from before.
            SourceUnreadableError: the file ended early though its size says otherwise.
            SourceError: the file could not be asked.
        """
        self._compare("while it was read")
        if count != self._signature.size_bytes:
            raise SourceUnreadableError(
                f"{printable_path(self._path)} gave {count} of {self._signature.size_bytes} bytes"
            )

    def close(self) -> None:
        """Close the file and have the kernel forget it, so that a second read asks the medium."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()
