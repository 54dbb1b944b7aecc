"""Whatever stores, admins and housekeeping do to items by the book, `verify` finds nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import random

import pytest
import sqlalchemy as sa

from bodycam_ingest.acquire.records import record_acquired, reject_copy
from bodycam_ingest.audit.verify import Audit, Scope
from bodycam_ingest.custody import entries
from bodycam_ingest.daemon.control import parse
from bodycam_ingest.db import own_objects
from bodycam_ingest.db.schema import document, metadata_object, object_work, upload
from bodycam_ingest.errors import (
    IllegalTransitionError,
    LocalCopyDamagedError,
    StagingMissingError,
    StoreUnreachableError,
    UsageError,
)
from bodycam_ingest.linux import clock
from bodycam_ingest.model import object_keys
from bodycam_ingest.model.evidence import Acquired
from bodycam_ingest.model.lifecycle import ItemState, UploadState
from bodycam_ingest.release.releaser import Releaser
from bodycam_ingest.upload.checkpoints import CheckpointPublisher
from tests.support import facts
from tests.support.dockbench import CAMERA, DOCKING_ID, ORIGIN, digests_of
from tests.support.memory_store import Fault
from tests.support.store_dock import StoreDock

pytestmark = pytest.mark.long

REQUIRED = ("main", "second")
STORES = (("main", True), ("second", True), ("extra", False))


class House(StoreDock):
    """A dock whose every way of an item can be gone."""

    def __init__(self, bench) -> None:
        super().__init__(bench, *(name for name, _ in STORES), now_ms=clock.now_ms)
        self.staging = bench.directory / "staging"
        self.known: list[str] = []
        engine, ledger = bench.engine, bench.ledger
        self.anchors = CheckpointPublisher(engine, ledger, STORES, interval_s=1, heartbeat_s=3600)
        self.releaser = Releaser(engine, ledger, REQUIRED)

    def add(self, size_bytes=3000):
        item = self.bench.add(os.urandom(size_bytes), STORES)
        self.known.append(item)
        return item

    def pull(self, command, **arguments):
        reason = {"reason": "test"} if command in {"quarantine", "requeue"} else {}
        line = json.dumps({"command": command, **reason, **arguments}).encode()
        return self.admin.execute(parse(line), "admin")

    def send(self, store, rounds=40):
        for _ in range(rounds):
            if (self.uploader.run_due(store) or 0) > 0:
                break

    def send_all(self):
        for store, _ in STORES:
            self.send(store)

    def anchor(self):
        """A checkpoint, sent to every store."""
        self.anchors.tick()
        self.send_all()

    def confirmed(self):
        """An item that every store proved, below a checkpoint."""
        item = self.add()
        self.send_all()
        self.anchor()
        return item

    def read_again(self, item):
        """What the pipeline does for an item that is to be read: copy, record, read back, queue."""
        row = self.bench.item(item)
        body = os.urandom(row.size_bytes)
        digests = digests_of(body, 1024)
        staged = self.bench.staging.sealed_name(DOCKING_ID, item, digests.sha256)
        (self.staging / staged).write_bytes(body)
        with self.bench.ledger.transaction() as txn:
            record_acquired(txn, [(row, Acquired(item, digests, staged))], recovered=False)
            facts.verify(txn, item, digests)

    def verify(self):
        return Audit(
            Scope(
                state_dir=self.bench.directory / "state",
                origin=ORIGIN,
                copies=self.copies,
                stores=self.stores,
                progress=lambda _bytes: None,
            )
        ).run()

    def codes(self):
        return [finding.code for finding in self.verify().findings]

    def holds(self):
        """True, or the report that says why not; the stores' faults to come are kept for later."""
        kept = {name: store.faults for name, store in self.stores.items()}
        for store in self.stores.values():
            store.faults = []
        report = self.verify()
        for name, store in self.stores.items():
            store.faults = kept[name]
        return (report.findings, report.unreachable) == ([], []) or report


@pytest.fixture
def house(bench, monkeypatch):
    # Both clocks go on together: the time of day, and the one that checkpoints are timed by.
    for name in ("now_ms", "boot_ms"):
        real, steps = getattr(clock, name), iter(range(0, 10**9, 30_000))
        monkeypatch.setattr(clock, name, lambda real=real, steps=steps: real() + next(steps))
    return House(bench)


def state(house, item):
    return house.bench.item(item).state


# -- single stories that had been judged wrongly -------------------------------------------------


def test_an_item_reinstated_after_every_store_confirmed_it(house):
    item = house.add()
    house.send_all()
    assert state(house, item) is ItemState.CONFIRMED
    house.pull("quarantine", item=item)
    assert house.holds() is True
    house.pull("reinstate", item=item)
    assert house.bench.upload(item, "main").state is UploadState.QUEUED
    assert house.holds() is True
    house.send_all()
    assert state(house, item) is ItemState.CONFIRMED
    assert house.holds() is True


def test_a_confirmation_taken_back_by_nobodys_leave_is_found(house):
    item = house.add()
    house.send_all()
    house.pull("quarantine", item=item)
    house.pull("reinstate", item=item)
    house.send_all()
    with house.bench.ledger.transaction() as txn:
        txn.conn.execute(upload.update().where(upload.c.store == "main").values(state="queued"))
    assert set(house.codes()) == {"row_differs"}


def test_a_copy_purged_while_files_are_checked(house, monkeypatch):
    item = house.confirmed()
    assert house.releaser.tick({}) == 1
    rehash = house.copies.rehash
    purged: list[int] = []

    def purge_first(*arguments):
        if not purged:
            house.purger.step(REQUIRED)
            house.anchor()
            house.purger.step(REQUIRED)
            purged.append(1)
        return rehash(*arguments)

    monkeypatch.setattr(house.copies, "rehash", purge_first)
    report = house.verify()
    assert purged == [1]
    assert state(house, item) is ItemState.PURGED
    assert (report.findings, report.unreachable) == ([], [])


def test_a_purge_cut_off_before_its_outcome_is_left_open(house):
    item = house.confirmed()
    house.releaser.tick({})
    house.purger.step(REQUIRED)
    (house.staging / house.bench.item(item).staged_path).unlink()
    assert house.verify().result() == "unchecked"
    house.anchor()
    house.purger.step(REQUIRED)
    assert state(house, item) is ItemState.PURGED
    assert house.holds() is True


def test_a_purge_that_nobody_announced(house):
    item = house.add()
    house.send_all()
    path = house.staging / house.bench.item(item).staged_path
    with house.bench.ledger.transaction() as txn:
        txn.conn.exec_driver_sql("UPDATE item SET purging_seq = 1")
    path.unlink()
    assert "row_differs" in set(house.codes())


def test_a_mistaken_requeue_leaves_the_copy_where_it_is(house):
    item = house.add()
    with pytest.raises(UsageError):
        house.pull("requeue", item=item)
    assert (house.staging / house.bench.item(item).staged_path).is_file()
    assert house.holds() is True


def test_an_item_whose_copy_is_lost_can_be_read_again(house):
    item = house.add()
    house.pull("quarantine", item=item)
    (house.staging / house.bench.item(item).staged_path).unlink()
    assert house.codes() == ["file_missing"]
    house.pull("requeue", item=item)
    house.read_again(item)
    house.send_all()
    assert state(house, item) is ItemState.CONFIRMED
    assert house.holds() is True


# -- the daemon's own objects --------------------------------------------------------------------


def checkpoint_key(house):
    (key,) = [key for key in house.stores["main"].objects if key.startswith("ledger/")]
    return key


def anchored(house):
    house.add()
    house.anchor()
    return checkpoint_key(house)


@pytest.mark.parametrize("store", ["main", "extra"])
def test_an_anchor_that_a_store_lost(house, store):
    del house.stores[store].objects[anchored(house)]
    report = house.verify()
    assert [(f.code, f.subject) for f in report.findings] == [("object_missing", f"store:{store}")]


def test_an_anchor_marked_as_stored_that_never_was(house):
    item = house.add()
    house.send_all()
    planted = {
        "key": object_keys.checkpoint_key(ORIGIN, 10**6),
        "kind": "checkpoint",
        "sha256": bytes(32),
        "state": "confirmed",
        "ledger_size": 10**6,
        "seq": 0,
    }
    with house.bench.ledger.transaction() as txn:
        txn.conn.execute(
            metadata_object.insert(), [{"store": store, **planted} for store, _ in STORES]
        )
    assert house.releaser.tick({}) == 0
    assert state(house, item) is ItemState.CONFIRMED
    assert house.codes() == ["row_planted"] * len(STORES)


def test_an_anchor_whose_key_was_taken_is_found_where_it_went(house):
    house.add()
    house.send_all()
    house.anchors.tick()
    main = house.stores["main"]
    with house.bench.engine.connect() as conn:
        key = conn.execute(sa.select(object_work.c.key).distinct()).scalar_one()
    kept = next(iter(main.objects.values()))
    main.objects[key] = dataclasses.replace(kept, body=b"foreign", metadata={})
    house.send("main")
    house.send_all()
    (moved,) = [k for k in main.objects if k.startswith("ledger/") and k != key]
    # What somebody put in its place is told of; the anchor itself is read under its own key.
    (finding,) = house.verify().findings
    assert (finding.code, key in finding.message) == ("signature_bad", True)
    main.objects[moved].body = b"forged"
    assert house.codes() == ["signature_bad"] * 2 + ["object_altered"]
    del main.objects[moved]
    assert house.codes() == ["signature_bad", "object_missing"]


def test_a_manifest_altered_in_a_store(house):
    house.add()
    with house.bench.ledger.transaction() as txn:
        for store, required in STORES:
            txn.add(entries.store_added(store, type="s3", required=required, returned=False))
        facts.undock(txn, CAMERA, DOCKING_ID, b"{}")
        own_objects.restore_work(txn.conn)
    house.send_all()
    assert house.holds() is True
    (key,) = [key for key in house.stores["second"].objects if key.endswith("manifest.json")]
    house.stores["second"].objects[key].body = b"[]"
    assert house.codes() == ["object_altered"]
    # Whoever alters the row as well only adds a finding.
    altered = hashlib.sha256(b"[]").digest()
    with house.bench.ledger.transaction() as txn:
        txn.conn.execute(
            metadata_object.update()
            .where(metadata_object.c.store == "second", metadata_object.c.key == key)
            .values(sha256=altered)
        )
    assert set(house.codes()) == {"object_altered", "row_differs"}
    with house.bench.ledger.transaction() as txn:
        txn.conn.execute(document.delete())
    assert "document_missing" in set(house.codes())


def test_another_place_under_a_stores_name_is_named(house):
    house.add()
    house.send_all()
    assert house.holds() is True
    house.stores["second"].identity_now = "memory:elsewhere"
    assert set(house.codes()) == {"store_replaced"}


def test_two_stores_that_became_one_place_are_named(house):
    house.add()
    house.send_all()
    first, second = house.stores["main"], house.stores["second"]
    second.identity_now = first.identity_now
    assert set(house.codes()) == {"store_replaced", "stores_are_one"}


def test_a_huge_object_in_an_anchors_place_is_not_read_to_its_end(house):
    key = anchored(house)
    read = []

    def endless(_key, _version=""):
        while True:
            read.append(1)
            assert len(read) < 1000, "read for ever"
            yield bytes(65_536)

    store = house.stores["main"]
    store.read, before = endless, store.read
    codes = house.codes()
    store.read = before
    assert codes == ["signature_bad", "object_altered"]
    assert key in store.objects


# -- walks ---------------------------------------------------------------------------------------


def _fail(house, rng):
    call = rng.choice(["put", "create", "part", "complete", "look", "confirm"])
    error = rng.choice([StoreUnreachableError, LocalCopyDamagedError])
    fault = Fault(call, error=lambda: error("injected"), done=rng.random() < 0.5)
    house.stores[rng.choice(STORES)[0]].faults.append(fault)


def _lose(house, rng):
    row = house.bench.item(rng.choice(house.known))
    if row.state in {ItemState.ACQUIRED, ItemState.VERIFIED}:
        house.copies.staging.move_to_quarantine(row.staged_path)
        with house.bench.ledger.transaction() as txn:
            reject_copy(txn, row, StagingMissingError("lost"))


def _read(house, rng):
    item = rng.choice(house.known)
    if state(house, item) is ItemState.DISCOVERED:
        house.read_again(item)


_STEPS = {
    "add": lambda house, rng: house.add(rng.choice([0, 700, 3000])),
    "send": lambda house, rng: house.send(rng.choice(STORES)[0], rounds=rng.randint(1, 6)),
    "fail": _fail,
    "lose": _lose,
    "read": _read,
    "anchor": lambda house, _rng: house.anchors.tick(),
    "release": lambda house, _rng: house.releaser.tick({}),
    "purge": lambda house, _rng: house.purger.step(REQUIRED),
}


def _walk(house, rng, act):
    step = _STEPS.get(act)
    if step is not None:
        step(house, rng)
    else:
        house.pull(act, item=rng.choice(house.known))


_ACTS = (
    ["send"] * 8
    + ["add", "fail", "lose", "read", "read", "anchor", "anchor", "release", "purge"]
    + ["quarantine", "reinstate", "reinstate", "requeue", "retry"]
)


@pytest.mark.parametrize("seed", range(5))
def test_a_walk_by_the_book_holds_at_every_step(house, seed):
    rng = random.Random(seed)
    house.add()
    refused = 0
    for number in range(60):
        act = rng.choice(_ACTS)
        try:
            _walk(house, rng, act)
        except (UsageError, IllegalTransitionError):
            refused += 1
        if number % 5 == 0:
            assert house.holds() is True, (number, act)
    assert refused < 50
    for store in house.stores.values():
        store.faults.clear()
    assert house.holds() is True
    with house.bench.engine.connect() as conn:
        assert conn.execute(upload.select()).all()
