"""Sends what is due to the stores, one piece of work a call, and has each copy proven.

Nothing lives in memory that a restart needs: what is due, how far it got and when it is tried
again stand in the database.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import dataclasses
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from bodycam_ingest.db import items, known_stores, store_health, uploads
from bodycam_ingest.db.projected import read_stores
from bodycam_ingest.db.store_health import Failure
from bodycam_ingest.db.upload_journal import DatabaseJournal, PassingJournal
from bodycam_ingest.errors import AbandonedError, Disposition, IngestError, LocalCopyDamagedError
from bodycam_ingest.linux import clock
from bodycam_ingest.model.backoff import wait_s
from bodycam_ingest.model.evidence import (
    PART_SIZE_BYTES_DEFAULT,
    Digests,
    StoredObject,
    StoreObject,
)
from bodycam_ingest.model.lifecycle import OPEN_UPLOADS, SENT_FROM, UploadState
from bodycam_ingest.model.sampling import sample_digest
from bodycam_ingest.upload.connections import Connections
from bodycam_ingest.upload.outcomes import Confirmed, UploadRecord
from bodycam_ingest.upload.queue import SMALL_BYTES, Claim, UploadQueue
from bodycam_ingest.upload.store_record import StoreRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from concurrent.futures import Future

    from sqlalchemy import Engine

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter
    from bodycam_ingest.db.own_objects import OwnObject
    from bodycam_ingest.db.store_health import StoreHealth
    from bodycam_ingest.db.uploads import UploadRow
    from bodycam_ingest.model.backoff import Delay, StoreLimits
    from bodycam_ingest.staging import StagedCopy
    from bodycam_ingest.stores import ObjectStore
    from bodycam_ingest.upload.connections import AttendedStore

_PROBE_EVERY_MS: Final = 24 * 3600 * 1000
# Proofs of small items are recorded together, but not later than that.
_RECORD_EVERY_S: Final = 2.0
# Objects of a batch that are sent at once.
BATCH_THREADS: Final = 8
# A wait longer than that is no other worker's trial of the same store.
_IDLE_TRIAL_S: Final = 1.0
_CONTENT_TYPES: Final = {"manifest": "application/json", "checkpoint": "text/plain"}


class _StagedSource:
    """A sealed copy that is opened when it is first read, and anew after it was closed."""

    def __init__(self, open_staged: Callable[[], StagedCopy]) -> None:
        self._open_staged = open_staged
        self._copy: StagedCopy | None = None

    def read_at(self, offset: int, length: int) -> bytes:
        if self._copy is None:
            self._copy = self._open_staged()
        return self._copy.read_at(offset, length)

    def close(self) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.close()


class _BytesSource:
    """One of the daemon's own objects as a source."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read_at(self, offset: int, length: int) -> bytes:
        return self._body[offset : offset + length]


@dataclasses.dataclass(frozen=True, slots=True)
class _Work:
    """An item on its way to a store."""

    row: UploadRow
    obj: StoreObject
    copy: _StagedSource


@dataclasses.dataclass(slots=True)
class _Connection:
    """What this process knows of one store."""

    store: AttendedStore
    identifying: threading.Lock
    probed_ms: int | None = None


class Uploader:
    """Does what is due; called by several workers for each store.

    Sealed copies are opened by their staged path. Limits and windows are as configured now; the
    heartbeat is called while a long piece of work moves.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        ledger: LedgerWriter,
        stores: Mapping[str, ObjectStore],
        open_staged: Callable[[str], StagedCopy],
        delay_s: Delay,
        limits: Callable[[], Mapping[str, StoreLimits]],
        heartbeat: Callable[[], None] = lambda: None,
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._open_staged = open_staged
        self._heartbeat = heartbeat
        self._now_ms = now_ms
        self._dock_id = ledger.origin.rpartition("/")[2]
        self._stopping = threading.Event()
        self.connections = Connections(stores, limits, self._stopping)
        # Also for whoever else asks the stores in a thread that is watched.
        self.attended = {
            name: self.connections.attend(one, heartbeat) for name, one in stores.items()
        }
        self._queue = UploadQueue(engine, stores, now_ms)
        self.store_record = StoreRecord(ledger, delay_s, now_ms)
        self._record = UploadRecord(ledger, self.store_record, now_ms)
        self._connections = {
            name: _Connection(one, threading.Lock()) for name, one in self.attended.items()
        }

    def stop(self) -> None:
        """Have all work break off at the next safe point."""
        self._stopping.set()

    def run_due(self, store_name: str) -> float | None:
        """Send and prove what has been due for longest: an object, an item, a batch of small ones.

        Returns:
            Seconds until there may be more to do: 0 right after work was done, None when nothing
            waits.

        Raises:
            IngestError: only those whose disposition is HALT; all others are persisted.
        """
        if self._stopping.is_set():
            return None
        now_ms = self._now_ms()
        closed_s = self.connections.closed_for_s(store_name, now_ms)
        if closed_s > 0:
            return closed_s
        connection = self._connections[store_name]
        with self._engine.connect() as conn:
            health = store_health.health(conn, store_name)
        pause_s = wait_s(health.paused_until_ms, now_ms)
        if pause_s > 0:
            return pause_s
        claim = self._queue.claim(store_name, failing=bool(health.last_error))
        if not isinstance(claim, Claim):
            if health.last_error and (claim is None or claim > _IDLE_TRIAL_S):
                self._ask_again(connection, health)
            return claim
        try:
            self._work(connection, health, claim)
        finally:
            self._queue.release(store_name, claim)
        return 0.0

    def _ask_again(self, connection: _Connection, health: StoreHealth) -> None:
        """Nothing waits for a store that failed: its last fault shall not be shown for ever."""
        connection.probed_ms = None
        if self._identified(connection, health):
            self.store_record.store_works(health)

    def _identified(self, connection: _Connection, health: StoreHealth) -> bool:
        """Whether the store is the one that it was; what it fails of is recorded."""
        try:
            self.identify_store(connection.store.name, health)
        except AbandonedError:
            return False
        except IngestError as error:
            if error.disposition is Disposition.HALT:
                raise
            self.store_record.store_failed(Failure(error, health))
            return False
        return True

    def _work(self, connection: _Connection, health: StoreHealth, claim: Claim) -> None:
        if not self._identified(connection, health):
            return
        if claim.object is not None:
            done = self._try_object(connection.store, health, claim.object)
        else:
            done = self._try_items(connection.store, health, claim.items)
        if done:
            self.store_record.store_works(health)

    def _try_object(self, store: ObjectStore, health: StoreHealth, one: OwnObject) -> bool:
        try:
            self._send_object(store, one)
        except AbandonedError:
            return False
        except IngestError as error:
            self.store_record.object_failed(one, Failure(error, health))
            return False
        return True

    def _try_items(self, store: ObjectStore, health: StoreHealth, rows: list[UploadRow]) -> bool:
        """Send one item, or a batch of small ones; returns whether the store took any."""
        waiting: list[Confirmed] = []
        recorded_s = time.monotonic()
        took = False
        works = [self._work_for(row, item) for row, item in self._sendable(rows)]
        sending = self._sent(store, health, works)
        try:
            for row, outcome in sending:
                if isinstance(outcome, Failure):
                    # Begun again at the next start, where the process ends; the journal knows what
                    # is already there.
                    ends = isinstance(outcome.error, AbandonedError)
                    if ends or self._record.failed(row, outcome):
                        break
                    continue
                took = True
                waiting += [outcome] if outcome else []
                if time.monotonic() - recorded_s > _RECORD_EVERY_S:
                    self._record_confirmed(waiting)
                    recorded_s = time.monotonic()
                self._heartbeat()
        finally:
            sending.close()
            # What was proven is recorded also where something else ended the work.
            self._record_confirmed(waiting)
        return took

    def _sent(
        self, store: ObjectStore, health: StoreHealth, works: Sequence[_Work]
    ) -> Generator[tuple[UploadRow, Confirmed | Failure | None]]:
        """Send uploads, a batch of them several at a time; closed early, the rest is not begun.

        Of a small object most of the time is spent waiting, for the network or for the disk.
        """
        if len(works) <= 1:
            for work in works:
                yield work.row, self._send(store, health, work)
            return
        fresh = [work for work in works if work.row.state is not UploadState.STORED]
        with contextlib.suppress(AbandonedError), contextlib.ExitStack() as opened:
            for work in fresh:
                opened.callback(work.copy.close)
            store.write_together([(work.obj, work.copy) for work in fresh])
        begun: collections.deque[tuple[UploadRow, Future[Confirmed | Failure | None]]]
        begun = collections.deque()
        with ThreadPoolExecutor(BATCH_THREADS, "upload") as threads:
            for work in works:
                if len(begun) == BATCH_THREADS:
                    row, job = begun.popleft()
                    yield row, job.result()
                # With what is known of the worker's own thread, so that it is seen to move.
                run = contextvars.copy_context().run
                begun.append((work.row, threads.submit(run, self._send, store, health, work)))
            for row, job in begun:
                yield row, job.result()

    def _send(
        self, store: ObjectStore, health: StoreHealth, work: _Work
    ) -> Confirmed | Failure | None:
        if self._stopping.is_set():
            return Failure(AbandonedError("the daemon is stopping"), health)
        journal = DatabaseJournal(self._engine, self._ledger, work.row)
        try:
            with contextlib.closing(work.copy):
                return self._send_item(store, work, journal)
        except IngestError as error:
            return Failure(error, health, journal.progressed)

    def _work_for(self, row: UploadRow, item: ItemRow) -> _Work:
        # The head was signed after the entry that the metadata names: it covers that entry.
        metadata = item.metadata(self._dock_id, self._ledger.head.checkpoint)
        obj = StoreObject(key=item.key(), digests=item.digests(), metadata=metadata)
        return _Work(row, obj, _StagedSource(lambda: self._open_staged(item.staged_path)))

    def _sendable(self, found: Sequence[UploadRow]) -> list[tuple[UploadRow, ItemRow]]:
        """Uploads with their items, as they are now; those that may still be sent."""
        ids = [row.item_id for row in found]
        with self._engine.connect() as conn:
            rows = {row.item_id: row for row in items.by_ids(conn, ids)}
            now = uploads.of_items(conn, ids)
        return [
            (now[row.item_id, row.store], rows[row.item_id])
            for row in found
            if rows[row.item_id].state in SENT_FROM
            and now[row.item_id, row.store].state in OPEN_UPLOADS
        ]

    def _record_confirmed(self, waiting: list[Confirmed]) -> None:
        if waiting:
            self._record.confirmed(waiting)
            waiting.clear()

    def identify_store(self, store_name: str, health: StoreHealth) -> None:
        """At first use and daily: is it the store that it was, and what does it verify?"""
        connection = self._connections[store_name]
        with connection.identifying:
            asked_ms = connection.probed_ms
            probed = asked_ms is not None and clock.boot_ms() - asked_ms < _PROBE_EVERY_MS
            # Of a store that fails its name is asked before work is begun that it would break off.
            if probed and not health.last_error:
                return
            store = connection.store
            with self._engine.connect() as conn:
                known = read_stores(conn).get(store_name)
            identity = store.identity(first=known is None or not known.identity)
            with self._engine.connect() as conn:
                known_stores.check_identity(conn, store_name, identity)
            if probed:
                return
            self.store_record.probed(store_name, identity, store.probe())
            connection.probed_ms = clock.boot_ms()

    def _send_item(
        self, store: ObjectStore, work: _Work, journal: DatabaseJournal
    ) -> Confirmed | None:
        row, obj, copy = work.row, work.obj, work.copy
        if row.state is UploadState.STORED:
            stored = StoredObject(obj.key, row.version_id, row.etag)
        else:
            stored = store.send(obj, copy, journal)
            large = obj.digests.size_bytes > SMALL_BYTES
            # Proving a large object can take long: what is known is recorded before.
            if large and not self._record.stored(row, obj.digests, stored):
                return None
        if self._stopping.is_set():
            return None
        return Confirmed(row, obj.digests, store.confirm(obj, stored, source=copy))

    def _send_object(self, store: ObjectStore, one: OwnObject) -> None:
        body = one.body
        if body is None:
            raise LocalCopyDamagedError(
                f"the bytes of {one.key} are gone or altered", hint="Run `bodycam-ingest verify`."
            )
        source, sha256 = _BytesSource(body), hashlib.sha256(body).digest()
        digests = Digests(
            size_bytes=len(body),
            sha256=sha256,
            part_size_bytes=PART_SIZE_BYTES_DEFAULT,
            sample_sha256=sample_digest(one.key.encode(), len(body), source.read_at),
        )
        obj = StoreObject(
            key=one.key,
            digests=digests,
            metadata={"item-id": one.kind, "sha256": sha256.hex()},
            content_type=_CONTENT_TYPES.get(one.kind, "application/octet-stream"),
        )
        stored = store.send(obj, source, PassingJournal())
        store.confirm(obj, stored, source=source)
        self.store_record.object_confirmed(one, sha256)
