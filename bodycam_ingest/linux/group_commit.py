"""Makes a batch of small files durable together, because one fsync after another is slow.

Where staging has a file system to itself, one syncfs(2) serves the whole batch. Elsewhere that
would flush other people's files too, so a number of threads fsync side by side, which lets the
file system put many of them into one journal commit.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import errno
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

_SYNC_THREADS: Final = 16
# So many files times threads are open at once, twice: those being written, those being synced.
_FILES_A_THREAD: Final = 4
_SYNCFS_TELLS_ERRORS_SINCE: Final = (5, 8)
_libc: Final = ctypes.CDLL(None, use_errno=True)


def syncfs_tells_errors(release: str = "") -> bool:
    """Whether syncfs(2) reports failed write-back (Linux 5.8 and later); empty: our kernel's."""
    numbers = (release or os.uname().release).split("-", maxsplit=1)[0].split(".")[:2]
    try:
        return tuple(int(number) for number in numbers) >= _SYNCFS_TELLS_ERRORS_SINCE
    except ValueError:
        return False


def _syncfs(fd: int) -> None:
    if _libc.syncfs(fd):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _write_new(path: str, data: bytes | bytearray, mode: int) -> int:
    """Write a new file; returns its descriptor."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, mode)
        # Starts the write-back now, and with it the choice of blocks: one commit of the journal
        # then holds many files, where each fsync would else begin another (on ext4 40 % less time).
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _sync_and_close(files: Sequence[tuple[int, int]]) -> dict[int, OSError]:
    """Make files durable that are given as key and descriptor; returns faults by key."""
    faults = {}
    for key, fd in files:
        try:
            os.fsync(fd)
        except OSError as error:
            faults[key] = error
        finally:
            os.close(fd)
    return faults


class GroupCommit:
    """Writes new small files on a directory's file system; `commit` returns when all are durable.

    Files are written in the caller's thread, into the page cache. Of each the threads make two
    system calls: every one more would hand the interpreter's lock around once more. With
    `whole_file_system` all of the file system is flushed at once instead.

    Raises:
        OSError: the directory could not be opened.
    """

    def __init__(self, directory: Path, *, mode: int, whole_file_system: bool) -> None:
        self._mode = mode
        self._faults: dict[int, OSError] = {}
        self._fd = -1
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None
        self._written: list[tuple[int, int]] = []
        self._pending: list[concurrent.futures.Future[dict[int, OSError]]] = []
        if whole_file_system:
            # Opened before the first write: syncfs tells of faults since its file was opened.
            self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            self._threads = concurrent.futures.ThreadPoolExecutor(_SYNC_THREADS, "group-commit")

    def add(self, key: int, path: str, data: bytes | bytearray) -> None:
        """Write one new file; a fault is told by `commit` under its key.

        Raises:
            OSError: no thread could be started.
        """
        try:
            fd = _write_new(path, data, self._mode)
        except OSError as error:
            self._faults[key] = error
            return
        self.add_open(key, fd)

    def add_open(self, key: int, fd: int) -> None:
        """Make durable what was done through a descriptor, which is closed; else as `add`."""
        if self._threads is None:
            os.close(fd)
            return
        self._written.append((key, fd))
        if len(self._written) >= _SYNC_THREADS * _FILES_A_THREAD:
            self._sync_written(self._threads)

    def _sync_written(self, threads: concurrent.futures.ThreadPoolExecutor) -> None:
        """Have the threads sync what is written, once they are through with what was before."""
        self._collect()
        written, self._written = self._written, []
        for start in range(0, len(written), _FILES_A_THREAD):
            files = written[start : start + _FILES_A_THREAD]
            try:
                self._pending.append(threads.submit(_sync_and_close, files))
            except RuntimeError as error:
                self._written = written[start:]
                raise OSError(errno.EAGAIN, "no thread could be started") from error

    def _collect(self) -> None:
        pending, self._pending = self._pending, []
        for job in pending:
            self._faults |= job.result()

    def commit(self) -> dict[int, OSError]:
        """Wait until all is durable, but for the single files whose faults are returned by key.

        Raises:
            OSError: the file system failed as a whole: none can be taken for durable.
        """
        if self._threads is None:
            _syncfs(self._fd)
        else:
            self._sync_written(self._threads)
            self._collect()
        return self._faults

    def close(self) -> None:
        """End the threads and close what was not synced; a second call does nothing."""
        if self._threads is not None:
            self._threads.shutdown()
        written, self._written = self._written, []
        for _, fd in written:
            os.close(fd)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_fault: object) -> None:
        self.close()
