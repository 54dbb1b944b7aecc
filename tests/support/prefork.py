"""Processes that are forked from one in which the product is imported already.

A daemon that is started the usual way is a second of processor time on imports alone, and the
tests start two hundred. `python -m tests.support.prefork` imports once, has no threads, and forks;
each child sets its environment and its output up and calls the program's own `main`, or a function
of the tests. Such a function may fork too; a process of pytest-xdist may not, for its threads.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REPOSITORY = Path(__file__).parents[2]
_MESSAGE_BYTES_MAX = 128 * 1024


class _Order(NamedTuple):
    work: Callable[[], int | None]
    log: str
    env: dict[str, str]


class _Answer(NamedTuple):
    pid: int
    # None when it was just started.
    code: int | None = None


class Forked:
    """One such process, with the face of `subprocess.Popen`."""

    def __init__(self, nursery: Prefork, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        if self.returncode is None:
            self.returncode = self._nursery.ended(self.pid, 0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has one."""
        if self.returncode is None:
            self.returncode = self._nursery.ended(self.pid, 3600 if timeout is None else timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("bodycam-ingest", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            # It may end at this moment, and is waited for elsewhere.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Prefork:
    """The process that forks, as seen by the tests. One thread uses it."""

    def __init__(self) -> None:
        # Whole messages, so that what select(2) says of the socket is all there is to read.
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.prefork"],
                cwd=_REPOSITORY,
                stdin=theirs.fileno(),
            )
        self._codes: dict[int, int] = {}

    def close(self) -> None:
        """End it; what it forked was waited for before."""
        self._ours.close()
        self._process.wait(30)

    def start(
        self, work: Callable[[], int | None], log: Path, env: Mapping[str, str] | None = None
    ) -> Forked:
        """Run a function in a process of its own.

        Args:
            work: can be pickled; what it returns is the exit code, 0 for None.
            log: what the process writes is appended to it.
            env: its environment; None for that of the tests.
        """
        order = _Order(work, os.fspath(log), dict(os.environ if env is None else env))
        self._ours.sendall(pickle.dumps(order))
        while (answer := self._read()).code is not None:
            pass
        return Forked(self, answer.pid)

    def ended(self, pid: int, timeout_s: float) -> int | None:
        """The exit code of a child, waiting for it; None when it still runs after that time."""
        until_s = time.monotonic() + timeout_s
        while pid not in self._codes:
            left_s = max(0.0, until_s - time.monotonic())
            if not select.select([self._ours], [], [], left_s)[0]:
                return None
            self._read()
        return self._codes.pop(pid)

    def _read(self) -> _Answer:
        answer: _Answer = pickle.loads(self._ours.recv(_MESSAGE_BYTES_MAX))
        if answer.code is not None:
            self._codes[answer.pid] = answer.code
        return answer


_shared: list[Prefork] = []


def shared() -> Prefork:
    """The one of this run, started when first asked for."""
    if not _shared:
        _shared.append(Prefork())
    return _shared[0]


def close_shared() -> None:
    """End it, if it was started."""
    while _shared:
        _shared.pop().close()


def program(*arguments: str) -> Callable[[], int]:
    """`bodycam-ingest` with arguments, as work."""
    return functools.partial(_program, arguments)


def _program(arguments: tuple[str, ...]) -> int:
    from bodycam_ingest.cli import main  # noqa: PLC0415 - imported before the fork

    sys.argv = ["bodycam-ingest", *arguments]
    return main()


def apart(work: Callable[[], None], log: Path, timeout_s: float = 240) -> None:
    """Run a function in a process of its own, to its end; it must not fail.

    Args:
        work: can be pickled.
        log: where what it writes goes.
        timeout_s: how long it may take, s.
    """
    process = shared().start(work, log)
    try:
        code = process.wait(timeout_s)
    finally:
        # With whatever it forked itself.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert code == 0, log.read_text(errors="replace")[-6000:]


def _child(pickled: bytes) -> int | None:
    order: _Order = pickle.loads(pickled)
    os.setsid()
    log = os.open(order.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    os.closerange(3, 64)
    sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
    os.environ.clear()
    os.environ.update(order.env)
    time.tzset()
    return order.work()


def _serve() -> None:
    import bodycam_ingest.cli.setup  # noqa: PLC0415
    import bodycam_ingest.daemon.service  # noqa: F401, PLC0415
    from bodycam_ingest.config import EnvironmentCredentials, S3StoreConfig  # noqa: PLC0415
    from bodycam_ingest.stores.s3 import endpoint  # noqa: PLC0415

    # What is read from files at the first client is there for all.
    names = EnvironmentCredentials(
        source="environment", access_key_variable="HOME", secret_key_variable="HOME"
    )
    nowhere = S3StoreConfig(name="nowhere", type="s3", bucket="nowhere", credentials=names)
    endpoint.build(nowhere, 1)
    orders = socket.socket(fileno=os.dup(0))
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    while True:
        readable = select.select([orders.fileno(), woken], [], [])[0]
        if woken in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(woken, 4096)
            with contextlib.suppress(ChildProcessError):
                while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                    code = os.waitstatus_to_exitcode(ended[1])
                    orders.sendall(pickle.dumps(_Answer(ended[0], code)))
        if orders.fileno() in readable:
            order = orders.recv(_MESSAGE_BYTES_MAX)
            if not order:
                return
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                end_with(functools.partial(_child, order))
            orders.sendall(pickle.dumps(_Answer(pid)))


def end_with(work: Callable[[], int | None]) -> NoReturn:
    """Run a function in a process that was just forked, and end it by that function's code."""
    code = 70
    try:
        code = work() or 0
    except BaseException:  # noqa: BLE001 - told in the log and by the code
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        # Nothing of the parent's is unwound or flushed a second time.
        os._exit(code)


if __name__ == "__main__":
    # What is sent here was pickled by this module under its own name.
    from tests.support import prefork

    prefork._serve()
