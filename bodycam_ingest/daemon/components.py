"""Builds the daemon's parts from the configuration, once, in one place."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.acquire import AcquireContext, Acquirer, ReadBackVerifier, StagingWatch
from bodycam_ingest.audit import SelfCheck
from bodycam_ingest.camera import DeviceSource, is_taken, open_source
from bodycam_ingest.config import CurrentConfig
from bodycam_ingest.daemon.admin import AdminCommands
from bodycam_ingest.daemon.clock_watch import ClockWatch
from bodycam_ingest.daemon.recovery import Recovery
from bodycam_ingest.daemon.workers import byte_heartbeat, heartbeat
from bodycam_ingest.db import own_objects
from bodycam_ingest.db.commit_watch import CommitWatch
from bodycam_ingest.db.known_stores import Wanted
from bodycam_ingest.db.state_dir import open_ledger
from bodycam_ingest.docking import (
    Absentees,
    CameraIdentification,
    DockContext,
    DockingManager,
    MountRoots,
    Rules,
)
from bodycam_ingest.errors import IngestError
from bodycam_ingest.model.backoff import Delays, delay_s
from bodycam_ingest.release import Purger, Releaser, Witnesses
from bodycam_ingest.stores import open_store
from bodycam_ingest.upload import (
    BATCH_THREADS,
    SETTLES_S,
    CheckpointPublisher,
    StoreChanges,
    Uploader,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bodycam_ingest.config import Cameras, Config
    from bodycam_ingest.errors import DelayClass
    from bodycam_ingest.model.backoff import StoreLimits
    from bodycam_ingest.stores import ObjectStore


_LEFT_OVER_EVERY_S: Final = 5.0


def _ignore() -> None:
    """Takes a count and does nothing with it."""


class Components:
    """The daemon's parts, wired; `halt` is told of faults on which the process must end."""

    def __init__(self, config: Config, halt: Callable[[IngestError], None]) -> None:
        self.config = CurrentConfig(config)
        self._abandon = threading.Event()
        self.required = [store.name for store in config.stores if store.required]
        names = [(store.name, store.required) for store in config.stores]
        self.engine, self.ledger = open_ledger(config.dock.state_dir, config.origin)
        self.stores = _open_stores(config)
        self.acquirer = Acquirer(
            config.staging.dir,
            min_free_bytes=lambda: self.config.now.staging.min_free_bytes,
            abandon=self._abandon,
        )
        self._watch = StagingWatch(
            self.engine, self.ledger, self.acquirer.free_space, self._delay_s
        )
        self._dock = DockContext(config.dock.id, self.engine, self.ledger, names)
        self._context = AcquireContext(
            engine=self.engine,
            ledger=self.ledger,
            acquirer=self.acquirer,
            part_size_bytes=config.upload.part_size_bytes,
            delay_s=self._delay_s,
            watch=self._watch,
        )
        self._recovery = Recovery(
            self._dock,
            self.acquirer.copies,
            self._watch,
            part_size_bytes=self._context.part_size_bytes,
            delay_s=self._delay_s,
        )
        self.verifier = ReadBackVerifier(self._context, self._abandon)
        self.uploader = Uploader(
            engine=self.engine,
            ledger=self.ledger,
            stores=self.stores,
            open_staged=self.acquirer.staging.open_staged,
            delay_s=self._delay_s,
            limits=self._limits,
            heartbeat=heartbeat,
        )
        self.uploader.connections.courtesy.copying = self.acquirer.activity.is_on
        self.releaser = Releaser(self.engine, self.ledger, self.required)
        self.checkpoints = CheckpointPublisher(
            self.engine,
            self.ledger,
            names,
            interval_s=config.custody.anchor_interval_s,
            heartbeat_s=config.custody.heartbeat_interval_s,
        )
        self.purger = self._purger()
        self.admin = AdminCommands(
            self.engine, self.ledger, self.acquirer.copies, list(self.stores)
        )
        self.store_changes = self._store_changes(config)
        self._build_bays(config, halt)
        self._roots = MountRoots(self.engine, self.ledger, config.cameras.mount_roots)
        self._clock = ClockWatch(self.engine, self.ledger)
        self._absentees = Absentees(self.engine, self.ledger)
        self._self_check = SelfCheck(self.engine)
        self._checkpoint_watch = self._commit_watch(settles_s=SETTLES_S)
        self._purge_watch = self._commit_watch()
        self._next_left_over_s = 0.0

    def _purger(self) -> Purger:
        return Purger(
            self.engine,
            self.ledger,
            self.acquirer.staging,
            Witnesses(
                self.engine,
                self.uploader.attended,
                identify=self.uploader.identify_store,
                record=self.uploader.store_record,
                heartbeat=heartbeat,
            ),
            keep_days=lambda: self.config.now.staging.keep_days,
            delay_s=self._delay_s,
        )

    def _store_changes(self, config: Config) -> StoreChanges:
        return StoreChanges(
            self.engine,
            self.ledger,
            [Wanted(store.name, store.type, store.required) for store in config.stores],
        )

    def _build_bays(self, config: Config, halt: Callable[[IngestError], None]) -> None:
        self._rules = Rules(
            cameras=lambda: self.config.now.cameras,
            read_slots=threading.Semaphore(config.cameras.max_parallel),
            abandon=self._abandon,
        )
        self.identification = CameraIdentification(
            dock=self._dock,
            context=self._context,
            verifier=self.verifier,
            rules=self._rules,
            profiles=config.cameras.profile,
        )
        self.source = _open_source(config.cameras)
        self.manager = DockingManager(
            source=self.source,
            identification=self.identification,
            releaser=self.releaser,
            halt=halt,
            cameras=self._rules.cameras,
        )

    # -- what the daemon's workers call --

    def recover(self, progress: Callable[[], None] = _ignore) -> None:
        """Note the stores; settle what must be before any worker runs, calling `progress` often."""
        self.store_changes.note()
        self._recovery.begin(progress)
        self.verifier.put_left_over()
        self.purger.begin()

    def _restore_work(self) -> None:
        """Work may be lost: it is made again from what is queued."""
        with self.engine.connect() as conn:
            if not own_objects.any_without_work(conn):
                return
        with self.ledger.transaction() as txn:
            own_objects.restore_work(txn.conn)

    def recovery_step(self) -> float | None:
        """Hash one copy that a crash left; seconds until there is more, None when all is done."""
        return self._recovery.step(byte_heartbeat())

    def admit_stores(self) -> None:
        """Refuse a store that this dock knows under another name; before anything is written.

        Raises:
            ConfigError: as it says.
        """
        self.store_changes.meet(self.stores)

    def stores_step(self) -> float:
        """One page of what a change of the set of stores brings with it."""
        return self.store_changes.step()

    def self_check_step(self) -> float:
        """One look at the database's pages, indexes and schema, where it is time for it."""
        return self._self_check.step(byte_heartbeat())

    def bays_step(self) -> float:
        """One look at the bays, and at the directories in which cameras appear."""
        wait_s = self.manager.tick()
        self._roots.look()
        return wait_s

    def verify_step(self) -> float:
        """One batch of read-backs."""
        self.verifier.run_once(1.0, byte_heartbeat())
        return 0.0

    def upload_step(self, store: str) -> Callable[[], float]:
        """A worker's step for one store."""
        watch = self._commit_watch()

        def step() -> float:
            if not watch.due():
                return watch.poll_s()
            wait_s = self.uploader.run_due(store)
            watch.looked(wait_s)
            return watch.poll_s(wait_s)

        return step

    def purge_step(self) -> float:
        """One staged copy that every required store holds."""
        if not self._purge_watch.due():
            return self._purge_watch.poll_s()
        wait_s = self.purger.step(self.required)
        self._purge_watch.looked(wait_s)
        return self._purge_watch.poll_s(wait_s)

    def housekeeping(self) -> None:
        """Whatever is due of clock, anchors, cameras and read-backs; nothing that asks a store."""
        self._clock.tick()
        self._absentees.tick()
        if self._checkpoint_watch.due():
            self.checkpoints.tick()
            self._checkpoint_watch.looked()
        now_s = time.monotonic()
        if now_s >= self._next_left_over_s:
            self._next_left_over_s = now_s + _LEFT_OVER_EVERY_S
            self.verifier.put_left_over()
            self._restore_work()
            if self._watch.look():
                self.manager.wake()

    def _commit_watch(self, *, settles_s: float = 0.0) -> CommitWatch:
        return CommitWatch(lambda: self.ledger.commits, settles_s=settles_s)

    def _limits(self) -> Mapping[str, StoreLimits]:
        return self.config.now.store_limits()

    def _delay_s(
        self, delay_class: DelayClass, attempts: int, retry_after_s: float | None = None
    ) -> float:
        upload = self.config.now.upload
        short = Delays(upload.backoff_initial_s, upload.backoff_max_s)
        return delay_s(delay_class, attempts, retry_after_s, uniform=random.uniform, short=short)

    def abandon(self) -> None:
        """Have every thread stop at its next safe point."""
        self._abandon.set()
        self.uploader.stop()
        self.verifier.wake()
        self.manager.wake()

    def close(self) -> None:
        """Let go of stores and ledger."""
        for store in self.stores.values():
            store.close()
        self.ledger.close()
        self.engine.dispose()


def _open_source(cameras: Cameras) -> DeviceSource:
    def allowed(properties: Mapping[str, str]) -> bool:
        return is_taken(properties, cameras.profile, only_profiled=cameras.only_profiled)

    return open_source(cameras.source, cameras.mount_roots, allowed)


def _open_stores(config: Config) -> dict[str, ObjectStore]:
    return {
        store.name: open_store(
            store, uploads=config.workers(store) * BATCH_THREADS, heartbeat=heartbeat
        )
        for store in config.stores
    }


def assemble(config: Config, halt: Callable[[IngestError], None]) -> Components:
    """Build everything that the daemon runs; `halt` is as of `Components`.

    Raises:
        IngestError: ledger or stores cannot be opened; nothing was begun.
    """
    components = Components(config, halt)
    try:
        components.admit_stores()
    except IngestError:
        components.close()
        raise
    return components
