"""One camera's volume from attach to detach: list, compare, read, list again, until it is gone.

Runs in a thread of its own, so that a camera that hangs holds up nobody else. Listing is repeated
every few seconds; nothing here depends on an event having arrived. An empty listing or "no such
file" proves nothing until the source says that the camera is still there.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest.camera import Listing, list_volume, open_volume
from bodycam_ingest.docking.camera_findings import DOCKING_FAILED, Unlisted, oversized
from bodycam_ingest.errors import AbandonedError, Disposition, IngestError, SourceGoneError
from bodycam_ingest.linux.open_writers import nobody_can_write
from bodycam_ingest.log import log
from bodycam_ingest.model.evidence import EntryKind
from bodycam_ingest.release import Live

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.acquire import Reader
    from bodycam_ingest.camera import DeviceSource, DiskHealth, MountedVolume
    from bodycam_ingest.config import Cameras
    from bodycam_ingest.docking.camera_findings import CameraTrouble
    from bodycam_ingest.docking.record import DockingRecord
    from bodycam_ingest.docking.tracker import InventoryTracker


# Reads off a pulled disk fail first, then it goes: tenths of a second, on a busy machine more.
_REMOVAL_S: Final = 3.0
_REMOVAL_POLL_S: Final = 0.1
# Of a core, for listing a camera again of which everything is copied.
_SHARE_AT_REST: Final = 0.005
_REST_MAX_S: Final = 60.0
_OVERSIZED: Final = "file_size_absurd"


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for every docking of a dock.

    Args:
        cameras: their section of the configuration, as it is now.
        read_slots: lets at most so many cameras be read at once.
        abandon: set when the process must end.
    """

    cameras: Callable[[], Cameras]
    read_slots: threading.Semaphore
    abandon: threading.Event


@dataclass
class Progress:
    """How far a docking is; written by its thread, read by others.

    Args:
        bytes_total: of all files that are to be read; it means something once `listed`.
        started_s: when reading began, monotonic, 0 before.
        moved_s: when bytes last moved, monotonic.
        stuck: something waits to be read and nothing can be.
    """

    bytes_total: int = 0
    bytes_done: int = 0
    started_s: float = 0.0
    moved_s: float = 0.0
    listed: bool = False
    stuck: bool = False

    def add(self, count_bytes: int) -> None:
        """Note bytes read."""
        now_s = time.monotonic()
        self.started_s = self.started_s or now_s
        self.moved_s = now_s
        self.bytes_done += count_bytes

    def shown(self) -> dict[str, int | float | None]:
        """Percent, MB a second while bytes moved, and seconds left, each None where unknown."""
        if not self.listed or self.stuck:
            # Nobody knows how much there is, or nothing moves: any figure would be a promise.
            return {"percent": None, "mb_per_s": None, "time_left_s": None}
        total, done = self.bytes_total, min(self.bytes_done, self.bytes_total)
        elapsed_s = self.moved_s - self.started_s
        rate = self.bytes_done / elapsed_s if elapsed_s > 0 else 0.0
        return {
            "percent": 100 if total == 0 else done * 100 // total,
            "mb_per_s": round(rate / 1_000_000, 1),
            "time_left_s": round((total - done) / rate) if rate > 0 else None,
        }


class Docking:
    """Works one volume while it is there."""

    def __init__(
        self,
        *,
        mounted: MountedVolume,
        source: DeviceSource,
        record: DockingRecord,
        tracker: InventoryTracker,
        reader: Reader,
        trouble: CameraTrouble,
        progress: Progress,
        rules: Rules,
    ) -> None:
        self.mounted = mounted
        self.docking_id = record.row.docking_id
        self.progress = progress
        self._source = source
        self._record = record
        self._tracker = tracker
        self._reader = reader
        self._trouble = trouble
        self._rules = rules
        self._gone = threading.Event()
        self._wake = threading.Event()
        self._unlisted = Unlisted(record)
        self._on_disk = False
        self._reported_items = -1
        self._unfinished = (0, 0)

    def live(self) -> Live:
        """What only this docking knows, for the release decision."""
        unsettled, unclassified = self._unfinished
        return Live(unsettled, unclassified, self._unlisted.reason)

    def removed(self) -> None:
        """Note that the source no longer has this volume."""
        self._gone.set()
        self._wake.set()

    def wake(self) -> None:
        """Have the next listing begin now."""
        self._wake.set()

    def run(self) -> None:
        """Work the volume until it is gone or the process ends.

        When the process ends the docking stays open: the next start records its end, since nobody
        will have watched the bay until then.

        Raises:
            IngestError: only those whose disposition is HALT.
        """
        try:
            while not self._rules.abandon.is_set():
                began_s = time.thread_time()
                if self._gone.is_set() or not self.look_once():
                    self._record.end("removed")
                    return
                wait_s = self._unlisted.wait_s(self._rules.cameras().rescan_s)
                if self._report_copied():
                    # A full card that sits there overnight must not keep the processor busy.
                    cost_s = time.thread_time() - began_s
                    wait_s = max(wait_s, min(_REST_MAX_S, cost_s / _SHARE_AT_REST))
                self._wake.wait(wait_s)
                self._wake.clear()
        except AbandonedError:
            return

    def look_once(self) -> bool:
        """List once and read what is due, in the caller's thread; returns whether it is there.

        Raises:
            AbandonedError: the process must end.
            IngestError: otherwise only those whose disposition is HALT.
        """
        try:
            root_fd = open_volume(self.mounted.mount_path)
            try:
                self._work(root_fd)
            finally:
                os.close(root_fd)
        except IngestError as error:
            if error.disposition is Disposition.HALT or isinstance(error, AbandonedError):
                raise
            if self._is_still_present():
                self._unlisted.failed(error)
                return True
            log.warning(
                "camera.read_interrupted",
                camera=self._record.row.camera,
                docking_id=self.docking_id,
                error=error.code,
                message=error.message,
            )
            return False
        return True

    def untried(self) -> int:
        """How many files still wait for their first reading, or for a listing that concludes."""
        waiting = sum(not row.last_error for row in self._record.unread_items())
        return waiting + sum(self._unfinished) + (not self._tracker.concluded)

    def finish(self, reason: str) -> None:
        """Record that the caller ends the docking, and why."""
        self._record.end(reason)

    def _report_copied(self) -> bool:
        """Whether everything is on the dock; logged once, and again when something came along."""
        if any(self._unfinished) or self._unlisted.reason or not self._tracker.concluded:
            return False
        copied = self._record.copied()
        if copied is None:
            return False
        if (recordings := copied.states.total()) == self._reported_items:
            return True
        self._reported_items = recordings
        self._record.all_copied()
        log.info(
            "docking.copied",
            camera=self._record.row.camera,
            bay=self.mounted.bay,
            docking_id=self.docking_id,
            recordings=recordings,
            size_bytes=copied.size_bytes,
            new=copied.new,
            new_bytes=copied.new_bytes,
        )
        return True

    def _work(self, root_fd: int) -> None:
        before = self._disk_health()
        listing = list_volume(root_fd, self._rules.cameras().limits, self._rules.abandon)
        after = self._disk_health()
        faultless = after == before and after.ok
        # Only now does what was listed, or not listed, mean anything.
        sure = faultless and listing.complete
        if not (self._is_present() if sure else self._is_still_present()):
            raise SourceGoneError("the volume went away while it was listed")
        complete = self._judge(listing, faultless=faultless)
        self._tracker.settling.unwritable = nobody_can_write(root_fd)
        result = self._tracker.update(
            root_fd, listing.entries, complete=complete, now_s=time.monotonic()
        )
        if complete:
            camera = self._record.row.camera
            self._trouble.hold({_OVERSIZED: oversized(root_fd, camera, listing.entries)})
        self.progress.bytes_total = self._tracker.bytes_to_read
        first = not self.progress.listed
        self.progress.listed |= complete
        self._unfinished = (result.unsettled, result.unclassified)
        self._trouble.settle(result.faults)
        rows = self._reader.choose(result.due, result.for_space)
        taken = 0
        if rows:
            self.progress.stuck = False
            with self._rules.read_slots:
                taken = self._reader.read(root_fd, rows, result.signatures, self._is_still_present)
        self.progress.stuck = not taken and bool(result.due or result.for_space)
        self._trouble.hold({DOCKING_FAILED: ""})
        if taken or (first and self._tracker.settling.unwritable):
            # Look again at once: what was read may have changed meanwhile; and where nobody can
            # write, a second look is all that is waited for.
            self._wake.set()

    def _is_still_present(self) -> bool:
        """Whether the camera is still there after a fault that a pull may have caused.

        Raises:
            AbandonedError: the process must end before that is known.
        """
        until_s = time.monotonic() + _REMOVAL_S
        while self._is_present():
            if not self._on_disk or time.monotonic() >= until_s:
                return True
            if self._rules.abandon.wait(_REMOVAL_POLL_S):
                raise AbandonedError("the process ends")
        return False

    def _disk_health(self) -> DiskHealth:
        health = self._source.disk_health(self.mounted)
        self._on_disk = self._on_disk or bool(health.state)
        return health

    def _is_present(self) -> bool:
        # A disk loses its state before its volume goes, and a FAT already lists as empty then.
        has_state = bool(self._disk_health().state) or not self._on_disk
        return has_state and self._source.is_present(self.mounted)

    def _judge(self, listing: Listing, *, faultless: bool) -> bool:
        if listing.fault and (isinstance(listing.fault, SourceGoneError) or not listing.entries):
            raise listing.fault
        if listing.complete and faultless:
            self._unlisted.whole()
            return True
        why = "the disk reported faults while it was listed"
        if not listing.complete:
            bad = [entry for entry in listing.entries if entry.kind is EntryKind.UNREADABLE]
            why = listing.fault.message if listing.fault else bad[0].detail
            why += f" (one of {len(bad)} entries)" if len(bad) > 1 else ""
        self._unlisted.incomplete(why)
        return False
