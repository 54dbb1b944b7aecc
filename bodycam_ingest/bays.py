"""Which cameras are docked: starts a docking for each volume that appears, ends those that left."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import structlog

from bodycam_ingest.errors import Disposition, IngestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.devices.mounted import MountedVolume
    from bodycam_ingest.docking import DeviceSource, Docking, Pace
    from bodycam_ingest.reception import Reception
    from bodycam_ingest.releaser import Live, Releaser

log = structlog.get_logger(__name__)

_MEGA: Final = 1_000_000
_PER_CENT: Final = 100
_PAUSE_AFTER_FAULT_S: Final = 60.0


class _Bay:
    """One volume and the thread that works it."""

    def __init__(
        self, mounted: MountedVolume, camera: str, docking: Docking, run: Callable[[_Bay], None]
    ) -> None:
        self.mounted = mounted
        self.camera = camera
        self.docking = docking
        # A thread stuck in a dead device must not keep the process from ending.
        self.thread = threading.Thread(
            target=run, args=(self,), name=f"docking-{camera}", daemon=True
        )


class BayKeeper:
    """Holds the dockings that run.

    Args:
        source: where cameras come from.
        reception: names cameras and begins dockings.
        releaser: releases what may go.
        halt: told of faults on which the process must end.
        pace: how often to look.
    """

    def __init__(
        self,
        *,
        source: DeviceSource,
        reception: Reception,
        releaser: Releaser,
        halt: Callable[[IngestError], None],
        pace: Pace,
    ) -> None:
        self._source = source
        self._reception = reception
        self._releaser = releaser
        self._halt = halt
        self._pace = pace
        self._bays: list[_Bay] = []
        self._not_before_s: dict[MountedVolume, float] = {}
        self._lock = threading.Lock()

    def tick(self) -> float:
        """Look once; returns the seconds until the next look."""
        present = self._source.present()
        with self._lock:
            self._bays = [bay for bay in self._bays if bay.thread.is_alive()]
            bays = list(self._bays)
        for bay in bays:
            if not self._source.still_there(bay.mounted):
                bay.docking.removed()
        working = [bay.mounted for bay in bays]
        now_s = time.monotonic()
        self._not_before_s = {m: t for m, t in self._not_before_s.items() if m in present}
        for mounted in present:
            if mounted not in working and self._not_before_s.get(mounted, 0.0) <= now_s:
                self._start(mounted)
        self._releaser.tick(self.live())
        return min(self._pace.rescan_s, 1.0)

    def _start(self, mounted: MountedVolume) -> None:
        camera = self._reception.name_camera(mounted)
        with self._lock:
            rivals = [bay for bay in self._bays if _claims_same(bay, camera, mounted)]
        if not all(self._source.still_there(bay.mounted) for bay in rivals):
            # The same camera, plugged in again while its last docking still ends: a later look
            # takes it, under its own name and with its own history.
            return
        if rivals:
            # Never merged: what the one has must not count as known on the other.
            log.error("camera.serial_twice", camera=camera, bay=mounted.bay)
            camera = self._reception.name_apart(camera, mounted.bay)
            with self._lock:
                if any(_claims_same(bay, camera, mounted) for bay in self._bays):
                    return
        docking = self._reception.open_docking(mounted, camera, source=self._source)
        bay = _Bay(mounted, camera, docking, self._run)
        with self._lock:
            self._bays.append(bay)
        bay.thread.start()

    def _run(self, bay: _Bay) -> None:
        try:
            bay.docking.run()
        except IngestError as error:
            if error.disposition is Disposition.HALT:
                self._halt(error)
                return
            log.exception("docking.fault", camera=bay.camera, error=error.code, hint=error.hint)
            self._abort(bay)
        except Exception:
            # The outermost guard of this camera's thread: a later look starts it anew.
            log.exception("docking.crashed", camera=bay.camera)
            self._abort(bay)

    def _abort(self, bay: _Bay) -> None:
        # A defect that comes back at once must not fill the ledger with dockings.
        self._not_before_s[bay.mounted] = time.monotonic() + _PAUSE_AFTER_FAULT_S
        try:
            bay.docking.abort()
        except IngestError as error:
            self._halt(error)

    def live(self) -> dict[str, Live]:
        """What each running docking knows, by docking."""
        with self._lock:
            return {
                bay.docking.docking_id: bay.docking.live()
                for bay in self._bays
                if bay.thread.is_alive()
            }

    def progress(self) -> dict[str, dict[str, Any]]:
        """How far each running docking is, by docking."""
        with self._lock:
            return {
                bay.docking.docking_id: _shown(bay.docking)
                for bay in self._bays
                if bay.thread.is_alive()
            }

    def wake(self) -> None:
        """Have every docking list again now."""
        with self._lock:
            for bay in self._bays:
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
    elsewhere = bay.mounted.bay != mounted.bay
    return bay.camera == camera and (elsewhere or bay.mounted.volume == mounted.volume)


def _shown(docking: Docking) -> dict[str, Any]:
    progress = docking.progress
    if not progress.listed or progress.stuck:
        # Nobody knows how much there is, or nothing moves: any figure would be a promise.
        return {"percent": None, "mb_per_s": None, "time_left_s": None}
    total, done = progress.bytes_total, min(progress.bytes_done, progress.bytes_total)
    rate = progress.rate_bytes_per_s()
    return {
        "percent": _PER_CENT if total == 0 else done * _PER_CENT // total,
        "mb_per_s": round(rate / _MEGA, 1),
        "time_left_s": round((total - done) / rate) if rate > 0 else None,
    }
