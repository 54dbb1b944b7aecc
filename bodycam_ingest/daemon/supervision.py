"""Watches the daemon's workers: alarms for those in trouble, pings for systemd while all move."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.daemon.workers import Worker
from bodycam_ingest.db import findings
from bodycam_ingest.db.damage import explain
from bodycam_ingest.errors import IngestError
from bodycam_ingest.linux import sd_notify
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from bodycam_ingest.db.ledger import LedgerWriter


CRASHED: Final = "worker_crashed"
FAULT: Final = "worker_fault"


class Supervisor:
    """The daemon's workers, and what is known of each.

    Args:
        engine: for reads.
        ledger: where a worker's trouble is recorded.
        halt: told of faults on which the process must end.
    """

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

    def add(self, name: str, step: Callable[[], float], silence_max_s: float) -> Worker:
        """A worker that `start` starts; arguments as `Worker`."""
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
        """Raise the alarm: a person hears of it without reading the log."""
        known = isinstance(error, IngestError)
        if isinstance(error, IngestError):
            what = error.message
        else:
            damaged = explain(self._engine)
            what = damaged.message if damaged else type(error).__name__
        with self._ledger.transaction() as txn:
            detail = f"{worker}: {what}; the log has the rest"
            findings.alarm(txn, subjects.worker(worker), FAULT if known else CRASHED, detail)

    def healed(self, worker: str) -> None:
        """Close what was raised about it, by this process or an earlier one."""
        subject = subjects.worker(worker)
        with self._engine.connect() as conn:
            if not findings.open_about(conn, subject):
                return
        with self._ledger.transaction() as txn:
            findings.close_about(txn, subject=subject)
