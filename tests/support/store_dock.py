"""A dock with stores in memory, and everything that moves an item after it was read."""

from __future__ import annotations

import datetime as dt
import functools
import random
from typing import TYPE_CHECKING

from bodycam_ingest.daemon.admin import AdminCommands
from bodycam_ingest.model import backoff
from bodycam_ingest.release.purge import Purger
from bodycam_ingest.release.store_witness import Witnesses
from bodycam_ingest.staging.copies import open_copies
from bodycam_ingest.upload.uploader import Uploader
from tests.support.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.model.backoff import StoreLimits
    from tests.support.dockbench import Bench


delay_s = functools.partial(backoff.delay_s, uniform=random.uniform)


class Clock:
    """A time of day that a test sets, ms since 1970."""

    def __init__(self) -> None:
        self.ms = round(dt.datetime(2026, 3, 14, 12, tzinfo=dt.UTC).timestamp() * 1000)

    def __call__(self) -> int:
        return self.ms


class StoreDock:
    """Uploader, purger and admin commands over a bench; `start` makes them anew.

    Args:
        bench: ledger, database and staging.
        names: of its stores.
        now_ms: the time, ms since 1970; `clock` where it is not given.
    """

    def __init__(self, bench: Bench, *names: str, now_ms: Callable[[], int] | None = None) -> None:
        self.bench = bench
        self.clock = Clock()
        self._now_ms = now_ms or self.clock
        self.stores = {name: MemoryStore(name) for name in names}
        self.limits: dict[str, StoreLimits] = {}
        self.keep_days = 0
        self.heartbeat: Callable[[], None] = lambda: None
        self.start()

    def start(self) -> None:
        """As at a start of the process, with `heartbeat` as it is now."""
        engine, ledger = self.bench.engine, self.bench.ledger
        self.copies = open_copies(self.bench.directory / "staging")
        self.uploader = Uploader(
            engine=engine,
            ledger=ledger,
            stores=self.stores,
            open_staged=self.bench.staging.open_staged,
            delay_s=delay_s,
            limits=lambda: self.limits,
            heartbeat=self.heartbeat,
            now_ms=self._now_ms,
        )
        self.purger = Purger(
            engine,
            ledger,
            self.copies.staging,
            Witnesses(
                engine,
                self.stores,
                identify=self.uploader.identify_store,
                record=self.uploader.store_record,
                now_ms=self._now_ms,
            ),
            keep_days=lambda: self.keep_days,
            delay_s=delay_s,
            now_ms=self._now_ms,
        )
        self.admin = AdminCommands(engine, ledger, self.copies, list(self.stores))

    def restart(self) -> None:
        """As after the end of the process."""
        self.bench.reopen()
        self.start()

    def drain(self, store: str, limit: int = 200) -> float | None:
        """Send until nothing is due now."""
        for _ in range(limit):
            wait_s = self.uploader.run_due(store)
            if wait_s is None or wait_s > 0:
                return wait_s
        raise AssertionError("there is no end")
