"""When the ledger's checkpoint goes off the dock, and that this makes no further one due."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter

import pytest
import sqlalchemy as sa

from bodycam_ingest.custody import entries
from bodycam_ingest.db import own_objects
from bodycam_ingest.db.own_objects import AnchorState
from bodycam_ingest.db.schema import ledger_entry, metadata_object, object_work, store_work
from bodycam_ingest.errors import StoreConflictError, StoreThrottledError, StoreTooLargeError
from bodycam_ingest.linux import clock
from bodycam_ingest.model import object_keys
from bodycam_ingest.upload.checkpoints import CheckpointPublisher, due
from tests.support.dockbench import ORIGIN
from tests.support.memory_store import Fault
from tests.support.store_dock import StoreDock

INTERVAL_MS = 900_000
HOUR_S = 3600
QUIET = AnchorState(queued_size=8, written_at="", waiting_seq=None, under_way=0, news=True)


@pytest.mark.parametrize(
    ("change", "size", "age_ms", "expected"),
    [
        ({}, 10, 2_000, False),
        ({}, 10, INTERVAL_MS, True),
        ({}, 8, 10 * INTERVAL_MS, False),
        ({"news": False}, 10, 10 * INTERVAL_MS, False),
        # A release waits: at once when the burst is over, once a minute while it lasts.
        ({"waiting_seq": 9}, 10, 2_000, True),
        ({"waiting_seq": 9}, 10, 500, False),
        ({"waiting_seq": 9, "under_way": 3}, 10, 2_000, False),
        ({"waiting_seq": 9, "under_way": 3}, 10, 60_000, True),
        # What waits lies under a checkpoint that is on its way already.
        ({"waiting_seq": 7}, 10, 2_000, False),
    ],
)
def test_a_checkpoint_is_written_when_something_waits_for_it_and_not_for_every_entry(
    change, size, age_ms, expected
):
    state = dataclasses.replace(QUIET, **change)
    assert due(state, size, age_ms, interval_ms=INTERVAL_MS) is expected


class Idle(StoreDock):
    """A dock where nothing happens but the passing of time."""

    def __init__(self, bench, monkeypatch) -> None:
        self.passed_s = 0.0
        for name in ("now_ms", "boot_ms"):
            start = getattr(clock, name)()
            monkeypatch.setattr(
                clock, name, lambda start=start: start + round(self.passed_s * 1000)
            )
        super().__init__(bench, "a", "b", now_ms=clock.now_ms)
        with bench.ledger.transaction() as txn:
            for name in self.stores:
                txn.add(entries.store_added(name, type="s3", required=True, returned=False))

    def start(self) -> None:
        super().start()
        engine, ledger = self.bench.engine, self.bench.ledger
        stores = [(name, True) for name in self.stores]
        self.publisher = CheckpointPublisher(
            engine, ledger, stores, interval_s=300, heartbeat_s=HOUR_S
        )

    def live(self, hours: float) -> Counter[str]:
        """Let time pass; returns what was recorded, by type."""
        before = self.bench.ledger.head.size
        until_s = self.passed_s + hours * HOUR_S
        while self.passed_s < until_s:
            self.passed_s += 300
            self.publisher.tick()
            for store in self.stores:
                self.drain(store)
        return Counter(self.types()[before:])

    def types(self) -> list[str]:
        with self.bench.engine.connect() as conn:
            return list(
                conn.execute(sa.select(ledger_entry.c.type).order_by(ledger_entry.c.seq)).scalars()
            )

    def anchored(self) -> int:
        return self.bench.anchored(*self.stores)


@pytest.fixture
def idle(bench, monkeypatch):
    return Idle(bench, monkeypatch)


@pytest.mark.long
def test_an_idle_dock_writes_nothing_but_heartbeats(idle):
    idle.live(1)
    for _ in range(2):
        told = idle.live(6)
        assert told == {"log.heartbeat": 6, "object.confirmed": 12}
        idle.restart()
    with idle.bench.engine.connect() as conn:
        assert own_objects.first_news_at(conn, idle.anchored()) is None


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        # A key that is taken: the checkpoint goes to another one, which is told each time.
        (StoreConflictError, {"log.heartbeat": 6, "object.confirmed": 12, "object.refused": 6}),
        (StoreTooLargeError, {"log.heartbeat": 6, "object.confirmed": 6, "object.refused": 6}),
    ],
)
def test_a_store_that_refuses_each_checkpoint_makes_no_dock_talk_to_itself(idle, fault, told):
    def is_plain(key):
        return key.startswith("ledger/") and "-" not in key.rpartition("/")[2]

    refuses = Fault("look", lambda: fault("injected"), times=-1, matches=is_plain)
    idle.stores["b"].faults.append(refuses)
    idle.live(2)
    assert idle.live(6) == told
    assert len(idle.bench.open_alarms()) == 1


def test_an_object_with_a_fault_of_its_own_waits_as_long_as_the_store_asks(idle):
    asks = Fault("look", lambda: StoreThrottledError("slow down", retry_after_s=5000.0), times=-1)
    idle.stores["b"].faults.append(asks)
    idle.live(0.1)
    # The store's own wait is over and forgotten: the same object meets the same fault, from a
    # store that is well.
    with idle.bench.ledger.transaction() as txn:
        txn.conn.execute(store_work.delete())
        txn.conn.execute(object_work.update().values(due_ms=0))
    idle.live(0.1)
    with idle.bench.engine.connect() as conn:
        again = sa.select(object_work.c.due_ms).where(object_work.c.attempts == 2)
        due_ms = conn.execute(again).scalar_one()
    assert due_ms - clock.now_ms() > 4_000_000


def test_work_that_was_lost_is_made_again(idle):
    with idle.bench.ledger.transaction() as txn:
        txn.append("daemon.started", "daemon", {})
    idle.stores["b"].faults.append(Fault("look", times=-1))
    idle.live(0.2)
    with idle.bench.ledger.transaction() as txn:
        txn.conn.execute(object_work.delete())
    idle.stores["b"].faults.clear()
    size = idle.bench.ledger.head.size
    idle.live(0.5)
    assert idle.anchored() >= size


@pytest.mark.long
@pytest.mark.parametrize("named", [None, "genesis"])
def test_a_planted_row_anchors_nothing(idle, named):
    idle.live(1)
    before = idle.anchored()
    row = {
        "store": "a",
        "key": object_keys.checkpoint_key(ORIGIN, 10**6),
        "kind": "checkpoint",
        "sha256": bytes(32),
        "state": "confirmed",
        "ledger_size": 10**6,
        "seq": 0 if named else 10**6,
    }
    with idle.bench.ledger.transaction() as txn:
        txn.conn.execute(metadata_object.insert(), [row, {**row, "store": "b"}])
        work = {key: row[key] for key in ("key", "kind", "ledger_size")}
        txn.conn.execute(object_work.insert(), [{**work, "store": "a"}, {**work, "store": "b"}])
    assert idle.anchored() == before
    told = idle.live(2)
    assert idle.anchored() > before
    # Nobody signed such a checkpoint: it is refused, and a person is told.
    assert told["object.refused"] == 2
    raised = [finding["code"] for finding in idle.bench.entries("finding.raised")]
    assert raised == ["local_copy_damaged"] * 2


def test_each_confirmation_names_what_was_stored(idle):
    idle.live(1)
    for entry in idle.bench.entries("object.confirmed"):
        note = idle.stores[entry["store"]].objects[entry["key"]].body
        assert entry["size"] == object_keys.checkpoint_size(entry["key"].rpartition("/")[2])
        assert f"\n{entry['size']}\n".encode() in note
        assert entry["sha256"] == hashlib.sha256(note).hexdigest()
