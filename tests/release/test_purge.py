"""Purging: the dock's copy goes only when every required store proves the bytes again."""

from __future__ import annotations

import dataclasses
import os

import pytest
import structlog

from bodycam_ingest.daemon.control.requests import RetryRequest
from bodycam_ingest.db import dock_time, items
from bodycam_ingest.db.schema import item
from bodycam_ingest.errors import (
    StagingReadOnlyError,
    StoreError,
    StoreMisconfiguredError,
    StoreUnreachableError,
)
from bodycam_ingest.model.lifecycle import ItemState
from bodycam_ingest.upload.checkpoints import CheckpointPublisher
from tests.support import facts
from tests.support.dockbench import DOCKING_ID, Bench
from tests.support.memory_store import Fault, MemoryStore
from tests.support.patching import fail
from tests.support.store_dock import StoreDock

pytestmark = pytest.mark.long

HOUR_MS = 3_600_000


class Dock(StoreDock):
    """A dock whose items are released, with the worker that purges."""

    def __init__(self, bench: Bench, *names: str) -> None:
        super().__init__(bench, *names)
        self.required = list(names)

    def restart(self) -> None:
        super().restart()
        self.purger.begin()

    def send(self) -> None:
        for store in self.stores:
            self.drain(store)

    def released(self, count: int) -> list[str]:
        """So many items that every store confirmed, and that were released."""
        stores = [(name, True) for name in self.stores]
        ids = [self.bench.add(os.urandom(500), stores) for _ in range(count)]
        self.send()
        with self.bench.ledger.transaction() as txn:
            for item_id in ids:
                facts.release(txn, item_id, DOCKING_ID)
        return ids

    def announced(self, count: int) -> list[str]:
        """So many items whose purge stands under a checkpoint in every store."""
        ids = self.released(count)
        for _ in range(count):
            self.purger.step(self.required)
            if all(self.bench.item(i).purging_seq is not None for i in ids):
                break
        self.anchor()
        return ids

    def anchor(self) -> None:
        stores = [(name, True) for name in self.stores]
        engine, ledger = self.bench.engine, self.bench.ledger
        manager = CheckpointPublisher(engine, ledger, stores, interval_s=0, heartbeat_s=1)
        manager._queue(ledger.head.size)
        self.send()

    def purge(self, limit: int = 1000) -> None:
        """Steps until nothing is due now."""
        for _ in range(limit):
            if self.purger.step(self.required) != 0.0:
                return
        raise AssertionError("there is no end")

    def pass_time(self, hours: float, every_s: float = 600) -> None:
        """Let time go by, with everything tried when it is due."""
        until = self.clock.ms + round(hours * HOUR_MS)
        while self.clock.ms < until:
            self.clock.ms += round(every_s * 1000)
            self.purge()

    def states(self, ids) -> list[str]:
        return [self.bench.item(item_id).state.value for item_id in ids]

    def copy(self, item_id: str):
        return self.bench.directory / "staging" / self.bench.item(item_id).staged_path

    def key(self, item_id: str) -> str:
        return self.bench.item(item_id).key()

    def asked(self, store: str = "a") -> int:
        return len(self.stores[store].calls)


@pytest.fixture
def make(bench):
    return lambda *names: Dock(bench, *names)


def test_a_copy_goes_when_every_required_store_proved_it_again_one_a_step(make) -> None:
    dock = make("a", "b")
    ids = dock.announced(3)
    confirmed = [store.calls.count(("confirm", dock.key(ids[0]))) for store in dock.stores.values()]
    assert dock.purger.step(dock.required) == 0.0
    assert sorted(dock.states(ids)) == ["purged", "released", "released"]
    dock.purge()
    assert dock.states(ids) == ["purged"] * 3
    again = [store.calls.count(("confirm", dock.key(ids[0]))) for store in dock.stores.values()]
    assert again == [count + 1 for count in confirmed]
    assert not [path for path in (dock.bench.directory / "staging").rglob("*") if path.is_file()]


def test_nothing_goes_before_its_intent_is_anchored_in_every_required_store(make) -> None:
    dock = make("a", "b")
    (item_id,) = dock.released(1)
    dock.purge()
    assert dock.bench.item(item_id).purging_seq is not None
    dock.stores["b"].faults.append(Fault("put", times=-1))
    dock.anchor()
    dock.purge()
    assert dock.copy(item_id).exists()


def _zeros(kept, _other=None):
    return dataclasses.replace(kept, body=bytes(len(kept.body)))


REPLACED = {
    "zeros": _zeros,
    "another recording": lambda _kept, other: other,
    "another under our name": lambda kept, other: dataclasses.replace(
        other, metadata=kept.metadata
    ),
    "ours under another name": lambda kept, other: dataclasses.replace(
        kept, metadata=other.metadata
    ),
    "nobody's": lambda kept, _other: dataclasses.replace(kept, metadata={}),
}


def _put_zeros(dock, item_id):
    """Have the store hold other bytes; returns what it held."""
    objects = dock.stores["a"].objects
    well = objects[dock.key(item_id)]
    objects[dock.key(item_id)] = _zeros(well)
    return well


@pytest.mark.parametrize("replace", REPLACED.values(), ids=REPLACED)
@pytest.mark.parametrize("where", ["a", "b"])
def test_a_copy_stays_when_a_store_holds_something_else_of_the_same_size(
    make, replace, where
) -> None:
    dock = make("a", "b")
    bad, good = dock.announced(2)
    objects = dock.stores[where].objects
    well = objects[dock.key(bad)]
    objects[dock.key(bad)] = replace(well, objects[dock.key(good)])
    with structlog.testing.capture_logs() as lines:
        dock.purge()
        dock.pass_time(3)
    assert dock.states([bad, good]) == ["released", "purged"]
    assert dock.copy(bad).exists()
    assert dock.bench.open_alarms() == [("purge_held", f"item:{bad}")]
    held = [line for line in lines if line["event"] == "item.purge_held"]
    assert len(held) == 1
    # The object is well again: nobody has to do anything.
    objects[dock.key(bad)] = well
    dock.pass_time(7)
    assert dock.states([bad]) == ["purged"]
    assert dock.bench.open_alarms() == []
    assert dock.bench.item(bad).last_error == ""


def test_what_is_bad_waits_alone_and_ever_longer(make) -> None:
    dock = make("a")
    ids = dock.announced(25)
    for item_id in ids[:20]:
        _put_zeros(dock, item_id)
    dock.purge()
    assert dock.states(ids[20:]) == ["purged"] * 5
    for item_id in ids[1:20]:
        with dock.bench.ledger.transaction() as txn:
            items.postpone(txn, item_id, attempts=99, due_ms=dock.clock.ms + 6 * HOUR_MS, error="x")
    waits = []
    for _ in range(40):
        row = dock.bench.item(ids[0])
        waits.append(row.due_ms - dock.clock.ms)
        dock.clock.ms = row.due_ms
        dock.purge()
    assert max(waits[:5]) <= 32_000
    assert min(waits[-5:]) >= 15 * 60_000


def test_a_dead_store_costs_one_question_a_pause_and_no_recordings_alarm(make) -> None:
    dock = make("a", "b")
    ids = dock.announced(60)
    dock.stores["a"].faults += [
        Fault(call, times=-1, error=lambda: StoreUnreachableError("no route"))
        for call in ("identity", "probe", "confirm", "look")
    ]
    asked, commits = dock.asked(), dock.bench.ledger.commits
    with structlog.testing.capture_logs() as lines:
        dock.pass_time(0.25, every_s=10)
    assert dock.states(ids) == ["released"] * 60
    assert dock.bench.open_alarms() == []
    assert len(lines) <= 40, lines
    assert dock.asked() - asked <= 40
    assert dock.bench.ledger.commits - commits <= 80
    # An hour without a sign of life is the store's alarm, once.
    dock.pass_time(2)
    assert dock.bench.open_alarms() == [("store_unreachable", "store:a")]
    dock.stores["a"].faults.clear()
    dock.pass_time(0.2)
    assert dock.states(ids) == ["purged"] * 60
    assert dock.bench.open_alarms() == []
    assert dock.bench.store_row("a").last_error == ""


def test_a_store_that_is_paused_is_not_even_looked_at(make) -> None:
    dock = make("a", "b")
    ids = dock.announced(2)
    dock.stores["b"].faults.append(Fault("put", times=1))
    dock.bench.add(b"another", [("b", True)])
    dock.send()
    assert dock.bench.store_row("b").paused_until_ms > dock.clock.ms
    before = dock.asked("a"), dock.asked("b")
    wait_s = dock.purger.step(dock.required)
    assert wait_s is not None
    assert wait_s > 0
    assert (dock.asked("a"), dock.asked("b")) == before
    assert dock.states(ids) == ["released"] * 2
    assert [dock.bench.item(i).last_error for i in ids] == ["", ""]


def test_another_store_in_the_old_ones_place_is_the_stores_fault_and_no_recordings(make) -> None:
    dock = make("a")
    ids = dock.announced(5)
    dock.stores["a"] = MemoryStore("a", identity="memory:2")
    dock.restart()
    dock.purge()
    assert dock.bench.open_alarms() == [(StoreMisconfiguredError.code, "store:a")]
    assert dock.states(ids) == ["released"] * 5


@pytest.mark.parametrize("error", [StoreError, StoreUnreachableError])
def test_one_object_that_cannot_be_asked_for_holds_up_no_other(make, error) -> None:
    dock = make("a")
    ids = dock.announced(5)
    key = dock.key(ids[0])
    dock.stores["a"].faults.append(
        Fault("confirm", times=-1, error=lambda: error("this one alone"), matches=key.__eq__)
    )
    dock.pass_time(1)
    assert dock.states(ids) == ["released"] + ["purged"] * 4
    dock.pass_time(5)
    assert [code for code, _ in dock.bench.open_alarms()] == ["purge_held"]
    dock.stores["a"].faults.clear()
    dock.pass_time(7)
    assert dock.states(ids) == ["purged"] * 5
    assert dock.bench.open_alarms() == []


def test_what_a_store_required_now_never_had_is_not_purged(make) -> None:
    dock = make("a")
    announced = dock.announced(2)
    later = dock.released(2)
    dock.stores["new"] = MemoryStore("new")
    dock.required = ["a", "new"]
    dock.restart()
    dock.pass_time(2)
    assert dock.states(announced + later) == ["released"] * 4
    assert [dock.bench.item(i).purging_seq for i in later] == [None, None]
    assert dock.bench.open_alarms() == []


def test_a_store_that_is_no_longer_required_is_not_asked(make) -> None:
    dock = make("a", "b")
    ids = dock.announced(2)
    del dock.stores["b"]
    dock.required = ["a"]
    dock.restart()
    dock.purge()
    assert dock.states(ids) == ["purged"] * 2


def test_without_any_required_store_nothing_goes(make) -> None:
    dock = make("a")
    ids = dock.announced(2)
    dock.required = []
    assert dock.purger.step([]) is None
    assert dock.states(ids) == ["released"] * 2


def test_a_disk_that_cannot_delete_is_one_finding_for_all_copies(make, monkeypatch) -> None:
    dock = make("a")
    ids = dock.announced(8)
    with monkeypatch.context() as patch:
        fail(patch, dock.copies.staging, "purge", StagingReadOnlyError("read-only file system"))
        with structlog.testing.capture_logs() as lines:
            dock.pass_time(1)
        assert dock.bench.open_alarms() == [("purge_held", "dock:staging")]
    assert len(lines) <= 4, lines
    dock.pass_time(7)
    assert dock.states(ids) == ["purged"] * 8
    assert dock.bench.open_alarms() == []


@pytest.mark.parametrize("how", ["restart", "retry", "retry item"])
def test_a_restart_or_retry_looks_again_at_once(make, how) -> None:
    dock = make("a")
    (item_id,) = dock.announced(1)
    well = _put_zeros(dock, item_id)
    dock.pass_time(5)
    dock.stores["a"].objects[dock.key(item_id)] = well
    dock.purge()
    assert dock.states([item_id]) == ["released"]
    if how == "restart":
        dock.restart()
    else:
        request = RetryRequest(item=item_id if how == "retry item" else None)
        dock.admin.execute(request, "admin")
    # A recording that is named is sent again to every store, and goes when each has it.
    dock.send()
    dock.purge()
    assert dock.states([item_id]) == ["purged"]


DAY_MS = 24 * HOUR_MS


@pytest.fixture
def hands(monkeypatch):
    """The dock's own time and who vouches for the clock, as a test says."""
    told = {"dock_ms": 0, "vouched": dock_time.NTP}
    monkeypatch.setattr(dock_time, "now_ms", lambda _conn: told["dock_ms"])
    monkeypatch.setattr(
        dock_time, "word", lambda _conn: dock_time.Word(vouched=str(told["vouched"]))
    )
    return told


def test_a_copy_goes_by_the_docks_own_time_and_by_no_time_of_day(make, hands) -> None:
    dock = make("a")
    dock.keep_days = 30
    # Released in March 2026 by the time of day, which is long ago.
    ids = dock.released(2)
    with dock.bench.ledger.transaction() as txn:
        for number, item_id in enumerate(ids):
            released_dock_ms = number * DAY_MS
            txn.conn.execute(
                item.update()
                .where(item.c.item_id == item_id)
                .values(released_dock_ms=released_dock_ms)
            )
    hands["dock_ms"] = 30 * DAY_MS - 1
    dock.purge()
    dock.anchor()
    dock.purge()
    assert dock.states(ids) == ["released"] * 2
    hands["dock_ms"] = 30 * DAY_MS
    dock.purge()
    dock.anchor()
    dock.purge()
    assert dock.states(ids) == ["purged", "released"]


def test_while_nobody_vouches_for_the_clock_nothing_is_announced_or_goes(make, hands) -> None:
    dock = make("a")
    ids = dock.announced(2)
    later = dock.released(1)
    with dock.bench.ledger.transaction() as txn:
        txn.conn.execute(item.update().values(released_dock_ms=0))
    dock.keep_days = 1
    hands["dock_ms"], hands["vouched"] = 2 * DAY_MS, ""
    asked, commits = dock.asked(), dock.bench.ledger.commits
    for _ in range(10):
        assert dock.purger.step(dock.required) is None
    assert dock.states(ids + later) == ["released"] * 3
    assert dock.bench.item(later[0]).purging_seq is None
    assert dock.asked() == asked
    # Told once, and as no alarm: no camera waits for it.
    assert dock.bench.ledger.commits == commits + 1
    assert dock.bench.entries("finding.raised")[-1]["code"] == "clock_in_doubt"
    assert dock.bench.open_alarms() == []
    hands["vouched"] = dock_time.PERSON
    dock.purge()
    dock.anchor()
    dock.purge()
    assert dock.states(ids + later) == ["purged"] * 3


def test_without_days_to_keep_the_clock_decides_nothing(make, hands) -> None:
    dock = make("a")
    hands["vouched"] = ""
    ids = dock.announced(2)
    dock.purge()
    assert dock.states(ids) == ["purged"] * 2


def test_a_purge_that_was_cut_off_after_the_file_was_deleted_is_recorded(make) -> None:
    dock = make("a")
    (item_id,) = dock.announced(1)
    dock.copy(item_id).unlink()
    dock.restart()
    dock.purge()
    assert dock.bench.item(item_id).state is ItemState.PURGED
