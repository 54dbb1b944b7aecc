"""A terminal for tests: runs a command on one of a given width and keeps what it shows."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def shown(
    arguments: list[str], env: Mapping[str, str], *, columns: int = 80, timeout_s: float = 60
) -> tuple[int, str]:
    """Run a command of the product on a terminal.

    Args:
        arguments: after `bodycam-ingest`.
        env: its environment.
        columns: how wide the terminal is.
        timeout_s: when to give up.

    Returns:
        The exit code, and everything that was written to stdout and stderr.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    kept = {k: v for k, v in env.items() if k not in {"COLUMNS", "NO_COLOR", "LINES"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "bodycam_ingest", *arguments],
        env={"TERM": "xterm", "LANG": "C.UTF-8", **kept},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    # Reading fails with EIO when the last writer is gone: that is a terminal's end of file.
    with contextlib.suppress(OSError):
        while chunk := os.read(ours, 65_536):
            written += chunk
    os.close(ours)
    return process.wait(timeout_s), written.decode("utf-8").replace("\r\n", "\n")
