"""A process that kills itself at a durable moment."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PREAMBLE = """
import os, signal, sys
from pathlib import Path
from bodycam_ingest.linux import durable

moment, state, *more = sys.argv[1], *map(Path, sys.argv[2:])

def kill(when):
    if when == moment:
        os.kill(os.getpid(), signal.SIGKILL)

durable.listen(kill)
"""


def killed(moment: str, work: str, state: Path, *more: Path) -> None:
    """Have a process do some work on a state directory, and not live through it.

    Args:
        moment: "before:" or "after:" and a durable act, or what `work` itself calls `kill` with.
        work: statements; `state` and `more` are at hand.
        state: the state directory.
        more: further paths.
    """
    done = subprocess.run(
        [sys.executable, "-c", _PREAMBLE + textwrap.dedent(work), moment, state, *more],
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
