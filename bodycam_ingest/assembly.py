"""Builds the daemon's parts from the configuration, once, in one place."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Final

import structlog
from ulid import ULID

from bodycam_ingest import camera, clock, scan, volume
from bodycam_ingest.acquire import Acquirer
from bodycam_ingest.anchors import AnchorKeeper
from bodycam_ingest.bays import BayKeeper
from bodycam_ingest.card import Card
from bodycam_ingest.clockwatch import ClockWatch
from bodycam_ingest.db import findings
from bodycam_ingest.db.dockings import DockingRow
from bodycam_ingest.db.installation import open_ledger
from bodycam_ingest.devices.folder import FolderSource
from bodycam_ingest.docking import Docking, Pace, Progress, Rules
from bodycam_ingest.docking_record import DockingRecord
from bodycam_ingest.errors import IngestError
from bodycam_ingest.levers import Levers
from bodycam_ingest.pipeline import Target, Workshop
from bodycam_ingest.reader import Reader
from bodycam_ingest.recovery import recover
from bodycam_ingest.releaser import Releaser
from bodycam_ingest.retention import Retention
from bodycam_ingest.stores.registry import open_store
from bodycam_ingest.stores.retrying import RetryPolicy
from bodycam_ingest.undocking import Dock
from bodycam_ingest.upload import Uploader
from bodycam_ingest.verifier import Verifier
from bodycam_ingest.workers import moving

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.config import Config
    from bodycam_ingest.devices.mounted import MountedVolume
    from bodycam_ingest.docking import DeviceSource
    from bodycam_ingest.errors import DelayClass
    from bodycam_ingest.upload import ObjectStore

log = structlog.get_logger(__name__)

_SERIAL_FILE_MAX_BYTES: Final = 4096
_LEFT_OVER_EVERY_S: Final = 5.0
_RETENTION_EVERY_S: Final = 5.0
_IDLE_S: Final = 0.5


class Plant:
    """The daemon's parts, wired.

    Args:
        config: the configuration.
        halt: told of faults on which the process must end.
    """

    def __init__(self, config: Config, halt: Callable[[IngestError], None]) -> None:
        self._config = config
        self._abandon = threading.Event()
        self.required = [store.name for store in config.stores if store.required]
        names = [(store.name, store.required) for store in config.stores]
        self.engine, self.ledger = open_ledger(config.dock.state_dir, config.origin)
        self.stores = _open_stores(config)
        self.acquirer = Acquirer(
            config.staging.dir,
            min_free_bytes=config.staging.min_free_bytes,
            abandon=self._abandon,
        )
        self._policy = _policy(config)
        self._dock = Dock(config.dock.id, self.engine, self.ledger, names)
        self._shop = Workshop(
            engine=self.engine,
            ledger=self.ledger,
            acquirer=self.acquirer,
            targets=[Target(name, required) for name, required in names],
            dock_id=config.dock.id,
            part_size_bytes=config.part_size_bytes,
            delay_s=self._delay_s,
        )
        self.verifier = Verifier(self._shop, self._abandon)
        self.uploader = Uploader(
            engine=self.engine,
            ledger=self.ledger,
            stores=self.stores,
            open_staged=self.acquirer.open_staged,
            policy=self._policy,
            settings=config.upload,
            moving=moving,
        )
        self.releaser = Releaser(self.engine, self.ledger, self.required)
        self.anchors = AnchorKeeper(
            self.engine,
            self.ledger,
            names,
            interval_s=config.custody.anchor_interval_s,
            heartbeat_s=config.custody.heartbeat_interval_s,
        )
        self.retention = Retention(
            self.engine,
            self.ledger,
            self.acquirer,
            self.stores,
            keep_days=config.staging.keep_days,
        )
        self.levers = Levers(self.engine, self.ledger, self.acquirer)
        self._profiles = [
            camera.Profile(**profile.model_dump()) for profile in config.cameras.profile
        ]
        self._rules = Rules(
            pace=Pace(config.cameras.settle_s, config.cameras.rescan_s),
            limits=scan.Limits(**config.cameras.limits.model_dump()),
            gate=threading.Semaphore(config.cameras.max_parallel),
            abandon=self._abandon,
        )
        self.source: DeviceSource = FolderSource(config.cameras.mount_roots)
        self.keeper = BayKeeper(
            source=self.source,
            name_camera=self._name_camera,
            name_apart=self._name_apart,
            open_docking=self.open_docking,
            releaser=self.releaser,
            halt=halt,
            pace=self._rules.pace,
        )
        self._clock = ClockWatch(self.ledger)
        self._next_left_over_s = 0.0
        self._next_retention_s = 0.0

    @property
    def settle_s(self) -> float:
        """How long a file must have stood still, s."""
        return self._rules.pace.settle_s

    # -- what the daemon's workers call --

    def recover(self) -> None:
        """Settle what the last process left; before any worker runs."""
        recover(self._dock, self.acquirer, part_size_bytes=self._shop.part_size_bytes)
        self.verifier.put_left_over()

    def verify_step(self) -> float:
        """One batch of read-backs."""
        self.verifier.run_once(1.0)
        return 0.0

    def upload_step(self, store: str) -> Callable[[], float]:
        """A worker's step for one store."""

        def step() -> float:
            wait_s = self.uploader.run_due(store)
            return _IDLE_S if wait_s is None else min(wait_s, _IDLE_S)

        return step

    def housekeeping(self) -> None:
        """Clock, anchors, left-over read-backs, purges: whatever is due."""
        self._clock.tick()
        self.anchors.tick()
        now_s = time.monotonic()
        if now_s >= self._next_left_over_s:
            self._next_left_over_s = now_s + _LEFT_OVER_EVERY_S
            self.verifier.put_left_over()
        if now_s >= self._next_retention_s:
            self._next_retention_s = now_s + _RETENTION_EVERY_S
            self.retention.tick(self.required)

    def apply(self, fresh: Config) -> None:
        """Take over what can change while the daemon runs (`config.RELOADABLE`)."""
        self._rules.pace.settle_s = fresh.cameras.settle_s
        self._rules.pace.rescan_s = fresh.cameras.rescan_s
        self.acquirer.set_min_free_bytes(fresh.staging.min_free_bytes)
        self.retention.keep_days = fresh.staging.keep_days
        self._policy = _policy(fresh)
        self.uploader.apply(fresh.upload, self._policy)

    def _delay_s(self, delay_class: DelayClass, tries: int) -> float:
        # Asked anew each time: a reload replaces the policy.
        return self._policy.delay_s(delay_class, tries)

    def abandon(self) -> None:
        """Have every thread stop at its next safe point."""
        self._abandon.set()
        self.uploader.stop()
        self.verifier.wake()
        self.keeper.wake()

    def close(self) -> None:
        """Let go of stores and ledger."""
        for store in self.stores.values():
            store.close()
        self.ledger.close()
        self.engine.dispose()

    # -- dockings --

    def _profile(self, mounted: MountedVolume) -> camera.Profile | None:
        return camera.profile_for(mounted.properties, self._profiles)

    def _name_camera(self, mounted: MountedVolume) -> str:
        profile = self._profile(mounted)
        told = self._serial_in_file(mounted, profile) if profile and profile.serial_file else ""
        return camera.safe_serial(told or mounted.camera) or camera.safe_serial(
            f"unknown {mounted.bay}"
        )

    def _name_apart(self, serial: str, bay: str) -> str:
        """Alarm that two cameras claim one serial; returns a name of its own for the second."""
        other = camera.safe_serial(f"{serial}~{bay}")
        with self.ledger.transaction() as txn:
            for name in (serial, other):
                findings.raise_finding(
                    txn,
                    clock.now_text(),
                    code="camera_serial_twice",
                    severity="alarm",
                    subject=f"camera:{name}",
                    detail=f"two cameras call themselves {serial}; the one in {bay} is {other}",
                )
        return other

    def _serial_in_file(self, mounted: MountedVolume, profile: camera.Profile) -> str:
        path = os.fsencode(profile.serial_file)
        try:
            root_fd = volume.open_volume(mounted.mount_path)
            try:
                fd = volume.open_beneath(root_fd, path)
                try:
                    text = os.pread(fd, _SERIAL_FILE_MAX_BYTES, 0)
                finally:
                    os.close(fd)
            finally:
                os.close(root_fd)
        except (IngestError, OSError) as error:
            # The camera is taken all the same, under the name that the source gives it.
            log.warning("camera.serial_unreadable", bay=mounted.bay, error=str(error))
            return ""
        return camera.serial_in_text(profile, text.decode("utf-8", "replace"))

    def open_docking(
        self,
        mounted: MountedVolume,
        serial: str,
        *,
        source: DeviceSource | None = None,
        reason: str = "",
    ) -> Docking:
        """Record that a docking begins; returns it ready to run.

        Args:
            mounted: the volume.
            serial: the camera's name in ledger and stores.
            source: who knows whether it is still there; the daemon's own source when None.
            reason: why it is docked, where that is not a camera in a bay.
        """
        profile = self._profile(mounted)
        row = DockingRow(
            docking_id=str(ULID()),
            camera=serial,
            bay=mounted.bay,
            volume=mounted.volume,
            mount_path=os.fsencode(mounted.mount_path),
            started_at=clock.now_text(),
            ended_at=None,
            inventoried=False,
            complete=False,
            released_at=None,
        )
        record = DockingRecord(self._dock, row)
        record.begin(
            {
                "serial_told": mounted.camera,
                "properties": dict(mounted.properties),
                "dock_clock": row.started_at,
                "ntp_synchronised": clock.synchronised(),
                # Mass storage does not tell the camera's clock; the newest file bounds it.
                "camera_clock": None,
                "reason": reason,
            },
            assigned=profile is not None,
            profile=profile.name if profile else "",
        )
        progress = Progress()
        return Docking(
            mounted=mounted,
            source=source or self.source,
            record=record,
            card=Card(
                record=record,
                facts_of=lambda path: camera.facts_of(profile, path),
                included=lambda path: camera.is_included(profile, path),
                settling=scan.Settling(self._rules.pace.settle_s),
            ),
            reader=Reader(self._shop, self.verifier, progress.add),
            progress=progress,
            rules=self._rules,
        )


def _policy(config: Config) -> RetryPolicy:
    return RetryPolicy(config.upload.backoff_initial_s, config.upload.backoff_max_s)


def _open_stores(config: Config) -> dict[str, ObjectStore]:
    workers = config.upload.workers
    return {store.name: open_store(store, workers=workers) for store in config.stores}


def assemble(config: Config, halt: Callable[[IngestError], None]) -> Plant:
    """Build everything that the daemon runs.

    Args:
        config: the configuration.
        halt: told of faults on which the process must end.

    Raises:
        IngestError: ledger or stores cannot be opened; nothing was begun.
    """
    return Plant(config, halt)
