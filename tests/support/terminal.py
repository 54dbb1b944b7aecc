"""Commands of the product as a person sees them: in this process, or on a real terminal."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from bodycam_ingest.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


class _Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def said(*arguments: str, env: Mapping[str, str], columns: int | None = None) -> Said:
    """Run a command in this process: a hundred of them cost less than ten processes.

    Args:
        arguments: after `bodycam-ingest`.
        env: its environment.
        columns: how wide the terminal is that it writes to; None for a pipe.
    """
    out, err = (_Screen() if columns else io.StringIO() for _ in range(2))
    more = {"COLUMNS": str(columns), "TERM": "xterm"} if columns else {}
    with (
        mock.patch.dict(os.environ, {**more, **env}),
        mock.patch.object(sys, "argv", ["bodycam-ingest", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        time.tzset()
        code = main()
    time.tzset()
    return Said(code, out.getvalue(), err.getvalue())


def told(*arguments: str, env: Mapping[str, str]) -> Any:
    """What a command prints with `--json`."""
    return json.loads(said(*arguments, "--json", env=env).stdout)


def on_a_terminal(
    *arguments: str, env: Mapping[str, str], columns: int = 80, timeout_s: float = 60
) -> tuple[int, str]:
    """Run a command as a process on a terminal; its exit code and all that it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    # The terminal says itself how wide it is.
    kept = {k: v for k, v in env.items() if k not in {"COLUMNS", "LINES"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "bodycam_ingest", *arguments],
        env={**kept, "TERM": "xterm", "LANG": "C.UTF-8"},
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
