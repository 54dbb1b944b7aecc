"""One volume's docking: what is concluded when reads fail, on a real ledger."""

from __future__ import annotations

import dataclasses
import errno
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog

from bodycam_ingest.acquire.reader import Reader
from bodycam_ingest.acquire.records import AcquireContext
from bodycam_ingest.acquire.staging_watch import StagingWatch
from bodycam_ingest.camera import files, profile
from bodycam_ingest.camera import listing as scan
from bodycam_ingest.camera.sources.volume import DiskHealth, MountedVolume
from bodycam_ingest.config import Cameras
from bodycam_ingest.db import items
from bodycam_ingest.db.schema import item
from bodycam_ingest.docking import docking
from bodycam_ingest.docking import docking as working
from bodycam_ingest.docking.camera_findings import CameraTrouble, Unlisted
from bodycam_ingest.docking.docking import Docking, Progress, Rules
from bodycam_ingest.docking.record import DockingRecord
from bodycam_ingest.docking.tracker import InventoryTracker
from bodycam_ingest.docking.undock import DockContext
from bodycam_ingest.errors import (
    AbandonedError,
    SourceForbiddenError,
    SourceGoneError,
    SourceUnreadableError,
)
from bodycam_ingest.staging.free_space import Space
from tests.support.ledgers import NewLedger
from tests.support.patching import fail, note

if TYPE_CHECKING:
    from bodycam_ingest.acquire.acquirer import Acquirer
    from bodycam_ingest.acquire.read_back import ReadBackVerifier

CAMERAS = Cameras(mount_roots=(Path("/media"),), settle_s=0.0, rescan_s=0.01)


class Source:
    """A USB port; the kernel notices a pull `lag` looks late."""

    def __init__(self):
        self.disk = DiskHealth("running", 0)
        self.pulled = False
        self.lag = 0

    def start(self, wake):
        """Never called here."""

    def stop(self):
        """Never called here."""

    def present(self):
        return []

    def is_present(self, mounted):
        del mounted
        if self.pulled and self.lag:
            self.lag -= 1
            return True
        return not self.pulled

    def disk_health(self, mounted):
        del mounted
        return self.disk


def _a_minute(*_):
    return 60.0


class Copier:
    """Every file on the card gives EIO, and the test may pull the camera at that."""

    def __init__(self):
        self.at_read = lambda: None

    def look(self):
        return Space(free_bytes=2**40, whole_bytes=2**41)

    def acquire_batch(self, root_fd, batch, progress):
        del root_fd, progress
        self.at_read()
        return [SourceUnreadableError(f"{wanted.path!r}: EIO") for wanted in batch]


class Bench(NewLedger):
    """A docked card on a ledger."""

    def __init__(self, tmp_path):
        self.root = tmp_path / "X812"
        self.root.mkdir()
        super().__init__(tmp_path)
        self.source, self.copier = Source(), Copier()
        self.abandon = threading.Event()
        mounted = MountedVolume("X812", "1", "", self.root, 1, 0)
        dock = DockContext("dock-1", self.engine, self.ledger, [("nas", True)])
        record = DockingRecord.begin(dock, mounted, "X812", profile="")
        copier = cast("Acquirer", self.copier)
        context = AcquireContext(
            engine=self.engine,
            ledger=self.ledger,
            acquirer=copier,
            part_size_bytes=1 << 20,
            delay_s=_a_minute,
            watch=StagingWatch(self.engine, self.ledger, cast("Any", self.copier), _a_minute),
        )
        trouble = CameraTrouble(self.engine, self.ledger, "X812")
        self.cameras = CAMERAS
        self.docking = Docking(
            mounted=mounted,
            source=self.source,
            record=record,
            tracker=InventoryTracker(
                record=record,
                facts_of=lambda path: profile.facts_of(None, path),
                included=lambda path: profile.is_included(None, path),
                settling=scan.Settling(lambda: self.cameras.settle_s),
            ),
            reader=Reader(
                context, cast("ReadBackVerifier", None), trouble.files_failed, lambda _count: None
            ),
            trouble=trouble,
            progress=Progress(),
            rules=Rules(
                cameras=lambda: self.cameras,
                read_slots=threading.Semaphore(1),
                abandon=self.abandon,
            ),
        )

    def findings(self):
        return sorted(row.code for row in self.open_findings())

    def items(self):
        with self.engine.connect() as conn:
            return items.select(conn, item.c.camera == "X812")

    def attempts(self):
        return [row.attempts for row in self.items()]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setattr(docking, "_REMOVAL_S", 0.3)
    monkeypatch.setattr(docking, "_REMOVAL_POLL_S", 0.01)
    bench = Bench(tmp_path)
    yield bench
    bench.close()


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("lag", [0, 5])
def test_a_pull_under_a_file_is_not_held_against_the_file(bench, count, lag):
    for number in range(count):
        (bench.root / f"{number}.MP4").write_bytes(b"x")
    bench.source.lag = lag
    bench.copier.at_read = lambda: setattr(bench.source, "pulled", True)
    with structlog.testing.capture_logs() as logs:
        assert not bench.docking.look_once()
    assert bench.attempts() == [0] * count
    assert bench.findings() == []
    assert [line["event"] for line in logs].count("camera.read_interrupted") == 1
    assert "camera.not_listed" not in [line["event"] for line in logs]


def test_a_file_that_cannot_be_read_on_a_camera_that_stays_is_told(bench):
    (bench.root / "0.MP4").write_bytes(b"x")
    assert bench.docking.look_once()
    assert bench.attempts() == [1]
    assert bench.findings() == ["source_unreadable"]
    (detail,) = [row.detail for row in bench.open_findings()]
    assert "camera X812" in detail
    assert "0.MP4" in detail
    assert SourceUnreadableError.default_hint in detail


def test_the_end_of_the_process_does_not_wait_for_what_became_of_the_camera(bench, monkeypatch):
    monkeypatch.setattr(docking, "_REMOVAL_S", 3600.0)
    (bench.root / "0.MP4").write_bytes(b"x")
    bench.copier.at_read = bench.abandon.set
    with pytest.raises(AbandonedError):
        bench.docking.look_once()
    assert bench.attempts() == [0]
    assert bench.findings() == []


@pytest.mark.parametrize(
    "after", [DiskHealth("running", 2), DiskHealth("offline", 0), DiskHealth("offline", 2)]
)
def test_a_listing_during_which_the_disk_failed_is_not_the_whole_card(bench, monkeypatch, after):
    (bench.root / "0.MP4").write_bytes(b"x")
    assert bench.docking.look_once()
    (bench.root / "0.MP4").unlink()
    walk = scan.list_volume

    def failing(*arguments):
        # FAT passes over what it cannot read, and says nothing.
        listing = walk(*arguments)
        bench.source.disk = after
        return listing

    monkeypatch.setattr(working, "list_volume", failing)
    assert bench.docking.look_once()
    assert "inventory_incomplete" in bench.findings()
    bench.source.disk = dataclasses.replace(after, state="running")
    monkeypatch.setattr(working, "list_volume", walk)
    (bench.root / "0.MP4").write_bytes(b"x")
    assert bench.docking.look_once()
    assert "inventory_incomplete" not in bench.findings()


@pytest.mark.parametrize("last", [DiskHealth("cancel", 1), DiskHealth(), DiskHealth("running", 1)])
def test_an_empty_listing_of_a_disk_that_goes_is_no_listing(bench, monkeypatch, last):
    (bench.root / "0.MP4").write_bytes(b"x")
    assert bench.docking.look_once()
    walk = scan.list_volume

    def pulled(*arguments):
        (bench.root / "0.MP4").unlink()
        bench.source.disk, bench.source.pulled, bench.source.lag = last, True, 4
        return walk(*arguments)

    monkeypatch.setattr(working, "list_volume", pulled)
    assert not bench.docking.look_once()
    assert [row.state for row in bench.items()] == ["discovered"]
    assert "inventory_incomplete" not in bench.findings()


def test_a_disk_that_lost_its_state_is_gone_though_its_volume_still_lists(bench):
    (bench.root / "0.MP4").write_bytes(b"x")
    assert bench.docking.look_once()
    (bench.root / "0.MP4").unlink()
    # Nothing failed from the beginning of the listing to its end: the end had come before.
    bench.source.disk = DiskHealth()
    assert not bench.docking.look_once()
    assert [row.state for row in bench.items()] == ["discovered"]


@pytest.fixture
def shut(bench):
    """The card's root refuses, however often it is asked."""
    (bench.root / "0.MP4").write_bytes(b"x")
    with pytest.MonkeyPatch.context() as patch:
        error = SourceForbiddenError("/mnt/X812: EACCES: Permission denied")
        fail(patch, working, "open_volume", error)
        yield patch


@pytest.mark.usefixtures("shut")
def test_a_camera_that_cannot_be_listed_is_told_once_with_its_reason(bench):
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            assert bench.docking.look_once()
    assert bench.findings() == ["camera_unlistable"]
    told = [line["event"] for line in logs if line["event"].startswith("camera.")]
    assert told == ["camera.not_listed"]
    assert "EACCES" in bench.docking.live().unlisted


def test_a_camera_that_can_be_listed_again_closes_its_finding(bench, shut):
    assert bench.docking.look_once()
    shut.undo()
    with structlog.testing.capture_logs() as logs:
        assert bench.docking.look_once()
    assert "camera_unlistable" not in bench.findings()
    assert [line["event"] for line in logs].count("camera.listed_again") == 1
    assert bench.docking.live().unlisted == ""


def test_one_file_that_goes_while_the_camera_is_looked_at_is_no_alarm(bench, monkeypatch):
    fail(monkeypatch, working, "open_volume", SourceGoneError("0.MP4: ENOENT"))
    assert bench.docking.look_once()
    assert bench.findings() == []
    assert bench.docking.look_once()
    assert bench.findings() == ["camera_unlistable"]


def test_the_wait_for_the_next_listing_grows_to_a_minute(bench):
    unlisted = Unlisted(bench.docking._record)
    waits = []
    for _ in range(40):
        waits.append(unlisted.wait_s(5.0))
        unlisted.failed(SourceForbiddenError("/: EACCES"))
    assert waits[:5] == [5.0, 10.0, 20.0, 40.0, 60.0]
    assert set(waits[5:]) == {60.0}
    unlisted.whole()
    assert unlisted.wait_s(5.0) == 5.0


def test_part_of_a_camera_that_cannot_be_listed_is_named_with_its_errno(bench, monkeypatch):
    (bench.root / "DCIM").mkdir()
    (bench.root / "0.MP4").write_bytes(b"x")
    fail(monkeypatch, files, "open_directory_beneath", errno.EACCES, lambda _, path: path)
    assert bench.docking.look_once()
    assert "inventory_incomplete" in bench.findings()
    assert "DCIM: EACCES" in bench.docking.live().unlisted
    assert bench.attempts() == [1]


def test_where_nobody_can_write_a_file_is_read_at_the_second_look_and_that_comes_at_once(
    bench, monkeypatch
):
    monkeypatch.setattr(working, "nobody_can_write", lambda _fd: True)
    bench.cameras = CAMERAS.model_copy(update={"settle_s": 3600.0, "rescan_s": 3600.0})
    (bench.root / "0.MP4").write_bytes(b"x")
    bench.copier.at_read = bench.abandon.set
    looks = note(monkeypatch, working, "list_volume")
    bench.docking.run()
    assert len(looks) == 2


def test_where_somebody_can_write_a_file_is_not_read_before_it_stood_still(bench, monkeypatch):
    monkeypatch.setattr(working, "nobody_can_write", lambda _fd: False)
    bench.cameras = CAMERAS.model_copy(update={"settle_s": 3600.0})
    (bench.root / "0.MP4").write_bytes(b"x")
    bench.copier.at_read = lambda: pytest.fail("it was read")
    for _ in range(3):
        assert bench.docking.look_once()
