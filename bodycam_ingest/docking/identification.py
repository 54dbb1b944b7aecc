"""Identifies cameras: names them, finds their profile, begins their dockings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest import camera
from bodycam_ingest.acquire import Reader
from bodycam_ingest.db import findings
from bodycam_ingest.docking.camera_findings import DOCKING_FAILED, CameraTrouble
from bodycam_ingest.docking.docking import Docking, Progress, Rules
from bodycam_ingest.docking.record import DockingRecord
from bodycam_ingest.docking.tracker import InventoryTracker
from bodycam_ingest.errors import IngestError
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bodycam_ingest.acquire import AcquireContext, ReadBackVerifier
    from bodycam_ingest.config import CameraProfile
    from bodycam_ingest.docking.undock import DockContext
    from bodycam_ingest.model.subjects import Subject


_SERIAL_FILE_MAX_BYTES: Final = 4096
_SERIAL_TWICE: Final = "camera_serial_twice"
_SILENT: Final = "camera_silent"


@dataclass(frozen=True, slots=True)
class CameraIdentification:
    """Names cameras and begins dockings; `profiles` stand in the order of the configuration."""

    dock: DockContext
    context: AcquireContext
    verifier: ReadBackVerifier
    rules: Rules
    profiles: Sequence[CameraProfile]

    def _profile(self, mounted: camera.MountedVolume) -> CameraProfile | None:
        return camera.profile_for(mounted.properties, self.profiles)

    def identify(self, mounted: camera.MountedVolume) -> str:
        """The serial under which a volume is ingested; never empty, safe everywhere."""
        profile = self._profile(mounted)
        own = self._serial_in_file(mounted, profile) if profile and profile.serial_file else ""
        return camera.safe_serial(own or mounted.camera) or camera.safe_serial(
            f"unknown {mounted.bay}"
        )

    def disambiguate(self, serial: str, bay: str) -> str:
        """Alarm that two cameras claim one serial; returns a name of its own for the second."""
        other = camera.safe_serial(f"{serial}~{bay}")
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

    def _serial_in_file(self, mounted: camera.MountedVolume, profile: CameraProfile) -> str:
        path = os.fsencode(profile.serial_file)
        try:
            text = camera.read_head(mounted.mount_path, path, _SERIAL_FILE_MAX_BYTES)
        except IngestError as error:
            # The camera is taken all the same, under the name that the source gives it.
            log.warning("camera.serial_unreadable", bay=mounted.bay, error=str(error))
            return ""
        search = camera.LimitedSearch(_given_up(mounted.bay), tries=1)
        return camera.serial_in_text(profile, text.decode("utf-8", "replace"), search)

    def open_docking(
        self,
        mounted: camera.MountedVolume,
        serial: str,
        *,
        source: camera.DeviceSource,
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
        search = camera.LimitedSearch(_given_up(mounted.bay, serial))
        trouble = CameraTrouble(self.dock.engine, self.dock.ledger, serial)
        return Docking(
            mounted=mounted,
            source=source,
            record=record,
            tracker=InventoryTracker(
                record=record,
                facts_of=lambda path: camera.facts_of(profile, path, search),
                included=lambda path: camera.is_included(profile, path),
                settling=camera.Settling(lambda: self.rules.cameras().settle_s),
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
