"""Opens what lies below a directory, and nothing that a link on the way leads to.

The kernel does the guarding where it can: openat2(2). Where that call is missing or forbidden, the
path is walked name by name with O_NOFOLLOW.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import Final

_libc: Final = ctypes.CDLL(None, use_errno=True)
_SYS_OPENAT2: Final = 437
# RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH; and RESOLVE_NO_XDEV
_RESOLVE: Final = 0x02 | 0x04 | 0x08
_NO_XDEV: Final = 0x01
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_beneath(root_fd: int, path: bytes, flags: int, *, one_device: bool) -> int:
    """Open a path below a directory, with flags as open(2); the caller closes it.

    For whatever may be no directory they hold O_NOFOLLOW. No other file system is entered where it
    must be `one_device`.

    Raises:
        OSError: as openat2(2): ELOOP for a link, EXDEV for what lies elsewhere.
    """
    try:
        return _openat2(root_fd, path, flags, _RESOLVE | (_NO_XDEV if one_device else 0))
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EPERM, errno.EAGAIN}:
            raise
    return _open_by_walking(root_fd, path, flags, one_device=one_device)


def _openat2(root_fd: int, path: bytes, flags: int, resolve: int) -> int:
    how = struct.pack("QQQ", flags, 0, resolve)
    fd = _libc.syscall(_SYS_OPENAT2, root_fd, path, how, len(how))
    if fd < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(fd)


def _open_by_walking(root_fd: int, path: bytes, flags: int, *, one_device: bool) -> int:
    names = path.split(b"/")
    if b".." in names or b"" in names:
        raise OSError(errno.EXDEV, "the path leaves the directory")
    device = os.fstat(root_fd).st_dev
    fd = os.dup(root_fd)
    try:
        for index, name in enumerate(names):
            last = index == len(names) - 1
            inner = os.open(name, flags if last else _DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = inner
            if one_device:
                _must_be_on(device, fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def _must_be_on(device: int, fd: int) -> None:
    if os.fstat(fd).st_dev != device:
        raise OSError(errno.EXDEV, "another file system is mounted there")
