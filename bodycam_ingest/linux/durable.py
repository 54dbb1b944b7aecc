"""Writes that survive a power cut: write aside, fsync, rename without overwriting, fsync above.

Every durable act is bracketed by `act`, whose listener is how the crash tests stop the process on
either side of it. Without a listener it costs a call.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_RENAME_NOREPLACE: Final = 1
_AT_FDCWD: Final = -100
_libc: Final = ctypes.CDLL(None, use_errno=True)

_listener: Callable[[str], None] | None = None


def listen(listener: Callable[[str], None] | None) -> None:
    """Have `listener` called with `before:<act>` and `after:<act>` around each durable act."""
    global _listener  # noqa: PLW0603 - one process has one crash test
    _listener = listener


@contextlib.contextmanager
def act(name: str) -> Iterator[None]:
    """Bracket one durable act, named for people, e.g. `item.rename`."""
    if _listener is not None:
        _listener(f"before:{name}")
    yield
    if _listener is not None:
        _listener(f"after:{name}")


def rename_no_replace(source: Path | bytes | str, target: Path | bytes | str) -> None:
    """Rename within one file system; never over an existing name (renameat2 RENAME_NOREPLACE).

    Raises:
        FileExistsError: `target` exists; both names are as they were.
        OSError: as rename(2).
    """
    old, new = os.fsencode(source), os.fsencode(target)
    if _libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_NOREPLACE) == 0:
        return
    code = ctypes.get_errno()
    if code not in {errno.EINVAL, errno.ENOSYS}:
        raise OSError(code, os.strerror(code), old, None, new)
    # File systems without the flag: a hard link never replaces either.
    os.link(old, new, follow_symlinks=False)
    os.unlink(old)  # noqa: PTH108 - a name in bytes


def fsync_directory(path: Path | bytes | str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@dataclass
class _Asked:
    """Who wants one directory synced: how many wait, asked so far, and were served of these."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    waiting: int = 0
    asked: int = 0
    served: int = 0


class DirectorySync:
    """Syncs directories for many threads: one fsync(2) serves all who asked before it began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[tuple[int, int], _Asked] = {}

    def sync(self, fd: int) -> None:
        """Make the names in an open directory durable."""
        status = os.fstat(fd)
        directory = (status.st_dev, status.st_ino)
        with self._lock:
            one = self._asked.setdefault(directory, _Asked())
            one.waiting += 1
            one.asked += 1
            mine = one.asked
        try:
            with one.lock:
                if one.served < mine:
                    with self._lock:
                        serving = one.asked
                    fsync_directory(f"/proc/self/fd/{fd}")
                    one.served = serving
        finally:
            with self._lock:
                one.waiting -= 1
                if not one.waiting:
                    del self._asked[directory]


def _write_temporary(path: Path, data: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with _gone_on_failure(temporary):
        try:
            # Whatever the umask is.
            os.fchmod(fd, mode)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            os.fsync(fd)
        finally:
            os.close(fd)
    return temporary


@contextlib.contextmanager
def _gone_on_failure(temporary: Path) -> Iterator[None]:
    """Leave no half-made file behind when the block fails."""
    try:
        yield
    except BaseException:
        # What made the block fail is told; that the medium refuses the removal too adds nothing.
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def create_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Create a file with its content, durably, or not at all.

    Raises:
        FileExistsError: it exists; it is as it was.
        OSError: the medium refused; no file of that name was made.
    """
    temporary = _write_temporary(path, data, mode)
    with _gone_on_failure(temporary):
        rename_no_replace(temporary, path)
    fsync_directory(path.parent)


def replace_file(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace a file's content durably: a reader sees the old or the new, also after a power cut.

    Raises:
        OSError: the medium refused; the old content stands.
    """
    temporary = _write_temporary(path, data, mode)
    with _gone_on_failure(temporary):
        temporary.replace(path)
    fsync_directory(path.parent)


def make_directory(path: Path) -> None:
    """Make one directory, for this user alone and durably; an existing one is left as it is.

    Its name is synced also when it exists: a process that was killed may have made it and not
    lived to do so.

    Raises:
        OSError: the parent is missing or the medium refused.
    """
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    fsync_directory(path.parent)
