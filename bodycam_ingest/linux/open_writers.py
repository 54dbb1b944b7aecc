"""Whether a process of this machine can write to a volume, or still holds a file open for it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import signal
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bodycam_ingest.linux import mountinfo

if TYPE_CHECKING:
    from collections.abc import Iterator

_FRESH_S: Final = 1.0
_WRITE_MODES: Final = frozenset({os.O_WRONLY, os.O_RDWR})


def nobody_can_write(fd: int) -> bool:
    """Whether the file system of a file is read-only for this whole machine.

    That its mount is read-only, which is what statvfs(3) tells, means less: another mount of the
    same file system may be writable, and all but a few are read-only to a service with
    ProtectSystem= alone. What has no block device may be written from elsewhere.
    """
    try:
        if not os.major(os.fstat(fd).st_dev):
            return False
        info = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
        mount_id = int(next(ln.split()[1] for ln in info.splitlines() if ln.startswith("mnt_id:")))
        mounts = mountinfo.parse(Path("/proc/self/mountinfo").read_bytes())
    except (OSError, ValueError, StopIteration):
        return False
    return any(one.mount_id == mount_id and "ro" in one.super_options for one in mounts)


def held_open_for_writing(fd: int) -> bool:
    """Whether anyone is known to have a file open for writing that we have open for reading only.

    A read lease (fcntl(2), F_SETLEASE) is refused while a writer has the file open; it needs the
    file's owner or CAP_LEASE. Without either, /proc is searched as far as this user sees it.
    """
    try:
        # A writer that opens meanwhile is signalled to us; the default SIGIO would end the process.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return True
        return _seen_in_proc(fd)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


class _Writers:
    """Every file that a process of this machine, as far as this user sees, holds open to write.

    One look serves a card of thousands of files: each look costs as much as all processes have
    files open.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: frozenset[tuple[int, int]] = frozenset()
        self._looked_s = -math.inf

    def files(self) -> frozenset[tuple[int, int]]:
        """Device and inode of each, as they were at most `_FRESH_S` ago."""
        with self._lock:
            if time.monotonic() - self._looked_s > _FRESH_S:
                self._files = frozenset(_open_for_writing())
                self._looked_s = time.monotonic()
            return self._files


_writers: Final = _Writers()


def _seen_in_proc(fd: int) -> bool:
    wanted = os.fstat(fd)
    return (wanted.st_dev, wanted.st_ino) in _writers.files()


def _open_for_writing() -> Iterator[tuple[int, int]]:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        # Other users' processes and those that just ended cannot be looked into.
        with contextlib.suppress(OSError):
            for link in (process / "fd").iterdir():
                # It may be closed while we look.
                with contextlib.suppress(OSError):
                    found = link.stat()
                    if stat.S_ISREG(found.st_mode) and _writes(process, link):
                        yield found.st_dev, found.st_ino


def _writes(process: Path, link: Path) -> bool:
    info = (process / "fdinfo" / link.name).read_text(encoding="ascii")
    flags = next(line.split()[1] for line in info.splitlines() if line.startswith("flags:"))
    return (int(flags, 8) & os.O_ACCMODE) in _WRITE_MODES
