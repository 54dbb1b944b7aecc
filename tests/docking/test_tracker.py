"""One docking after another of one card, on a real ledger."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import pytest

from bodycam_ingest.acquire.records import record_acquired
from bodycam_ingest.camera import files, listing, profile
from bodycam_ingest.camera.sources.volume import MountedVolume
from bodycam_ingest.config import CameraProfile
from bodycam_ingest.custody.inventory import lines_of
from bodycam_ingest.db import dockings, items
from bodycam_ingest.db.schema import item
from bodycam_ingest.docking import tracker
from bodycam_ingest.docking.record import DockingRecord
from bodycam_ingest.docking.tracker import InventoryTracker, ScanResult
from bodycam_ingest.docking.undock import DockContext, end_docking
from bodycam_ingest.errors import SourceUnreadableError
from bodycam_ingest.model.evidence import (
    Acquired,
    Digests,
    EntryKind,
    Verdict,
    decode_path,
)
from bodycam_ingest.model.lifecycle import ItemState
from tests.support import ledgers
from tests.support.ledgers import NewLedger
from tests.support.patching import fail
from tests.support.recordings import limits_of

LIMITS = limits_of(10_000, 4096, 24)
HOUR_NS = 3_600_000_000_000
T0_NS = 1_750_000_000_000_000_000
NUMBERED = CameraProfile(
    name="numbered", exclude=("*.tmp",), patterns=(r"(?P<number>\d{4})\.MP4$",)
)


class Bench(NewLedger):
    """A card, the ledger, and a docking at a time."""

    def __init__(self, tmp_path):
        self.root = tmp_path / "X812"
        self.root.mkdir()
        super().__init__(tmp_path)
        self.dock = DockContext("dock-1", self.engine, self.ledger, [("nas", True)])
        self.now_s = 0.0
        self.result = ScanResult([], [], {}, 0, 0, frozenset())

    def plug(self, settle_s=0.0):
        mounted = MountedVolume("X812", "folder:X812", "", self.root, 1, 0)
        self.record = DockingRecord.begin(self.dock, mounted, "X812", profile="numbered")
        self.tracker = InventoryTracker(
            record=self.record,
            facts_of=lambda path: profile.facts_of(NUMBERED, path),
            included=lambda path: profile.is_included(NUMBERED, path),
            settling=listing.Settling(lambda: settle_s),
        )
        return self

    def pull(self):
        self.record.end("removed")

    def list(self, times=1, *, complete=True, pause_s=1.0):
        for _ in range(times):
            self.now_s += pause_s
            fd = files.open_volume(self.root)
            try:
                entries = listing.list_volume(fd, LIMITS).entries
                self.result = self.tracker.update(fd, entries, complete=complete, now_s=self.now_s)
            finally:
                os.close(fd)
        return self.result

    def due(self):
        return [row.path for row in self.result.due]

    def read_due(self):
        """What the reader does, without a copy."""
        for row in self.result.due:
            signature = self.result.signatures[row.item_id]
            fd = files.open_volume(self.root)
            try:
                sample = listing.sample(fd, row.path, signature)
            finally:
                os.close(fd)
            data = (self.root / os.fsdecode(row.path)).read_bytes()
            sha256 = hashlib.sha256(data).digest()
            digests = Digests(len(data), sha256, 1 << 24, sample)
            with self.ledger.transaction() as txn:
                got = Acquired(row.item_id, digests, f"d/{row.item_id}")
                record_acquired(txn, [(row, got)], recovered=False)

    def docked_once(self, settle_s=0.0):
        """Plug in, read all, pull."""
        self.plug(settle_s).list()
        self.read_due()
        self.list(2)
        self.pull()
        return self

    def write(self, name, content=b"clip", mtime_ns=T0_NS):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(mtime_ns, mtime_ns))

    def items(self):
        with self.engine.connect() as conn:
            return items.select(conn, item.c.camera == "X812")

    def inventory(self):
        with self.engine.connect() as conn:
            body = dockings.inventory(conn, dockings.get(conn, self.record.row.docking_id))
        return {decode_path(line["path"]): line for line in lines_of(body)}

    def verdicts(self):
        return {path: line["verdict"] for path, line in self.inventory().items()}

    def entries(self, kind):
        return len(ledgers.entries(self.engine, kind))

    def findings(self):
        return {row.code: row.detail for row in self.open_findings()}


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def test_a_second_docking_reads_only_what_is_new(bench):
    bench.write("0001.MP4")
    bench.docked_once()
    bench.write("0002.MP4", b"another")
    bench.plug().list()
    assert bench.due() == [b"0002.MP4"]
    assert bench.verdicts() == {b"0001.MP4": Verdict.SAME, b"0002.MP4": Verdict.NEW}


def test_a_reused_name_with_the_same_size_and_time_is_read_as_a_new_item(bench):
    bench.write("0001.MP4", b"first")
    bench.docked_once()
    bench.write("0001.MP4", b"other")
    bench.plug().list()
    assert bench.due() == [b"0001.MP4"]
    assert bench.verdicts() == {b"0001.MP4": Verdict.CHANGED}
    assert len(bench.items()) == 2


def test_content_that_comes_back_under_its_name_is_known(bench):
    bench.write("0001.MP4", b"first")
    bench.docked_once()
    bench.write("0001.MP4", b"other")
    bench.docked_once()
    bench.write("0001.MP4", b"first")
    bench.plug().list()
    assert bench.due() == []
    assert len(bench.items()) == 2


def test_clocks_changed_forth_and_back_make_nothing_new(bench):
    shift_ns = HOUR_NS
    bench.write("0001.MP4", b"winter")
    bench.docked_once()
    bench.write("0001.MP4", b"winter", T0_NS - shift_ns)
    bench.write("0002.MP4", b"summer", T0_NS + 7)
    bench.docked_once()
    bench.write("0001.MP4", b"winter", T0_NS)
    bench.write("0002.MP4", b"summer", T0_NS + 7 + shift_ns)
    bench.plug().list()
    assert bench.due() == []
    assert set(bench.verdicts().values()) == {Verdict.SAME}
    assert len(bench.items()) == 2


def test_a_file_that_grows_is_not_read_until_it_stands_still(bench):
    bench.write("0001.MP4", b"cl")
    bench.write("0002.MP4", b"still")
    bench.plug(settle_s=1.5).list(2)
    assert bench.result.unsettled == 2
    assert bench.due() == []
    bench.write("0001.MP4", b"clip", T0_NS + 1)
    bench.list()
    assert bench.due() == [b"0002.MP4"]
    assert bench.result.unsettled > 0
    bench.list(2)
    assert bench.result.unsettled == 0
    assert set(bench.due()) == {b"0001.MP4", b"0002.MP4"}
    grown = next(row for row in bench.items() if row.path == b"0001.MP4")
    assert grown.size_bytes == 4
    assert len(bench.items()) == 2


def test_a_file_that_a_process_still_writes_is_not_read(bench):
    bench.write("0001.MP4")
    with (bench.root / "0001.MP4").open("ab"):
        bench.plug().list()
        assert bench.due() == []
        assert bench.result.unsettled == 1
    bench.list()
    assert bench.due() == [b"0001.MP4"]


def test_a_file_that_cannot_be_opened_holds_up_no_other(bench, monkeypatch):
    bench.write("0001.MP4")
    bench.write("0002.MP4")
    error = SourceUnreadableError("0001.MP4: EIO")
    fail(monkeypatch, files, "open_beneath", error, lambda _, path: path == b"0001.MP4")
    bench.plug().list()
    assert b"0002.MP4" in bench.due()


def test_a_sample_that_cannot_be_taken_leaves_its_file_unjudged_and_unreleased(bench, monkeypatch):
    bench.write("0001.MP4")
    bench.write("0002.MP4", b"another")
    bench.docked_once()
    error = SourceUnreadableError("0001.MP4: EIO")
    fail(monkeypatch, tracker, "sample", error, lambda _, path, _s: path == b"0001.MP4")
    bench.plug().list()
    assert bench.result.unclassified == 1
    assert bench.verdicts() == {b"0002.MP4": Verdict.SAME}
    monkeypatch.undo()
    bench.list()
    assert bench.result.unclassified == 0
    assert len(bench.items()) == 2


def test_an_item_that_was_never_read_is_missed_only_after_two_complete_listings(bench):
    bench.write("0001.MP4")
    bench.write("0002.MP4")
    bench.plug(settle_s=100).list()
    bench.pull()
    (bench.root / "0001.MP4").unlink()
    bench.plug(settle_s=100).list(3, complete=False)
    bench.list()
    assert "item_vanished" not in bench.findings()
    bench.list()
    assert {row.path: row.state for row in bench.items()} == {
        b"0001.MP4": ItemState.VANISHED,
        b"0002.MP4": ItemState.DISCOVERED,
    }
    assert "item_vanished" in bench.findings()
    bench.write("0001.MP4")
    bench.pull()
    bench.plug().list()
    assert "item_vanished" not in bench.findings()
    assert set(bench.due()) == {b"0001.MP4", b"0002.MP4"}
    assert len(bench.items()) == 2


def test_an_item_that_was_read_and_left_the_card_is_missing_and_no_alarm(bench):
    bench.write("0001.MP4")
    bench.docked_once()
    (bench.root / "0001.MP4").unlink()
    bench.plug().list(2)
    assert bench.verdicts() == {b"0001.MP4": Verdict.MISSING}
    assert "item_vanished" not in bench.findings()


def test_inode_numbers_that_change_write_nothing_and_read_nothing_twice(bench, monkeypatch):
    bench.write("0001.MP4")
    bench.write("0002.MP4")
    real = files.signature_from
    generation = [0]

    def fat(status):
        signature = real(status)
        return dataclasses.replace(signature, inode=signature.inode + generation[0])

    monkeypatch.setattr(files, "signature_from", fat)
    bench.plug().list()
    assert bench.entries("item.changed") == 0
    before = bench.ledger.head.size
    generation[0] += 1_000_000
    bench.list()
    assert bench.entries("item.changed") == 0
    assert bench.ledger.head.size <= before + 1
    assert set(bench.due()) == {b"0001.MP4", b"0002.MP4"}
    bench.read_due()


def test_what_is_no_file_or_left_out_is_in_the_inventory_and_never_an_item(bench):
    bench.write("0001.MP4")
    bench.write("x.tmp")
    (bench.root / "etc").symlink_to("/etc")
    os.mkfifo(bench.root / "fifo")
    bench.plug().list()
    assert bench.verdicts() == {
        b"0001.MP4": Verdict.NEW,
        b"x.tmp": Verdict.IGNORED,
        b"etc": Verdict.IGNORED,
        b"fifo": Verdict.IGNORED,
    }
    assert bench.inventory()[b"etc"]["kind"] == EntryKind.SYMLINK
    assert [row.path for row in bench.items()] == [b"0001.MP4"]


def test_a_hole_in_the_numbering_is_told_but_not_where_files_were_ingested_before(bench):
    bench.write("0001.MP4")
    bench.write("0002.MP4")
    bench.write("0003.MP4")
    bench.docked_once()
    assert "numbering_gap" not in bench.findings()
    (bench.root / "0002.MP4").unlink()
    bench.docked_once()
    assert "numbering_gap" not in bench.findings()
    bench.write("0005.MP4")
    bench.docked_once()
    assert "4 to 4" in bench.findings()["numbering_gap"]


def test_a_dead_camera_clock_is_told_and_its_files_are_taken(bench):
    bench.write("0001.MP4", mtime_ns=315_532_800 * 1_000_000_000)
    bench.plug().list()
    assert bench.due() == [b"0001.MP4"]
    bench.list()
    assert "camera_clock" in bench.findings()


def cut_off(bench):
    """A docking that the process did not live to end; the next start does."""
    end_docking(bench.dock, bench.record.row.docking_id, "daemon_restarted")
    with bench.engine.connect() as conn:
        return dockings.get(conn, bench.record.row.docking_id)


def test_a_docking_that_was_cut_off_has_its_last_inventory_or_none(bench, monkeypatch):
    bench.write("0001.MP4")
    assert cut_off(bench.plug()).inventory_sha256 == ""
    bench.docked_once()
    bench.plug().list(2)
    bench.write("0002.MP4")
    monkeypatch.setattr(bench.record, "inventoried", None)
    with pytest.raises(TypeError):
        bench.list()
    assert cut_off(bench).end_reason == "daemon_restarted"
    assert bench.verdicts() == {b"0001.MP4": Verdict.SAME}
    assert [row.path for row in bench.items()] == [b"0001.MP4", b"0002.MP4"]


def test_what_changed_after_the_last_inventory_is_recorded_when_the_camera_goes(bench):
    bench.write("0001.MP4")
    bench.plug().list(3)
    bench.write("0001.MP4", b"longer than before", T0_NS + 1)
    bench.list()
    assert bench.inventory()[b"0001.MP4"]["size_bytes"] == "4"
    bench.pull()
    assert bench.inventory()[b"0001.MP4"]["size_bytes"] == "18"
    with bench.engine.connect() as conn:
        ended = dockings.get(conn, bench.record.row.docking_id)
    assert ended.inventoried
