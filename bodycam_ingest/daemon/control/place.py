"""Where the socket lies, and who is at its other end."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOCKET_NAME: Final = "control.sock"


@contextlib.contextmanager
def short_address(state_dir: Path) -> Iterator[str]:
    """The socket's address: a name for it that is never too long.

    A socket address holds 107 bytes; a state directory's path may be longer.
    """
    fd = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


def user_name(uid: int) -> str:
    """The account's name, or the number where there is no account."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def peer(connection: socket.socket) -> tuple[int, str]:
    """User id and account that connected, as the kernel knows them (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return uid, user_name(uid)
