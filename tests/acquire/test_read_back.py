"""Reading back: one batch a step, and rows that move meanwhile stop nothing."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any, cast

import pytest

from bodycam_ingest.acquire.acquirer import SMALL_FILE_BYTES
from bodycam_ingest.acquire.read_back import ReadBackVerifier
from bodycam_ingest.acquire.records import AcquireContext
from bodycam_ingest.custody import item_entries
from bodycam_ingest.errors import ReadBackMismatchError
from bodycam_ingest.model.lifecycle import ItemState
from tests.support import facts
from tests.support.dockbench import DOCKING, DOCKING_ID, digests_of


class Copies:
    """Reads back as a test says."""

    def __init__(self, bench):
        self.bench = bench
        self.staging = bench.staging
        self.seen: list[list[str]] = []
        self.meanwhile = lambda: None
        self.good = True

    def read_back_batch(self, copies, progress):
        self.seen.append([one.item_id for one in copies])
        self.meanwhile()
        progress(1)
        if self.good:
            return ["direct"] * len(copies)
        return [
            ReadBackMismatchError(
                "other bytes",
                quarantined=self.bench.staging.move_to_quarantine(one.staged_path),
            )
            for one in copies
        ]


@pytest.fixture
def copies(bench):
    return Copies(bench)


@pytest.fixture
def verifier(bench, copies):
    context = AcquireContext(
        engine=bench.engine,
        ledger=bench.ledger,
        acquirer=cast("Any", copies),
        part_size_bytes=1 << 20,
        delay_s=lambda *_: 60.0,
        watch=cast("Any", None),
    )
    return ReadBackVerifier(context, threading.Event())


def acquired(bench, number, *, size_bytes=0):
    item_id = f"01J000000000000000000{number:05d}"
    digests = digests_of(b"abc", 1024)
    staged = bench.staging.sealed_name(DOCKING_ID, item_id, digests.sha256)
    path = bench.directory / "staging" / staged
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"abc")
    if size_bytes:
        digests = dataclasses.replace(digests, size_bytes=size_bytes)
    with bench.ledger.transaction() as txn:
        facts.discover(txn, item_id, DOCKING, item_id.encode())
        facts.acquire(txn, item_id, digests, staged)
    return item_id


def set_apart(bench, item_id):
    with bench.ledger.transaction() as txn:
        txn.add(item_entries.quarantined(item_id, reason="mine"))


def test_one_large_copy_or_one_batch_of_small_ones_is_one_step(bench, verifier, copies):
    small = [acquired(bench, n) for n in range(3)]
    large = [acquired(bench, n, size_bytes=SMALL_FILE_BYTES + 1) for n in range(3, 6)]
    verifier.put([*small, *large])
    steps = 0
    while verifier.run_once(0.0):
        steps += 1
        assert len(copies.seen) == steps
    assert sorted(copies.seen) == sorted([small, *([one] for one in large)])
    assert verifier.idle()


def test_the_step_that_reads_a_copy_back_reports_its_bytes(bench, verifier):
    verifier.put([acquired(bench, 1)])
    counts: list[int] = []
    assert verifier.run_once(0.0, counts.append)
    assert counts == [1]


@pytest.mark.parametrize("good", [True, False])
def test_an_item_set_apart_while_it_is_read_back_stays_apart_with_its_copy(
    bench, verifier, copies, good
):
    moved, other = acquired(bench, 1), acquired(bench, 2)
    copies.good = good
    copies.meanwhile = lambda: set_apart(bench, moved)
    verifier.put([moved, other])
    assert verifier.run_once(0.0)
    row = bench.item(moved)
    assert row.state is ItemState.QUARANTINED
    assert (bench.directory / "staging" / row.staged_path).read_bytes() == b"abc"
    assert bench.item(other).state is (ItemState.VERIFIED if good else ItemState.DISCOVERED)
