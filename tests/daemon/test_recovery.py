"""A start finds copies that it cannot read: each waits or is set apart, and the dock goes on."""

from __future__ import annotations

import pytest

from bodycam_ingest.acquire.acquirer import Acquirer
from bodycam_ingest.acquire.staging_watch import StagingWatch
from bodycam_ingest.daemon.recovery import Recovery
from bodycam_ingest.db import items
from bodycam_ingest.docking.undock import DockContext
from bodycam_ingest.errors import (
    AbandonedError,
    ReadBackUnprovenError,
    StagingForbiddenError,
    StagingUnreadableError,
)
from bodycam_ingest.model.lifecycle import ItemState
from tests.support import facts
from tests.support.dockbench import DOCKING, DOCKING_ID, digests_of
from tests.support.patching import fail

IDS = ["01J00000000000000000000AAA", "01J00000000000000000000BBB"]


@pytest.fixture
def bench(bench):
    for item_id in IDS:
        with bench.ledger.transaction() as txn:
            facts.discover(txn, item_id, DOCKING, item_id.encode())
        staged = bench.staging.sealed_name(DOCKING_ID, item_id, digests_of(b"abc", 1024).sha256)
        path = bench.directory / "staging" / staged
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"abc")
    return bench


def recovery(bench, monkeypatch, error):
    acquirer = Acquirer(bench.directory / "staging")
    copies = acquirer.copies
    if error is not None:
        fail(monkeypatch, copies, "rehash", error, lambda staged_path, *_: IDS[0] in staged_path)
    watch = StagingWatch(bench.engine, bench.ledger, acquirer.free_space, lambda *_: 60.0)
    dock = DockContext("dock-1", bench.engine, bench.ledger, [])
    made = Recovery(dock, copies, watch, part_size_bytes=1024, delay_s=lambda *_: 60.0)
    return made, watch


@pytest.mark.parametrize(
    ("error", "waits", "alarm"),
    [
        (StagingUnreadableError("bad sectors"), False, "local_copy_damaged"),
        (StagingForbiddenError("mode 0"), True, "staging_forbidden"),
        (ReadBackUnprovenError("in memory"), True, "read_back_unproven"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_copy_that_cannot_be_read_is_an_alarm_and_the_others_are_taken(
    bench, monkeypatch, error, waits, alarm
):
    made, watch = recovery(bench, monkeypatch, error)
    made.begin(lambda: None)
    # The start itself hashes nothing; until that is done nobody reads the items anew.
    assert watch.recovering == set(IDS)
    beats: list[int] = []
    while made.step(beats.append) == 0.0:
        pass
    assert beats
    assert bench.item(IDS[1]).state is ItemState.ACQUIRED
    row = bench.item(IDS[0])
    assert row.state is ItemState.DISCOVERED
    assert bench.open_alarms() == [(alarm, f"item:{IDS[0]}")]
    assert watch.recovering == ({IDS[0]} if waits else set())
    assert (row.due_ms > 0) == waits
    if waits:
        # Mended, it is taken at its time, and its alarm ends.
        monkeypatch.undo()
        with bench.ledger.transaction() as txn:
            items.make_due(txn, [IDS[0]])
        assert made.step(beats.append) == 0.0
        assert bench.item(IDS[0]).state is ItemState.ACQUIRED
        assert bench.open_alarms() == []


def test_a_stop_in_the_middle_leaves_the_rest_to_the_next_start(bench, monkeypatch):
    made, _ = recovery(bench, monkeypatch, AbandonedError("stopping"))
    made.begin(lambda: None)
    with pytest.raises(AbandonedError):
        made.step(lambda _count: None)
    again, _ = recovery(bench, monkeypatch, None)
    again.begin(lambda: None)
    while again.step(lambda _count: None) == 0.0:
        pass
    assert {bench.item(item_id).state for item_id in IDS} == {ItemState.ACQUIRED}
