"""The daemon's threads, each one step after another, and the watch that they move and are well."""

from __future__ import annotations

import contextvars
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest.db import findings
from bodycam_ingest.db.soundness import explain
from bodycam_ingest.errors import Disposition, IngestError
from bodycam_ingest.linux import sd_notify
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from bodycam_ingest.db.ledger import LedgerWriter

CRASHED: Final = "worker_crashed"
FAULT: Final = "worker_fault"

# One part over a slow line, or a large copy read back, is one step.
_SILENCE_MAX_S: Final = 1800.0
_FIRST_PAUSE_S: Final = 5.0
_LONGEST_PAUSE_S: Final = 300.0
_DOUBLINGS_MAX: Final = 20
# So long without a fault, and an earlier one counts as over.
_HEALED_AFTER_S: Final = 60.0
_PAUSE_MAX_S: Final = 5.0
# Of this thread, and of those that a step hands work to with `contextvars.copy_context`.
_here: Final[contextvars.ContextVar[Worker | None]] = contextvars.ContextVar("worker", default=None)


def heartbeat() -> None:
    """Say that the step moves which runs in this thread; does nothing outside of a worker."""
    worker = _here.get()
    if worker is not None:
        worker.beat()


def byte_heartbeat() -> Callable[[int], None]:
    """What says that the worker of this thread moves, to be called from any thread with a count."""
    worker = _here.get()

    def beat(_count: int) -> None:
        if worker is not None:
            worker.beat()

    return beat


@dataclass(frozen=True, slots=True)
class Stall:
    """A worker that did not move for longer than it may; its thread may even have ended."""

    name: str
    silent_s: float
    alive: bool


class Worker:
    """A thread that calls `step` until it is told to stop.

    After a fault it waits, longer each time, until it has worked without one for a while. Each kind
    of fault is logged once in that time, with its traceback.

    Args:
        step: does one piece of work; returns the seconds until it wants to be called again.
        halt: told of faults on which the process must end.
        silence_max_s: how long one step may take before the supervisor calls it stalled.
        witness: hears of faults that leave the worker going on.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], float],
        halt: Callable[[IngestError], None],
        *,
        silence_max_s: float,
        witness: Supervisor | None = None,
    ) -> None:
        self.name = name
        self._witness = witness
        # Of the trouble that it is in; only its own thread looks at these.
        self._faults = 0
        self._reported: set[str] = set()
        self._well_since_s: float | None = time.monotonic()
        self._step = step
        self._halt = halt
        self._silence_max_s = silence_max_s
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._retry = threading.Event()
        self._moved_s = time.monotonic()
        # A thread stuck in a dead device must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Have the next step begin now."""
        self._wake.set()

    def retry(self) -> None:
        """As `wake`, and a pause after a fault is over too: a person says so."""
        self._retry.set()
        self._wake.set()

    def stop(self) -> None:
        """Have the thread end after the step that it is in."""
        self._stop.set()
        self._wake.set()
        self._retry.set()

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
        _here.set(self)
        while True:
            self.beat()
            # Cleared before it is asked whether to stop, so that a stop is never slept through.
            self._wake.clear()
            self._retry.clear()
            if self._stop.is_set():
                return
            try:
                wait_s = self._step()
                self._worked()
            except Exception as error:  # noqa: BLE001 - the outermost guard: it is logged, work goes on
                if self._halts(error):
                    return
                self._log(error)
                if self._halts(self._bear_witness(error)):
                    return
                self._sit_out()
                continue
            # Short waits, so that a worker with nothing to do is still seen to move.
            self._wake.wait(min(wait_s, _PAUSE_MAX_S))

    def _halts(self, error: Exception | None) -> bool:
        if isinstance(error, IngestError) and error.disposition is Disposition.HALT:
            self._halt(error)
            return True
        return False

    def _worked(self) -> None:
        now_s = time.monotonic()
        if self._well_since_s is None:
            # Well after the trouble before, or for the first time since the start.
            return
        if now_s - self._well_since_s < _HEALED_AFTER_S:
            return
        if self._faults:
            log.info("worker.recovered", worker=self.name, faults=self._faults)
        if self._witness is not None:
            self._witness.healed(self.name)
        self._well_since_s, self._faults = None, 0
        self._reported.clear()

    def _log(self, error: Exception) -> None:
        self._faults += 1
        self._well_since_s = None
        if _kind(error) in self._reported:
            return
        if isinstance(error, IngestError):
            log.error(
                "worker.fault",
                worker=self.name,
                error=error.code,
                hint=error.hint,
                exc_info=error,
            )
        else:
            log.error("worker.crashed", worker=self.name, exc_info=error)

    def _bear_witness(self, error: Exception) -> Exception | None:
        """Tell the witness; gives the fault that it met itself."""
        kind = _kind(error)
        if kind in self._reported or self._witness is None:
            self._reported.add(kind)
            return None
        try:
            self._witness.troubled(self.name, error)
        except Exception as second:  # it must not end the thread without a word
            log.exception("worker.trouble_not_recorded", worker=self.name)
            return second
        self._reported.add(kind)
        return None

    def _sit_out(self) -> None:
        until_s = time.monotonic() + min(
            _LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** min(self._faults - 1, _DOUBLINGS_MAX)
        )
        while (left_s := until_s - time.monotonic()) > 0:
            self.beat()
            if self._retry.wait(min(left_s, _PAUSE_MAX_S)):
                break
        self._well_since_s = time.monotonic()


def _kind(error: Exception) -> str:
    return error.code if isinstance(error, IngestError) else type(error).__name__


class Supervisor:
    """The daemon's workers, and what is known of each."""

    def __init__(
        self, engine: Engine, ledger: LedgerWriter, halt: Callable[[IngestError], None]
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._halt = halt
        self._workers: list[Worker] = []
        self._stalled: dict[str, float] = {}
        self._ping_every_s = sd_notify.watchdog_interval_s()
        self._next_ping_s = 0.0

    # -- the workers --

    def add(
        self, name: str, step: Callable[[], float], silence_max_s: float | None = None
    ) -> Worker:
        """A worker that `start` starts; arguments as `Worker`."""
        silence_max_s = _SILENCE_MAX_S if silence_max_s is None else silence_max_s
        worker = Worker(name, step, self._halt, silence_max_s=silence_max_s, witness=self)
        self._workers.append(worker)
        return worker

    def start(self) -> None:
        """Start all."""
        for worker in self._workers:
            worker.start()

    def retry(self) -> None:
        """Have every worker look for work now, whatever it waits for."""
        for worker in self._workers:
            worker.retry()

    def stop(self) -> None:
        """Have every worker end after the step that it is in."""
        for worker in self._workers:
            worker.stop()

    def join(self, until_s: float) -> list[str]:
        """Wait for all until a monotonic time; returns the names of those that still run."""
        return [w.name for w in self._workers if not w.join(until_s - time.monotonic())]

    # -- what the daemon's main thread calls --

    def look(self) -> None:
        """Log who stands still or moves again; ping systemd while nobody stands still."""
        now_s = time.monotonic()
        stalls = {stall.name: stall for w in self._workers if (stall := w.stall())}
        for name, stall in stalls.items():
            if name not in self._stalled:
                self._stalled[name] = now_s - stall.silent_s
                log.error(
                    "daemon.stalled",
                    worker=name,
                    silent_s=round(stall.silent_s),
                    alive=stall.alive,
                )
        for name in self._stalled.keys() - stalls.keys():
            silent_s = round(now_s - self._stalled.pop(name))
            log.info("daemon.moves_again", worker=name, silent_s=silent_s)
        # Without pings systemd restarts the daemon, which is what a stalled one needs.
        if self._ping_every_s and not stalls and now_s >= self._next_ping_s:
            sd_notify.notify("WATCHDOG=1")
            self._next_ping_s = now_s + self._ping_every_s

    # -- what the workers tell --

    def troubled(self, worker: str, error: Exception) -> None:
        """Raise the alarm: a step failed after a time in which none did, or by another fault."""
        if isinstance(error, IngestError):
            code, what = FAULT, error.message
        else:
            damaged = explain(self._engine)
            code, what = CRASHED, damaged.message if damaged else type(error).__name__
        with self._ledger.transaction() as txn:
            detail = f"{worker}: {what}; the log has the rest"
            findings.alarm(txn, subjects.worker(worker), code, detail)

    def healed(self, worker: str) -> None:
        """Close what was raised about it, by this process or an earlier one."""
        subject = subjects.worker(worker)
        with self._engine.connect() as conn:
            if not findings.open_about(conn, subject):
                return
        with self._ledger.transaction() as txn:
            findings.close_about(txn, subject=subject)
