"""Files read and written past the page cache (O_DIRECT), with a way round where that is refused.

Writing past the cache needs no separate write-back, and what is read back afterwards comes from
the medium. Some file systems refuse O_DIRECT when the file is opened, some only at the first
transfer: both answer EINVAL, and both are then used through the cache, written back early and
dropped from it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import stat
import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import ReadBackUnprovenError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

ALIGNMENT_BYTES: Final = 4096
_WRITE_BACK_EVERY_BYTES: Final = 8 * 1024 * 1024
_WRITE_BACK_SPAN_BYTES: Final = 16 * 1024 * 1024
_DROP_TRIES: Final = 5
_DROP_PAUSE_S: Final = 0.05
_TMPFS_MAGIC: Final = 0x01021994
_RAMFS_MAGIC: Final = 0x858458F6
# struct statfs is 120 bytes on 64-bit Linux; its first field is a long, the type.
_STATFS_BYTES: Final = 256
_libc: Final = ctypes.CDLL(None, use_errno=True)


def on_memory_file_system(fd: int) -> bool:
    """Whether an open file's medium is memory itself (tmpfs, ramfs)."""
    answer = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.fstatfs(fd, answer):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    kind = ctypes.c_ulong.from_buffer(answer).value & 0xFFFFFFFF
    return kind in {_TMPFS_MAGIC, _RAMFS_MAGIC}


def cached(fd: int, size_bytes: int) -> bool:
    """Whether any page of a file is in the page cache (mincore(2)).

    The kernel answers yes to whoever neither owns the file nor may write it.
    """
    if not size_bytes:
        return False
    pages = -(-size_bytes // mmap.PAGESIZE)
    marks = ctypes.create_string_buffer(pages)
    # A private writable mapping gives ctypes an address; nothing is ever written to it.
    with mmap.mmap(fd, size_bytes, access=mmap.ACCESS_COPY) as area:
        start = ctypes.c_char.from_buffer(area)
        failed = _libc.mincore(
            ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size_bytes), marks
        )
        code = ctypes.get_errno()
        del start
    if failed:
        raise OSError(code, os.strerror(code))
    return bool(marks.raw.strip(b"\0"))


def read_fully(read_some: Callable[[memoryview], int], view: memoryview, length: int) -> int:
    """Read `length` bytes by as many reads as it takes; fewer only at the file's end.

    `read_some` reads some bytes into the view that it is given, and returns how many. The view may
    have room for more than is wanted, which may be filled too.
    """
    done = read_some(view) if length else 0
    while 0 < done < length:
        count = read_some(view[done:])
        if not count:
            break
        done += count
    return min(done, length)


def _open(path: str, flags: int, mode: int = 0) -> tuple[int, bool]:
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, mode), True
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    # The refused open may have made the file: O_EXCL would then hit our own leftover.
    if flags & os.O_CREAT:
        _unlink_empty(path)
    return os.open(path, flags | os.O_CLOEXEC, mode), False


def _unlink_empty(path: str) -> None:
    try:
        if os.stat(path, follow_symlinks=False).st_size == 0:  # noqa: PTH116 - a plain string
            os.unlink(path)  # noqa: PTH108 - a plain string
    except FileNotFoundError:
        return


def _size_of_regular(fd: int, path: str) -> int:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.ELOOP, "no regular file", path)
    return found.st_size


class _File:
    """A file that is read or written past the page cache for as long as that works."""

    def __init__(self, path: str, flags: int, mode: int = 0) -> None:
        self._fd, self.direct = _open(path, flags, mode)

    def _leave_direct(self) -> None:
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags & ~os.O_DIRECT)
        self.direct = False

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_fault: object) -> None:
        self.close()


class NewFile(_File):
    """A new file, written front to back, durable after `finish`.

    Raises:
        FileExistsError: there is one; it is as it was.
        OSError: as open(2).
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._size_bytes = 0
        self._padded = False
        self._written_back = 0

    def write(self, buffer: memoryview, length: int) -> None:
        """Append `buffer[:length]` of an aligned buffer.

        The length is a multiple of 4096 for all but the last call. What lies behind it may be
        overwritten with zeros.
        """
        end = length
        if self.direct and length % ALIGNMENT_BYTES:
            end += -length % ALIGNMENT_BYTES
            buffer[length:end] = bytes(end - length)
            self._padded = True
        view = buffer[:end]
        while view:
            view = view[self._write_some(view) :]
        self._size_bytes += length
        if not self.direct and self._size_bytes - self._written_back >= _WRITE_BACK_EVERY_BYTES:
            self._write_back()

    def _write_some(self, view: memoryview) -> int:
        try:
            count = os.write(self._fd, view)
        except OSError as error:
            if error.errno != errno.EINVAL or not self.direct:
                raise
            self._leave_direct()
            count = os.write(self._fd, view)
        if not count:
            raise OSError(errno.EIO, "write(2) took no byte")
        return count

    def _write_back(self) -> None:
        # The kernel starts writing what it is told to drop, so the last fsync has little to do.
        start = max(0, self._size_bytes - _WRITE_BACK_SPAN_BYTES)
        os.posix_fadvise(self._fd, start, self._size_bytes - start, os.POSIX_FADV_DONTNEED)
        self._written_back = self._size_bytes

    def finish(self, mode: int) -> None:
        """Cut the padding off, set the mode, make the bytes durable."""
        if self._padded:
            os.ftruncate(self._fd, self._size_bytes)
        os.fchmod(self._fd, mode)
        os.fsync(self._fd)


class MediumFile(_File):
    """A file opened for reading what lies on the medium, front to back.

    Raises:
        OSError: as open(2); ELOOP for whatever is no regular file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # A FIFO in the file's place must not hold up whoever opens it.
        super().__init__(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            self.size_bytes = _size_of_regular(self._fd, path)
            self.in_memory = on_memory_file_system(self._fd)
            self._drop_cache()
        except OSError:
            self.close()
            raise

    def _drop_cache(self) -> None:
        if self.in_memory:
            return
        if not self.direct:
            # Pages that are not written yet cannot be dropped.
            os.fsync(self._fd)
        # Also where O_DIRECT holds: some file systems take the flag and use the cache still.
        os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def past_cache(self) -> bool:
        """Whether what is read now must come from the medium: nothing of the file is cached."""
        for _ in range(_DROP_TRIES):
            if self.direct or not cached(self._fd, self.size_bytes):
                return True
            time.sleep(_DROP_PAUSE_S)
            self._drop_cache()
        return False

    def read_into(self, buffer: memoryview, length: int) -> int:
        """Read the next `length` bytes into an aligned buffer; fewer only at the end.

        What lies behind them may be overwritten.

        Raises:
            OSError: as readv(2).
            ReadBackUnprovenError: the file system refused to read past the cache after all, and
                the file could not be driven out of it.
        """
        end = length + -length % ALIGNMENT_BYTES if self.direct else length
        return read_fully(self._read_some, buffer[:end], length)

    def _read_some(self, view: memoryview) -> int:
        try:
            return os.readv(self._fd, [view])
        except OSError as error:
            if error.errno != errno.EINVAL or not self.direct:
                raise
        self._leave_direct()
        self._drop_cache()
        # What was answered for reading past the cache proves nothing about reading through it.
        if not self.in_memory and not self.past_cache():
            raise ReadBackUnprovenError(f"{self._path} stays in the page cache")
        return os.readv(self._fd, [view])
