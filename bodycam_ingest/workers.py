"""Named threads that run one step after another, and a record of when each last moved."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from bodycam_ingest.errors import Disposition, IngestError

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

_PAUSE_AFTER_FAULT_S: Final = 5.0
_PAUSE_MAX_S: Final = 5.0
_here: Final = threading.local()


def moving() -> None:
    """Say that the step moves which runs in this thread; does nothing outside of a worker."""
    worker: Worker | None = getattr(_here, "worker", None)
    if worker is not None:
        worker.beat()


@dataclass(frozen=True, slots=True)
class Stall:
    """A worker that did not move for longer than it may.

    Args:
        name: the worker.
        silent_s: since when.
        alive: its thread still runs.
    """

    name: str
    silent_s: float
    alive: bool


class Worker:
    """A thread that calls `step` until it is told to stop.

    Args:
        name: for logs and the supervisor.
        step: does one piece of work; returns the seconds until it wants to be called again.
        halt: told of faults on which the process must end.
        silence_max_s: how long one step may take before the supervisor calls it stalled.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float],
        halt: Callable[[IngestError], None],
        *,
        silence_max_s: float,
    ) -> None:
        self.name = name
        self._step = step
        self._halt = halt
        self._silence_max_s = silence_max_s
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._moved_s = time.monotonic()
        # A thread stuck in a dead device must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Have the next step begin now."""
        self._wake.set()

    def stop(self) -> None:
        """Have the thread end after the step that it is in."""
        self._stop.set()
        self._wake.set()

    def beat(self) -> None:
        """Say that a long step moves; called from inside of it."""
        self._moved_s = time.monotonic()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end; returns whether it has ended."""
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def stall(self) -> Stall | None:
        """Why this worker counts as stalled, None while it does not."""
        silent_s = time.monotonic() - self._moved_s
        alive = self._thread.is_alive()
        if alive and silent_s <= self._silence_max_s:
            return None
        return Stall(self.name, silent_s, alive)

    def _run(self) -> None:
        _here.worker = self
        while not self._stop.is_set():
            self.beat()
            self._wake.clear()
            try:
                wait_s = self._step()
            except IngestError as error:
                if error.disposition is Disposition.HALT:
                    self._halt(error)
                    return
                log.exception("worker.fault", worker=self.name, error=error.code, hint=error.hint)
                wait_s = _PAUSE_AFTER_FAULT_S
            except Exception:  # the outermost guard: a defect is logged, work goes on
                log.exception("worker.crashed", worker=self.name)
                wait_s = _PAUSE_AFTER_FAULT_S
            # Short waits, so that a worker with nothing to do is still seen to move.
            self._wake.wait(min(wait_s, _PAUSE_MAX_S))
