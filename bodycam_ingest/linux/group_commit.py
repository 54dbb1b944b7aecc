"""Makes a crowd of small files durable together, because one fsync after another is slow.

Where staging has a file system to itself, one syncfs(2) serves the whole crowd. Elsewhere that
would flush other people's files too, so a number of threads fsync side by side, which lets the
file system put many of them into one journal commit.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import errno
import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

_SYNC_THREADS: Final = 16
# Files read but not yet durable; with SMALL_FILE_BYTES this bounds the memory.
_IN_FLIGHT_MAX: Final = 2 * _SYNC_THREADS
_SYNCFS_TELLS_ERRORS_SINCE: Final = (5, 8)
_libc: Final = ctypes.CDLL(None, use_errno=True)


def syncfs_tells_errors(release: str = "") -> bool:
    """Whether this kernel's syncfs(2) reports failed write-back (Linux 5.8 and later).

    Args:
        release: the kernel's release; the running one's when empty.
    """
    numbers = (release or os.uname().release).split("-", maxsplit=1)[0].split(".")[:2]
    try:
        return tuple(int(number) for number in numbers) >= _SYNCFS_TELLS_ERRORS_SINCE
    except ValueError:
        return False


def _syncfs(fd: int) -> None:
    if _libc.syncfs(fd):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _write_new(path: str, data: bytes | bytearray, mode: int, *, sync: bool) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, mode)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


class GroupCommit:
    """Writes new small files; `commit` returns when all of them are durable.

    Args:
        directory: a directory on the file system that is written to.
        mode: permissions that the files get.
        whole_file_system: flush all of the file system at once.

    Raises:
        OSError: the directory could not be opened.
    """

    def __init__(self, directory: Path, *, mode: int, whole_file_system: bool) -> None:
        self._mode = mode
        self._faults: dict[int, OSError] = {}
        self._fd = -1
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None
        self._room = threading.Semaphore(_IN_FLIGHT_MAX)
        self._pending: dict[int, concurrent.futures.Future[None]] = {}
        if whole_file_system:
            # Opened before the first write: syncfs tells of faults since its file was opened.
            self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            self._threads = concurrent.futures.ThreadPoolExecutor(_SYNC_THREADS, "group-commit")

    def add(self, key: int, path: str, data: bytes | bytearray) -> None:
        """Write one file; a fault is told by `commit`.

        Args:
            key: what the fault is told under.
            path: where; must not exist.
            data: its content.

        Raises:
            OSError: no thread could be started.
        """
        if self._threads is None:
            try:
                _write_new(path, data, self._mode, sync=False)
            except OSError as error:
                self._faults[key] = error
            return
        self._room.acquire()
        try:
            job = self._threads.submit(_write_new, path, data, self._mode, sync=True)
        except RuntimeError as error:
            self._room.release()
            raise OSError(errno.EAGAIN, "no thread could be started") from error
        job.add_done_callback(lambda _: self._room.release())
        self._pending[key] = job

    def commit(self) -> dict[int, OSError]:
        """Wait until everything added is durable.

        Returns:
            The faults of single files, by key; all others are durable.

        Raises:
            OSError: the file system failed as a whole: none can be taken for durable.
        """
        if self._threads is None:
            _syncfs(self._fd)
        for key, job in self._pending.items():
            fault = job.exception()
            if isinstance(fault, OSError):
                self._faults[key] = fault
            elif fault is not None:
                raise fault
        return self._faults

    def close(self) -> None:
        """End the threads; a second call does nothing."""
        if self._threads is not None:
            self._threads.shutdown()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
