"""Builds the daemon's parts from the configuration, once, in one place."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.acquire import AcquireContext, Acquirer, ReadBackVerifier, StagingWatch
from bodycam_ingest.audit import SelfCheck
from bodycam_ingest.camera import is_taken, open_source
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
    from collections.abc import Callable

    from bodycam_ingest.config import Config
    from bodycam_ingest.errors import DelayClass


_LEFT_OVER_EVERY_S: Final = 5.0
# A card of small files makes many commits a second.
_GATHER_S: Final = 0.25


class Components:
    """The daemon's parts, wired; `halt` is told of faults on which the process must end.

    Raises:
        IngestError: ledger or stores cannot be opened, or one of them is known under another name;
            nothing was begun.
    """

    def __init__(self, config: Config, halt: Callable[[IngestError], None]) -> None:
        self.config = CurrentConfig(config)
        self._abandon = threading.Event()
        self.required = [store.name for store in config.stores if store.required]
        names = [(store.name, store.required) for store in config.stores]
        engine, ledger = open_ledger(config.dock.state_dir, config.origin)
        self.engine, self.ledger = engine, ledger
        self.stores = {
            store.name: open_store(
                store, uploads=config.workers(store) * BATCH_THREADS, heartbeat=heartbeat
            )
            for store in config.stores
        }
        self.acquirer = Acquirer(
            config.staging.dir,
            min_free_bytes=lambda: self.config.now.staging.min_free_bytes,
            abandon=self._abandon,
        )
        self._watch = StagingWatch(engine, ledger, self.acquirer.free_space, self._delay_s)
        self.uploader = Uploader(
            engine=engine,
            ledger=ledger,
            stores=self.stores,
            open_staged=self.acquirer.staging.open_staged,
            delay_s=self._delay_s,
            limits=lambda: self.config.now.store_limits(),  # noqa: PLW0108 - `now` changes
            heartbeat=heartbeat,
        )
        self.uploader.connections.courtesy.copying = self.acquirer.activity.is_on
        self.checkpoints = CheckpointPublisher(
            engine,
            ledger,
            names,
            interval_s=config.custody.anchor_interval_s,
            heartbeat_s=config.custody.heartbeat_interval_s,
        )
        self.purger = self._purger()
        self.admin = AdminCommands(engine, ledger, self.acquirer.copies, list(self.stores))
        wanted = [Wanted(store.name, store.type, store.required) for store in config.stores]
        self.store_changes = StoreChanges(engine, ledger, wanted)
        self._build_bays(config, DockContext(config.dock.id, engine, ledger, names), halt)
        self._clock = ClockWatch(engine, ledger)
        self._absentees = Absentees(engine, ledger)
        self._self_check = SelfCheck(engine)
        self._checkpoint_watch = self._commit_watch(settles_s=SETTLES_S)
        self._next_left_over_s = 0.0
        try:
            self.store_changes.meet(self.stores)
        except IngestError:
            self.close()
            raise

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

    def _build_bays(
        self, config: Config, dock: DockContext, halt: Callable[[IngestError], None]
    ) -> None:
        context = AcquireContext(
            engine=self.engine,
            ledger=self.ledger,
            acquirer=self.acquirer,
            part_size_bytes=config.upload.part_size_bytes,
            delay_s=self._delay_s,
            watch=self._watch,
        )
        self.recovery = Recovery(
            dock,
            self.acquirer.copies,
            self._watch,
            part_size_bytes=context.part_size_bytes,
            delay_s=self._delay_s,
        )
        self.verifier = ReadBackVerifier(context, self._abandon)
        cameras = config.cameras
        rules = Rules(
            cameras=lambda: self.config.now.cameras,
            read_slots=threading.Semaphore(cameras.max_parallel),
            abandon=self._abandon,
        )
        self.identification = CameraIdentification(
            dock=dock,
            context=context,
            verifier=self.verifier,
            rules=rules,
            profiles=cameras.profile,
        )
        self.source = open_source(
            cameras.source,
            cameras.mount_roots,
            lambda seen: is_taken(seen, cameras.profile, only_profiled=cameras.only_profiled),
        )
        self.releaser = Releaser(self.engine, self.ledger, self.required)
        self.manager = DockingManager(
            source=self.source,
            identification=self.identification,
            releaser=self.releaser,
            halt=halt,
            cameras=rules.cameras,
        )
        self._roots = MountRoots(self.engine, self.ledger, cameras.mount_roots)

    # -- what the daemon's workers call --

    def recover(self, progress: Callable[[], None]) -> None:
        """Note the stores; settle what must be before any worker runs, calling `progress` often."""
        self.store_changes.note()
        self.recovery.begin(progress)
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
        return self.recovery.step(byte_heartbeat())

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
        return self._after_commits(lambda: self.uploader.run_due(store))

    def purge_step(self) -> Callable[[], float]:
        """A worker's step for one staged copy that every required store holds."""
        return self._after_commits(lambda: self.purger.step(self.required))

    def _after_commits(self, look: Callable[[], float | None]) -> Callable[[], float]:
        """A step that looks where a commit may have brought something, or its time has come."""
        watch = self._commit_watch(gather_s=_GATHER_S)

        def step() -> float:
            if watch.due():
                watch.looked(look())
            return watch.wait_s()

        return step

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

    def _commit_watch(self, *, gather_s: float = 0.0, settles_s: float = 0.0) -> CommitWatch:
        return CommitWatch(lambda: self.ledger.commits, gather_s=gather_s, settles_s=settles_s)

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
