"""Whether a process of this machine still holds a file open for writing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
from pathlib import Path
from typing import Final

_READ_ONLY: Final = os.ST_RDONLY
_WRITE_MODES: Final = frozenset({os.O_WRONLY, os.O_RDWR})


def held_open_for_writing(fd: int) -> bool:
    """Whether anyone is known to have this file open for writing.

    A read lease (fcntl(2), F_SETLEASE) is refused while a writer has the file open; it needs the
    file's owner or CAP_LEASE. Without either, /proc is searched as far as this user sees it.

    Args:
        fd: the file, open for reading only.

    Returns:
        True when a writer is known; False when none is, which on a read-only mount is certain.
    """
    if os.fstatvfs(fd).f_flag & _READ_ONLY:
        return False
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


def _seen_in_proc(fd: int) -> bool:
    wanted = os.fstat(fd)
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        # Other users' processes and those that just ended cannot be looked into.
        with contextlib.suppress(OSError):
            for link in (process / "fd").iterdir():
                if _writes(process, link, wanted):
                    return True
    return False


def _writes(process: Path, link: Path, wanted: os.stat_result) -> bool:
    try:
        found = link.stat()
        if (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino):
            return False
        info = (process / "fdinfo" / link.name).read_text(encoding="ascii")
    except OSError:
        # It was closed while we looked.
        return False
    flags = next(line.split()[1] for line in info.splitlines() if line.startswith("flags:"))
    return (int(flags, 8) & os.O_ACCMODE) in _WRITE_MODES
