"""Which cameras are docked: names them, starts a docking for each volume, ends those that left."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.acquire import Reader
from bodycam_ingest.camera import (
    LimitedSearch,
    Settling,
    facts_of,
    is_included,
    profile_for,
    read_head,
    safe_serial,
    serial_in_text,
)
from bodycam_ingest.db import findings
from bodycam_ingest.docking.camera_findings import DOCKING_FAILED, CameraTrouble
from bodycam_ingest.docking.docking import Docking, Progress, Rules
from bodycam_ingest.docking.record import DockingRecord
from bodycam_ingest.docking.tracker import InventoryTracker
from bodycam_ingest.errors import Disposition, IngestError
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bodycam_ingest.acquire import AcquireContext, ReadBackVerifier
    from bodycam_ingest.camera import DeviceSource, MountedVolume
    from bodycam_ingest.config import CameraProfile, Cameras
    from bodycam_ingest.docking.undock import DockContext
    from bodycam_ingest.model.subjects import Subject
    from bodycam_ingest.release import Live, Releaser


_PAUSE_AFTER_FAULT_S: Final = 60.0
_PAUSE_MAX_S: Final = 3600.0
# So long may a camera take to report its serial number before there is an alarm.
_SILENT_S: Final = 30.0
_SERIAL_FILE_MAX_BYTES: Final = 4096
_SERIAL_TWICE: Final = "camera_serial_twice"
_SILENT: Final = "camera_silent"


class _Bay:
    """One volume and the thread that works it; without a docking until the camera is named."""

    def __init__(self, mounted: MountedVolume, run: Callable[[_Bay], None]) -> None:
        self.mounted = mounted
        self.camera = ""
        self.docking: Docking | None = None
        self.began_s = time.monotonic()
        # After a fault: when it is begun anew. Until then the docking stays, and so its alarm.
        self.again_s: float | None = None
        # A thread stuck in a dead device must not keep the process from ending.
        self.thread = threading.Thread(
            target=run, args=(self,), name=f"docking-{mounted.bay}", daemon=True
        )

    def holds(self) -> bool:
        """Whether its volume is not to be taken by another."""
        return self.thread.is_alive() or self.again_s is not None


class DockingManager:
    """Holds the dockings that run; `halt` is called with a fault on which the process must end."""

    def __init__(
        self,
        *,
        source: DeviceSource,
        identification: CameraIdentification,
        releaser: Releaser,
        halt: Callable[[IngestError], None],
        cameras: Callable[[], Cameras],
    ) -> None:
        self._source = source
        self._identification = identification
        self._releaser = releaser
        self._halt = halt
        self._cameras = cameras
        self._bays: list[_Bay] = []
        self._tries: dict[MountedVolume, int] = {}
        self._silent: set[MountedVolume] = set()
        self._lock = threading.Lock()
        # One camera after the other gets its name: two that claim one serial must see each other.
        self._naming = threading.Lock()

    def tick(self) -> float:
        """Look once; returns the seconds until the next look."""
        present = self._source.present()
        with self._lock:
            self._bays = [bay for bay in self._bays if bay.holds()]
            bays = list(self._bays)
        self._tries = {m: n for m, n in self._tries.items() if m in present}
        for gone in [mounted for mounted in self._silent if mounted not in present]:
            self._silent.discard(gone)
            self._identification.answered(gone.bay)
        for bay in bays:
            if bay.again_s is not None:
                self._settle_failed(bay)
            elif bay.docking is None:
                if bay.mounted in present:
                    self._report_silent(bay)
            elif not self._source.is_present(bay.mounted):
                bay.docking.removed()
        with self._lock:
            working = [bay.mounted for bay in self._bays]
        for mounted in present:
            if mounted not in working:
                self._start(mounted)
        self._releaser.tick(self.live())
        return min(self._cameras().rescan_s, 1.0)

    def _start(self, mounted: MountedVolume) -> None:
        bay = _Bay(mounted, self._run)
        with self._lock:
            self._bays.append(bay)
        bay.thread.start()

    # -- in the camera's own thread: its serial may have to be read off it, and it may hang --

    def _begin(self, bay: _Bay) -> bool:
        """Name the camera and begin its docking; returns whether there is something to work."""
        mounted = bay.mounted
        camera = self._identification.identify(mounted)
        with self._naming:
            if not self._source.is_present(mounted):
                return False
            rivals = self._rivals(bay, camera)
            if not all(self._source.is_present(rival.mounted) for rival in rivals):
                # The same camera, plugged in again while its last docking still ends: a later look
                # takes it, under its own name and with its own history.
                return False
            if rivals:
                # Never merged: what the one has must not count as known on the other.
                log.error("camera.serial_twice", camera=camera, bay=mounted.bay)
                camera = self._identification.disambiguate(camera, mounted.bay)
                if self._rivals(bay, camera):
                    return False
            docking = self._identification.open_docking(mounted, camera, source=self._source)
            with self._lock:
                bay.camera, bay.docking = camera, docking
        if mounted in self._silent:
            self._silent.discard(mounted)
            self._identification.answered(mounted.bay)
        return True

    def _rivals(self, bay: _Bay, camera: str) -> list[_Bay]:
        with self._lock:
            return [
                other
                for other in self._bays
                if other is not bay and _claims_same(other, camera, bay.mounted)
            ]

    def _run(self, bay: _Bay) -> None:
        try:
            if self._begin(bay) and bay.docking is not None:
                bay.docking.run()
                self._tries.pop(bay.mounted, None)
        except IngestError as error:
            if error.disposition is Disposition.HALT:
                self._halt(error)
                return
            log.exception("docking.fault", camera=bay.camera, error=error.code, hint=error.hint)
            self._failed(bay, f"{error.code}: {error.message}. {error.hint}")
        except Exception as error:
            # The outermost guard of this camera's thread: a later look starts it anew.
            log.exception("docking.crashed", camera=bay.camera)
            self._failed(bay, f"{type(error).__name__}; the log has the rest, report it")

    # -- what failed, what is silent --

    def _failed(self, bay: _Bay, why: str) -> None:
        tries = self._tries[bay.mounted] = self._tries.get(bay.mounted, 0) + 1
        # A defect that comes back at once must not fill the ledger with dockings.
        wait_s = min(_PAUSE_MAX_S, _PAUSE_AFTER_FAULT_S * 2 ** (tries - 1))
        try:
            self._identification.failed(bay.camera or bay.mounted.bay, why)
        except IngestError as error:
            self._halt(error)
            return
        bay.again_s = time.monotonic() + wait_s

    def _settle_failed(self, bay: _Bay) -> None:
        """End the docking of a camera that failed, once it is gone or its time has come."""
        there = self._source.is_present(bay.mounted)
        if there and (bay.again_s or 0.0) > time.monotonic():
            return
        if bay.docking is not None:
            bay.docking.finish("fault" if there else "removed")
        with self._lock:
            self._bays.remove(bay)

    def _report_silent(self, bay: _Bay) -> None:
        silent = time.monotonic() - bay.began_s > _SILENT_S and bay.thread.is_alive()
        if silent and bay.mounted not in self._silent:
            self._silent.add(bay.mounted)
            self._identification.silent(bay.mounted.bay)

    def live(self) -> dict[str, Live]:
        """What each running docking knows, by docking."""
        with self._lock:
            return {
                bay.docking.docking_id: bay.docking.live()
                for bay in self._bays
                if bay.docking is not None and bay.holds()
            }

    def progress(self) -> dict[str, dict[str, Any]]:
        """How far each running docking is, by docking."""
        with self._lock:
            return {
                bay.docking.docking_id: bay.docking.progress.shown()
                for bay in self._bays
                if bay.docking is not None and bay.holds()
            }

    def wake(self) -> None:
        """Have every docking list again now."""
        with self._lock:
            for bay in self._bays:
                if bay.docking is not None:
                    bay.docking.wake()

    def join(self, timeout_s: float) -> bool:
        """Wait until all dockings ended; returns whether they did."""
        with self._lock:
            bays = list(self._bays)
        for bay in bays:
            bay.thread.join(timeout_s / max(1, len(bays)))
        return not any(bay.thread.is_alive() for bay in bays)


def _claims_same(bay: _Bay, camera: str, mounted: MountedVolume) -> bool:
    """Whether a docking that runs would be merged with this volume's if both had this name."""
    if bay.docking is None:
        return False
    elsewhere = bay.mounted.bay != mounted.bay
    return bay.camera == camera and (elsewhere or bay.mounted.volume == mounted.volume)


@dataclass(frozen=True, slots=True)
class CameraIdentification:
    """Names cameras and begins dockings; `profiles` stand in the order of the configuration."""

    dock: DockContext
    context: AcquireContext
    verifier: ReadBackVerifier
    rules: Rules
    profiles: Sequence[CameraProfile]

    def _profile(self, mounted: MountedVolume) -> CameraProfile | None:
        return profile_for(mounted.properties, self.profiles)

    def identify(self, mounted: MountedVolume) -> str:
        """The serial under which a volume is ingested; never empty, safe everywhere."""
        profile = self._profile(mounted)
        own = self._serial_in_file(mounted, profile) if profile and profile.serial_file else ""
        return safe_serial(own or mounted.camera) or safe_serial(f"unknown {mounted.bay}")

    def disambiguate(self, serial: str, bay: str) -> str:
        """Alarm that two cameras claim one serial; returns a name of its own for the second."""
        other = safe_serial(f"{serial}~{bay}")
        detail = f"two cameras call themselves {serial}; the one in {bay} is {other}"
        self._hold(_SERIAL_TWICE, detail, subjects.camera(serial), subjects.camera(other))
        return other

    def _hold(self, code: str, detail: str, *about: Subject) -> None:
        wanted = {(code, subject): detail for subject in about}
        findings.hold(self.dock.engine, self.dock.ledger, wanted)

    def failed(self, camera_name: str, why: str) -> None:
        """Alarm that the work on a camera failed; closed when one of its dockings gets on again."""
        detail = f"the work on camera {camera_name} failed and is tried again later: {why}"
        self._hold(DOCKING_FAILED, detail, subjects.camera(camera_name))

    def silent(self, bay: str) -> None:
        """Alarm that a camera does not say who it is."""
        log.error("camera.silent", bay=bay)
        detail = f"the camera in {bay} does not answer; pull it and dock it again"
        self._hold(_SILENT, detail, subjects.bay(bay))

    def answered(self, bay: str) -> None:
        """Close that alarm."""
        self._hold(_SILENT, "", subjects.bay(bay))

    def _serial_in_file(self, mounted: MountedVolume, profile: CameraProfile) -> str:
        path = os.fsencode(profile.serial_file)
        try:
            text = read_head(mounted.mount_path, path, _SERIAL_FILE_MAX_BYTES)
        except IngestError as error:
            # The camera is taken all the same, under the name that the source gives it.
            log.warning("camera.serial_unreadable", bay=mounted.bay, error=str(error))
            return ""
        search = LimitedSearch(_given_up(mounted.bay), tries=1)
        return serial_in_text(profile, text.decode("utf-8", "replace"), search)

    def open_docking(
        self,
        mounted: MountedVolume,
        serial: str,
        *,
        source: DeviceSource,
        reason: str = "",
    ) -> Docking:
        """Record that a docking begins, under a serial for ledger and stores; it is ready to run.

        `reason` is why it is docked, where that is not a camera in a bay.
        """
        profile = self._profile(mounted)
        record = DockingRecord.begin(
            self.dock, mounted, serial, profile=profile.name if profile else "", reason=reason
        )
        progress = Progress()
        search = LimitedSearch(_given_up(mounted.bay, serial))
        trouble = CameraTrouble(self.dock.engine, self.dock.ledger, serial)
        return Docking(
            mounted=mounted,
            source=source,
            record=record,
            tracker=InventoryTracker(
                record=record,
                facts_of=lambda path: facts_of(profile, path, search),
                included=lambda path: is_included(profile, path),
                settling=Settling(lambda: self.rules.cameras().settle_s),
            ),
            reader=Reader(self.context, self.verifier, trouble.files_failed, progress.add),
            trouble=trouble,
            progress=progress,
            rules=self.rules,
        )


def _given_up(bay: str, serial: str = "") -> Callable[[str], None]:
    def report(pattern: str) -> None:
        log.warning("camera.pattern_given_up", bay=bay, camera=serial, pattern=pattern)

    return report
