"""Uploads: nothing is lost, given up or claimed, whatever the stores do."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
import structlog.testing
from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.custody import entries, item_entries
from bodycam_ingest.daemon.workers import Worker, heartbeat
from bodycam_ingest.db import findings, items, own_objects, resending, store_health, uploads
from bodycam_ingest.db.schema import document, ledger_entry, object_work
from bodycam_ingest.errors import (
    LedgerUnwritableError,
    LocalCopyDamagedError,
    StagingUnreadableError,
    StoreClockSkewError,
    StoreConflictError,
    StoreCredentialsError,
    StoreError,
    StoreIntegrityError,
    StoreMisconfiguredError,
    StoreThrottledError,
    StoreUnreachableError,
    UsageError,
)
from bodycam_ingest.model import object_keys, subjects
from bodycam_ingest.model.backoff import StoreLimits, UploadWindow
from bodycam_ingest.model.evidence import part_size_for
from bodycam_ingest.model.lifecycle import ItemState, UploadState
from bodycam_ingest.upload.queue import SMALL_BYTES, Claim, UploadQueue
from tests.support import facts
from tests.support.dockbench import CAMERA, DOCKING_ID
from tests.support.memory_store import Fault, MemoryStore
from tests.support.patching import fail
from tests.support.sending import Bytes, Journal, object_of
from tests.support.store_dock import StoreDock
from tests.support.threads import together

if TYPE_CHECKING:
    from bodycam_ingest.db.standing import LedgerHead

BODY = os.urandom(5000)
HOUR_MS = 3_600_000


class Dock(StoreDock):
    """A dock on which work can be waited for."""

    def work_on(self, store: str, rounds: int = 60) -> None:
        """Work, and let the time come for whatever waits."""
        for _ in range(rounds):
            wait_s = self.drain(store)
            if wait_s is None:
                return
            self.wait(wait_s)
        raise AssertionError("it still waits")

    @property
    def main(self) -> MemoryStore:
        """The store of a dock that has one."""
        return self.stores["main"]

    def wait(self, wait_s: float | None) -> None:
        """Let so much time pass."""
        self.clock.ms += round((wait_s or 0) * 1000) + 1

    def state(self, item_id: str) -> ItemState:
        """The item's."""
        return self.bench.item(item_id).state

    def confirmed(self, *ids: str) -> bool:
        """Whether all of them are."""
        return all(self.state(item_id) is ItemState.CONFIRMED for item_id in ids)

    def asked(self, call: str) -> list[str]:
        """The keys that the one store was asked for by a call."""
        return [key for name, key in self.stores["main"].calls if name == call]


@pytest.fixture
def dock(bench):
    return Dock(bench, "main")


def add(dock: Dock, body: bytes = BODY, stores=(("main", True),)) -> str:
    return dock.bench.add(body, stores)


def occupy(dock: Dock, key: str) -> None:
    """Have an object of somebody else lie at a key."""
    other = MemoryStore("x")
    other.send(object_of(b"foreign", key), Bytes(b"foreign"), Journal())
    dock.main.objects[key] = other.objects[key]


def test_an_item_is_confirmed_only_when_every_required_store_proved_it(bench) -> None:
    dock = Dock(bench, "a", "b", "extra")
    item_id = add(dock, stores=[("a", True), ("b", True), ("extra", False)])
    dock.drain("a")
    assert bench.item(item_id).state is ItemState.VERIFIED
    assert bench.entries("item.confirmed")[0]["outstanding"] == ["b"]
    dock.drain("extra")
    assert bench.item(item_id).state is ItemState.VERIFIED
    dock.drain("b")
    row = bench.item(item_id)
    assert row.state is ItemState.CONFIRMED
    last = bench.entries("item.confirmed")[-1]
    assert (last["store"], last["outstanding"], last["sha256"]) == ("b", [], row.sha256.hex())
    assert row.confirmed_seq is not None
    key = bench.item(item_id).key()
    assert all(store.objects[key].body == BODY for store in dock.stores.values())


@pytest.mark.long
def test_being_stored_everywhere_is_not_being_confirmed_everywhere(bench) -> None:
    dock = Dock(bench, "a", "b")
    # Of a large one is told that it is stored, before the proof that may take long.
    item_id = add(dock, bytes(300_000), stores=[("a", True), ("b", True)])
    for store in dock.stores.values():
        store.faults.append(Fault("confirm"))
    dock.drain("a")
    dock.drain("b")
    assert bench.item(item_id).state is ItemState.STORED
    dock.work_on("a")
    assert bench.item(item_id).state is ItemState.STORED
    dock.work_on("b")
    assert bench.item(item_id).state is ItemState.CONFIRMED


def test_the_entry_that_confirms_is_the_one_that_release_waits_for(dock) -> None:
    item_id = add(dock)
    dock.drain("main")
    row = dock.bench.item(item_id)
    with dock.bench.engine.connect() as conn:
        kind = conn.execute(
            ledger_entry.select().where(ledger_entry.c.seq == row.confirmed_seq)
        ).one()
    assert kind.type == "item.confirmed"


@pytest.mark.parametrize("body", [b"", BODY], ids=["whole", "parts"])
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize(
    "call", ["look", "put", "create", "part", "complete", "confirm", "list_parts", "identity"]
)
def test_a_fault_in_either_form_ends_in_one_right_object(dock, call, done, body) -> None:
    item_id = add(dock, body)
    dock.main.faults.append(Fault(call, done=done))
    dock.work_on("main")
    upload = dock.bench.upload(item_id, "main")
    assert upload.state is UploadState.CONFIRMED
    assert list(dock.main.objects) == [dock.bench.item(item_id).key()]
    assert [one.body for one in dock.main.objects.values()] == [body]
    assert not dock.main.open
    assert dock.bench.open_alarms() == []
    assert len(dock.bench.entries("item.confirmed")) == 1


@pytest.mark.long
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("call", ["create", "part", "complete", "confirm"])
def test_a_restart_goes_on_where_it_was(dock, call, done) -> None:
    item_id = add(dock)
    dock.main.faults.append(Fault(call, done=done))
    dock.drain("main")
    sent = dock.asked("part")
    waits = dock.bench.store_row("main").paused_until_ms
    assert waits > dock.clock.ms
    dock.restart()
    assert dock.uploader.run_due("main") == pytest.approx((waits - dock.clock.ms) / 1000)
    dock.work_on("main")
    assert dock.bench.upload(item_id, "main").state is UploadState.CONFIRMED
    parts = dock.asked("part")
    # Five parts; at most the one whose answer was lost is sent twice.
    assert len(parts) <= 6
    assert len(parts) >= len(sent)
    assert not dock.main.open


def test_a_process_killed_while_sending_leaves_work_that_is_due(dock) -> None:
    item_id = add(dock)
    with dock.bench.ledger.transaction() as txn:
        uploads.update_work(txn.conn, item_id, "main", upload_id="gone", completing=True)
    dock.restart()
    dock.drain("main")
    assert dock.confirmed(item_id)


@pytest.mark.long
def test_next_times_stand_in_the_database_and_grow(dock) -> None:
    add(dock)
    dock.main.faults.append(Fault("look", times=-1))
    for attempt in range(1, 8):
        wait_s = dock.drain("main")
        assert wait_s is not None
        assert dock.bench.store_row("main").attempts == attempt
        assert wait_s <= 2 ** (attempt - 1)
        dock.restart()
        dock.wait(wait_s)


def test_an_hour_without_progress_is_an_alarm_and_success_ends_it(dock) -> None:
    add(dock)
    dock.main.faults.append(Fault("look", times=-1))
    dock.drain("main")
    assert dock.bench.open_alarms() == []
    dock.clock.ms += HOUR_MS + 1000
    dock.drain("main")
    assert dock.bench.open_alarms() == [("store_unreachable", "store:main")]
    dock.main.faults.clear()
    dock.clock.ms += HOUR_MS
    dock.drain("main")
    assert dock.bench.open_alarms() == []
    assert dock.bench.entries("finding.closed")
    assert dock.bench.store_row("main").last_error == ""


@pytest.mark.parametrize("error", [StoreMisconfiguredError, StoreClockSkewError])
def test_what_a_person_must_mend_is_an_alarm_at_once(dock, error) -> None:
    add(dock)
    dock.main.faults.append(Fault("look", lambda: error("injected")))
    dock.drain("main")
    assert dock.bench.open_alarms() == [(error.code, "store:main")]


def test_a_dead_store_holds_up_no_other(bench) -> None:
    dock = Dock(bench, "dead", "well")
    ids = [add(dock, stores=[("dead", True), ("well", True)]) for _ in range(3)]
    dock.stores["dead"].faults.append(Fault("identity", times=-1))
    dock.drain("dead")
    dock.drain("well")
    assert all(bench.upload(i, "well").state is UploadState.CONFIRMED for i in ids)
    assert all(bench.item(i).state is ItemState.VERIFIED for i in ids)
    dock.stores["dead"].faults.clear()
    dock.work_on("dead")
    assert all(bench.item(i).state is ItemState.CONFIRMED for i in ids)


@pytest.mark.long
@pytest.mark.parametrize("error", [StoreUnreachableError, StoreError, StoreMisconfiguredError])
def test_a_bad_item_holds_up_no_other(dock, error) -> None:
    bad = add(dock)
    ids = [add(dock, os.urandom(100)) for _ in range(20)]
    key = dock.bench.item(bad).key()
    dock.main.faults.append(
        Fault("look", lambda: error("injected"), times=-1, matches=lambda k: k == key)
    )
    start_ms = dock.clock.ms
    for _ in range(20):
        wait_s = dock.drain("main")
        if dock.confirmed(*ids):
            break
        dock.wait(wait_s)
    assert dock.confirmed(*ids)
    assert dock.clock.ms - start_ms <= HOUR_MS, "it was held up at most by one pause"
    assert dock.bench.upload(bad, "main").shown_state == "waiting"
    # Its second failure is its own: the store stays open for what comes after.
    dock.clock.ms += 7 * HOUR_MS
    dock.drain("main")
    assert dock.bench.upload(bad, "main").attempts >= 2
    more = add(dock, b"later")
    dock.drain("main")
    assert dock.confirmed(more)


def test_a_store_that_fails_again_right_after_its_return_is_left_alone_again(dock) -> None:
    ids = [add(dock, b"one"), add(dock, b"two")]
    dock.main.faults.append(Fault("look"))
    wait_s = dock.drain("main")
    second = dock.bench.item(ids[1]).key()
    dock.main.faults.append(Fault("look", times=1, matches=lambda key: key == second))
    dock.wait(wait_s)
    assert dock.drain("main") is not None
    row = dock.bench.store_row("main")
    assert row.last_error == "store_unreachable"
    assert row.paused_until_ms > dock.clock.ms
    dock.work_on("main")
    assert dock.confirmed(*ids)


def claimed(queue: UploadQueue, *, failing: bool = False) -> Claim:
    claim = queue.claim("main", failing=failing)
    assert isinstance(claim, Claim)
    return claim


def test_small_items_are_handed_out_together_and_large_ones_alone(dock) -> None:
    small, big = [], []
    for _ in range(3):
        small.append(add(dock, b"small"))
        big.append(add(dock, os.urandom(SMALL_BYTES + 1)))
    queue = UploadQueue(dock.bench.engine, ["main"], dock.clock)
    claims = [claimed(queue) for _ in range(4)]
    assert [sorted(claim.names()) for claim in claims] == [small, *([one] for one in big)]
    assert queue.claim("main", failing=False) is None
    queue.release("main", claims[2])
    assert claimed(queue).names() == claims[2].names()


def test_a_failing_store_is_tried_by_one_worker_with_one_thing(dock) -> None:
    add(dock, b"one")
    add(dock, b"two")
    queue = UploadQueue(dock.bench.engine, ["main"], dock.clock)
    first = claimed(queue, failing=True)
    assert len(first.items) == 1
    wait_s = queue.claim("main", failing=True)
    assert isinstance(wait_s, float)
    assert wait_s > 0
    queue.release("main", first)
    assert claimed(queue, failing=True).names() == first.names()


def test_a_foreign_object_is_never_overwritten_and_is_an_alarm(dock) -> None:
    bad, good = add(dock), add(dock, b"good")
    key = dock.bench.item(bad).key()
    occupy(dock, key)
    dock.drain("main")
    assert dock.main.objects[key].body == b"foreign"
    assert dock.bench.upload(bad, "main").state is UploadState.REFUSED
    assert dock.bench.open_alarms() == [("store_conflict", f"upload:{bad}:main")]
    assert dock.bench.entries("upload.refused")[0]["reason"] == "store_conflict"
    assert dock.state(bad) is ItemState.VERIFIED
    assert dock.confirmed(good)
    del dock.main.objects[key]
    with dock.bench.ledger.transaction() as txn:
        assert resending.retry_item(txn, items.get(txn.conn, bad), ["main"]).due == 1
    dock.drain("main")
    assert dock.confirmed(bad)
    assert dock.bench.open_alarms() == []


def test_bytes_that_changed_in_the_store_are_told_and_the_copy_stays(dock) -> None:
    item_id = add(dock)
    dock.main.faults.append(Fault("confirm"))
    dock.drain("main")
    key = dock.bench.item(item_id).key()
    dock.main.objects[key].body = b"?" + BODY[1:]
    dock.clock.ms += HOUR_MS
    dock.drain("main")
    assert dock.bench.upload(item_id, "main").state is UploadState.REFUSED
    assert dock.bench.open_alarms()[-1] == ("store_mismatch", f"upload:{item_id}:main")
    assert dock.state(item_id) is ItemState.VERIFIED
    assert dock.bench.entries("item.confirmed") == []


def test_a_damaged_copy_is_quarantined_and_never_sent_as_good(dock) -> None:
    item_id, good = add(dock), add(dock, b"good")
    path = dock.bench.staging.path_of(dock.bench.item(item_id).staged_path)
    with open(path, "r+b") as file:  # noqa: PTH123 - a plain string
        file.write(b"\0\0\0\0")
    dock.drain("main")
    row = dock.bench.item(item_id)
    assert (row.state, row.quarantine_reason) == (ItemState.QUARANTINED, LocalCopyDamagedError.code)
    assert dock.bench.open_alarms() == [("local_copy_damaged", f"item:{item_id}")]
    assert dock.main.look(dock.bench.item(item_id).key()) is None
    assert dock.confirmed(good)
    assert dock.drain("main") is None, "it is not tried again and again"


def test_an_unreadable_staging_disk_is_the_items_fault_not_the_stores(dock, monkeypatch) -> None:
    bad, good = add(dock), add(dock, b"good")
    staged = dock.bench.item(bad).staged_path
    error = StagingUnreadableError("injected")
    fail(monkeypatch, dock.uploader, "_open_staged", error, lambda path: path == staged)
    dock.drain("main")
    assert dock.confirmed(good)
    assert dock.bench.open_alarms() == [("staging_unreadable", f"upload:{bad}:main")]
    assert dock.bench.upload(bad, "main").shown_state == "waiting"


def test_damage_on_the_way_is_sent_again_three_times_then_told(dock) -> None:
    item_id = add(dock)
    dock.main.faults.append(Fault("part", lambda: StoreIntegrityError("injected"), times=3))
    for tries in (1, 2):
        dock.drain("main")
        assert dock.bench.open_alarms() == []
        assert dock.bench.upload(item_id, "main").integrity_faults == tries
        dock.clock.ms += 60_000
    dock.drain("main")
    assert dock.bench.open_alarms() == [("store_integrity", f"upload:{item_id}:main")]
    dock.clock.ms += 7 * HOUR_MS
    dock.drain("main")
    assert dock.confirmed(item_id)
    assert dock.bench.open_alarms() == []


def test_a_store_that_asks_for_patience_gets_it(dock) -> None:
    add(dock)
    dock.main.faults.append(
        Fault("part", lambda: StoreThrottledError("slow down", retry_after_s=1234.0))
    )
    wait_s = dock.drain("main")
    assert wait_s is not None
    assert wait_s >= 1234.0


def test_progress_begins_the_waits_anew(dock) -> None:
    item_id = add(dock)
    dock.main.faults.append(Fault("look", times=6))
    for _ in range(6):
        dock.drain("main")
        dock.clock.ms += 400_000
    assert dock.bench.store_row("main").attempts == 6
    parts = itertools.count(1)
    dock.main.faults.append(Fault("part", matches=lambda _key: next(parts) == 3))
    dock.drain("main")
    assert dock.bench.store_row("main").attempts == 1
    assert dock.bench.upload(item_id, "main").attempts == 1


def test_another_store_under_the_same_name_is_refused(dock) -> None:
    first = add(dock)
    dock.drain("main")
    assert [e["identity"] for e in dock.bench.entries("store.pinned")] == ["memory:main"]
    dock.stores["main"] = MemoryStore("main", identity="memory:2")
    dock.restart()
    second = add(dock, b"second")
    dock.drain("main")
    assert dock.main.objects == {}
    assert dock.bench.open_alarms() == [("store_misconfigured", "store:main")]
    assert dock.confirmed(first)
    assert dock.state(second) is ItemState.VERIFIED


def test_a_store_is_probed_at_first_use_and_daily(dock) -> None:
    for body in (b"1", b"2"):
        add(dock, body)
        dock.drain("main")
    assert dock.main.probes == 1
    # By the clock since boot: a time of day that is set back must not put it off.
    dock.uploader._connections["main"].probed_ms -= 25 * HOUR_MS
    add(dock, b"3")
    dock.drain("main")
    assert dock.main.probes == 2
    assert dock.bench.store_row("main").probed_at


def queue_checkpoint(dock: Dock) -> tuple[str, LedgerHead]:
    """The checkpoint of now; its key and what it says."""
    head = dock.bench.ledger.head
    key = object_keys.checkpoint_key(dock.bench.ledger.origin, head.size)
    with dock.bench.ledger.transaction() as txn:
        own_objects.queue_checkpoint(txn, ["main"], key, head.size)
    return key, head


def test_objects_of_the_daemon_go_the_same_way_and_anchor_the_ledger(dock) -> None:
    key, head = queue_checkpoint(dock)
    dock.main.faults.append(Fault("put", done=True))
    dock.drain("main")
    assert dock.bench.anchored("main") == 0
    dock.work_on("main")
    assert dock.bench.anchored("main") == head.size
    assert dock.bench.anchored("main", "other") == dock.bench.anchored() == 0
    assert dock.main.objects[key].body == head.checkpoint.encode()


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done, answer lost"])
def test_a_checkpoint_whose_key_is_taken_goes_elsewhere_and_anchors(dock, done) -> None:
    key, head = queue_checkpoint(dock)
    occupy(dock, key)
    dock.main.faults.append(Fault("put", done=done, matches=lambda k: k.startswith(key + "-")))
    item_id = add(dock)
    dock.work_on("main")
    assert dock.main.objects[key].body == b"foreign"
    moved = [k for k in dock.main.objects if k.startswith("ledger/") and k != key]
    assert [dock.main.objects[k].body for k in moved] == [head.checkpoint.encode()]
    assert object_keys.checkpoint_size(moved[0].rpartition("/")[2]) == head.size
    assert dock.bench.open_alarms() == [("store_conflict", "anchors:main")]
    (refused,) = dock.bench.entries("object.refused")
    assert (refused["key"], refused["reason"]) == (key, "store_conflict")
    assert refused["instead"] == moved[0]
    assert dock.bench.anchored("main") == head.size
    assert dock.confirmed(item_id)


def test_whoever_occupies_each_anchor_as_it_comes_gets_one_alarm_and_ever_fewer_tries(dock) -> None:
    def taken() -> StoreError:
        return StoreConflictError("injected")

    dock.main.faults.append(
        Fault("look", taken, times=-1, matches=lambda key: key.startswith("ledger/"))
    )
    _, head = queue_checkpoint(dock)
    for _ in range(6):
        wait_s = dock.drain("main")
        assert wait_s is not None
        dock.wait(wait_s)
    assert dock.bench.open_alarms() == [("store_conflict", "anchors:main")]
    tried = [key for key in dock.asked("look") if key.startswith("ledger/")]
    assert len(tried) == len(set(tried)) == 7
    dock.main.faults.clear()
    dock.work_on("main")
    assert dock.bench.anchored("main") == head.size


@pytest.mark.long
def test_the_same_unknown_fault_of_two_recordings_is_the_stores_and_one_alarm(dock) -> None:
    ids = [add(dock, os.urandom(3000)) for _ in range(30)]
    dock.main.faults.append(Fault("look", lambda: StoreError("400 InvalidRequest"), times=-1))
    dock.drain("main")
    assert dock.bench.open_alarms() == [("store", "store:main")]
    # Two, and those that were under way beside them.
    assert len(dock.asked("look")) <= 10
    assert dock.bench.store_row("main").paused_until_ms > dock.clock.ms
    dock.main.faults.clear()
    dock.clock.ms += 7 * HOUR_MS
    dock.work_on("main")
    assert dock.confirmed(*ids)
    assert dock.bench.open_alarms() == []


@pytest.mark.long
def test_a_minute_of_a_dead_store_is_told_in_few_lines_and_commits(dock) -> None:
    ids = [add(dock, b"%d" % n) for n in range(100)]
    dock.uploader.run_due("main")
    dock.main.faults += [Fault(call, times=-1) for call in ("identity", "look", "confirm")]
    before, until_ms = dock.bench.ledger.commits, dock.clock.ms + 60_000
    with structlog.testing.capture_logs() as lines:
        while dock.clock.ms < until_ms:
            wait_s = dock.uploader.run_due("main")
            dock.wait(wait_s)
    told = [line for line in lines if line["log_level"] != "debug"]
    assert [line["event"] for line in told if line["event"] == "store.paused"] == ["store.paused"]
    assert len(told) <= 5
    assert dock.bench.ledger.commits - before <= 20
    dock.main.faults.clear()
    dock.work_on("main")
    assert dock.confirmed(*ids)


def test_a_store_that_is_mended_shows_no_old_fault_also_when_nothing_waits(dock) -> None:
    item_id = add(dock)
    dock.main.faults.append(Fault("look", lambda: StoreMisconfiguredError("injected")))
    dock.drain("main")
    dock.bench.record(item_entries.quarantined(item_id, reason="r"))
    dock.clock.ms += HOUR_MS
    dock.main.faults.append(Fault("identity", lambda: StoreCredentialsError("another")))
    dock.uploader.run_due("main")
    assert dock.bench.store_row("main").last_error == "store_credentials"
    dock.clock.ms += HOUR_MS
    dock.uploader.run_due("main")
    assert dock.bench.store_row("main").last_error == ""
    assert dock.bench.open_alarms() == []


def test_a_start_asks_every_store_at_once(dock) -> None:
    item_id = add(dock)
    dock.main.faults.append(Fault("look", lambda: StoreMisconfiguredError("injected")))
    wait_s = dock.drain("main")
    assert wait_s is not None
    assert 29 < wait_s <= 60, "what a person mends is tried again soon"
    with dock.bench.ledger.transaction() as txn:
        store_health.hurry(txn, ["main"])
    dock.drain("main")
    assert dock.confirmed(item_id)


def test_a_retry_during_a_try_is_not_undone_by_the_failure_of_that_try(dock) -> None:
    item_id = add(dock)

    def mended_meanwhile() -> StoreCredentialsError:
        with dock.bench.ledger.transaction() as txn:
            resending.retry_all(txn, ["main"])
        return StoreCredentialsError("signed with the old key")

    dock.main.faults.append(Fault("look", mended_meanwhile))
    dock.drain("main")
    assert dock.confirmed(item_id)
    assert dock.bench.open_alarms() == []


@pytest.mark.long
def test_a_steady_read_back_is_no_stall_and_ends_when_asked(dock) -> None:
    dock.main.read_back_bytes = 50
    add(dock)
    faults: list[object] = []
    dock.heartbeat = heartbeat
    dock.limits = {"main": StoreLimits(2000)}
    dock.start()
    worker = Worker(
        "upload",
        lambda: dock.uploader.run_due("main") or 0.0,
        faults.append,
        silence_max_s=1.0,
    )
    worker.start()
    until_s = time.monotonic() + 4
    while time.monotonic() < until_s:
        assert worker.stall() is None
        time.sleep(0.05)
    dock.uploader.stop()
    worker.stop()
    assert worker.join(5)
    assert faults == []


def in_an_hour(dock: Dock) -> UploadWindow:
    local = dt.datetime.fromtimestamp(dock.clock.ms / 1000).astimezone()
    minute = local.hour * 60 + local.minute
    return UploadWindow((minute + 60) % 1440, (minute + 120) % 1440)


def test_a_line_of_its_own_waits_for_no_other(bench) -> None:
    dock = Dock(bench, "cloud", "archive")
    closed = in_an_hour(dock)
    item_id = add(dock, stores=[("cloud", True), ("archive", True)])
    dock.limits = {"cloud": StoreLimits(1, (closed,)), "archive": StoreLimits(shared=False)}
    assert dock.uploader.run_due("cloud") == pytest.approx(3600)
    dock.drain("archive")
    assert bench.upload(item_id, "archive").state is UploadState.CONFIRMED
    assert dock.stores["cloud"].calls == []


@given(st.integers(0, 5 * 1024**4), st.integers(5, 256))
def test_no_item_needs_more_parts_than_s3_takes(size_bytes, mib) -> None:
    part = part_size_for(size_bytes, mib * 1024**2)
    assert part >= mib * 1024**2
    assert part % 1024**2 == 0
    assert -(-size_bytes // part) <= 10_000
    assert part == mib * 1024**2 or -(-size_bytes // (part - 1024**2)) > 10_000
    assert part <= 5 * 1024**3


@pytest.mark.parametrize("harm", [object_work.delete(), document.delete(), None])
def test_a_manifest_is_sent_from_its_document_and_never_without(dock, harm) -> None:
    body = b'{"v":1}'
    with dock.bench.ledger.transaction() as txn:
        txn.add(entries.store_added("main", type="s3", required=True, returned=False))
        facts.undock(txn, CAMERA, DOCKING_ID, body)
        own_objects.restore_work(txn.conn)
        if harm is not None:
            txn.conn.execute(harm)
        own_objects.restore_work(txn.conn)
    dock.work_on("main")
    sent = [one.body for key, one in dock.main.objects.items() if "manifest" in key]
    lost = harm is not None and harm.table is document
    assert sent == ([] if lost else [body])
    told = dock.bench.entries("object.refused" if lost else "object.confirmed")
    assert [one["kind"] for one in told] == ["manifest"]
    assert len(dock.bench.open_alarms()) == lost
    if lost:
        # Its document came back; a person has it sent.
        with dock.bench.ledger.transaction() as txn:
            txn.rows.keep_document(body)
            own_objects.retry(txn, ["main"])
        dock.work_on("main")
        assert dock.bench.entries("object.confirmed") != []
        assert dock.bench.open_alarms() == []


def reinstate(dock: Dock, item_id: str) -> None:
    sha256 = dock.bench.item(item_id).digests().sha256
    dock.bench.record(item_entries.reinstated(item_id, sha256=sha256))


def test_an_item_set_apart_while_it_is_sent_is_not_claimed(dock) -> None:
    item_id = add(dock)

    def set_apart(_key: str) -> bool:
        if dock.state(item_id) is ItemState.VERIFIED:
            dock.bench.record(item_entries.quarantined(item_id, reason="doubt"))
        return False

    dock.main.faults.append(Fault("complete", matches=set_apart))
    dock.drain("main")
    assert dock.state(item_id) is ItemState.QUARANTINED
    assert dock.bench.entries("item.stored") == []
    assert dock.drain("main") is None
    reinstate(dock, item_id)
    dock.drain("main")
    assert dock.confirmed(item_id)


def test_an_item_reinstated_after_all_stores_had_it_is_confirmed_again(dock) -> None:
    item_id = add(dock)
    dock.drain("main")
    dock.bench.record(item_entries.quarantined(item_id, reason="doubt"))
    reinstate(dock, item_id)
    dock.drain("main")
    assert dock.confirmed(item_id)
    assert len(dock.main.objects) == 1


@pytest.mark.parametrize(("body", "call"), [(BODY, "part"), (b"small", "put")])
def test_an_item_is_read_anew_only_while_no_store_may_hold_some_of_it(dock, body, call) -> None:
    item_id = add(dock, body)
    with dock.bench.engine.connect() as conn:
        uploads.forbid_if_sent(conn, item_id)
    dock.main.faults.append(Fault(call))
    dock.drain("main")
    with dock.bench.engine.connect() as conn, pytest.raises(UsageError):
        uploads.forbid_if_sent(conn, item_id)
    with dock.bench.ledger.transaction() as txn:
        resending.retry_item(txn, items.get(txn.conn, item_id), dock.stores)
    with dock.bench.engine.connect() as conn, pytest.raises(UsageError):
        uploads.forbid_if_sent(conn, item_id)


def test_retry_makes_everything_due_now(dock) -> None:
    item_id = add(dock)
    dock.main.faults.append(Fault("look", lambda: StoreMisconfiguredError("injected")))
    wait_s = dock.drain("main")
    assert wait_s is not None
    assert wait_s > 20
    with dock.bench.ledger.transaction() as txn:
        assert resending.retry_all(txn, ["main"]).due == 1
    dock.drain("main")
    assert dock.confirmed(item_id)


def test_nothing_is_sent_outside_of_the_windows(dock) -> None:
    add(dock)
    dock.limits = {"main": StoreLimits(windows=(in_an_hour(dock),))}
    assert dock.uploader.run_due("main") == pytest.approx(3600)
    assert dock.main.calls == []
    dock.clock.ms += HOUR_MS
    dock.drain("main")
    assert len(dock.main.objects) == 1


def test_a_clock_set_back_does_not_hold_uploads_for_days(dock) -> None:
    item_id = add(dock)
    dock.main.faults.append(Fault("look"))
    dock.drain("main")
    dock.clock.ms -= 72 * HOUR_MS
    dock.drain("main")
    assert dock.confirmed(item_id)


def test_a_halting_fault_is_not_swallowed(dock) -> None:
    add(dock)
    dock.main.faults.append(Fault("look", lambda: LedgerUnwritableError("injected")))
    with pytest.raises(LedgerUnwritableError):
        dock.drain("main")


def test_workers_never_send_one_item_twice_at_once(dock) -> None:
    ids = [add(dock, os.urandom(3000)) for _ in range(12)]
    together(dock.drain, ["main"] * 4)
    dock.drain("main")
    assert dock.confirmed(*ids)
    puts = dock.asked("complete")
    assert len(puts) == len(set(puts)) == 12


def test_stopping_breaks_off_without_a_trace(dock) -> None:
    item_id = add(dock)
    dock.limits = {"main": StoreLimits(1)}
    thread = threading.Thread(target=dock.uploader.run_due, args=("main",))
    thread.start()
    while not dock.asked("list_parts"):
        pass
    dock.uploader.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert dock.bench.upload(item_id, "main").attempts == 0
    dock.limits = {}
    dock.restart()
    dock.drain("main")
    assert dock.confirmed(item_id)


def test_a_long_upload_is_seen_to_move(dock) -> None:
    add(dock)
    moved = []
    dock.heartbeat = lambda: moved.append(1)
    dock.start()
    dock.drain("main")
    assert len(moved) >= 5, "at least once for each part"


@pytest.mark.long
def test_the_limit_holds_for_all_uploads_together(bench) -> None:
    dock = Dock(bench, "a", "b")
    add(dock, os.urandom(40_000), stores=[("a", True), ("b", True)])
    dock.limits = {"a": StoreLimits(100_000), "b": StoreLimits(100_000)}
    begun_s = time.monotonic()
    together(dock.drain, ["a", "b"])
    assert time.monotonic() - begun_s >= 0.78, "80,000 bytes at 100,000 a second"


def test_findings_open_once_and_close_with_a_reason(dock) -> None:
    subject = subjects.camera("1")

    def raise_one() -> None:
        with dock.bench.ledger.transaction() as txn:
            findings.alarm(txn, subject, "c", "d")

    raise_one()
    raise_one()
    assert len(dock.bench.entries("finding.raised")) == 1
    with dock.bench.ledger.transaction() as txn:
        assert findings.close_finding(txn, code="c", subject=subject)
        assert not findings.close_finding(txn, code="c", subject=subject)
    assert dock.bench.open_alarms() == []
    raise_one()
    assert len(dock.bench.entries("finding.raised")) == 2
