"""Asks stores again whether they hold a recording, before the dock lets its own copy go.

What a store once confirmed says nothing of what it holds today. So each store that is required now
proves the bytes again: by the digest that it keeps itself, of the very version that was confirmed
where there are versions, or read back where it proves nothing. A length proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bodycam_ingest.db import store_health, uploads
from bodycam_ingest.db.store_health import Failure
from bodycam_ingest.errors import AbandonedError, Disposition, IngestError, StoreMismatchError
from bodycam_ingest.linux import clock
from bodycam_ingest.model.backoff import wait_s
from bodycam_ingest.model.evidence import StoreObject
from bodycam_ingest.model.lifecycle import UploadState
from bodycam_ingest.model.rows import stored_object

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.store_health import StoreHealth
    from bodycam_ingest.db.uploads import UploadRow
    from bodycam_ingest.stores import ObjectStore


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why it is not shown that all stores hold a recording.

    A store that is itself at fault is left alone until `until_ms`; None where it is this
    recording's own fault. `lost_by` is the store that confirmed it once and holds nothing in its
    place now.
    """

    error: IngestError
    until_ms: int | None = None
    lost_by: str = ""


class StoreRecord(Protocol):
    """Writes down how stores stand."""

    def store_failed(self, failure: Failure) -> int:
        """A store is at fault; returns until when it is left alone, ms since 1970."""
        ...

    def store_works(self, before: StoreHealth) -> None:
        """All is well with a store."""
        ...


class Witnesses:
    """The stores, as witnesses of what they hold.

    `identify` has a store show that it is the one that it was, and what it verifies. The heartbeat
    is called between the questions, so that a long round is seen to move.
    """

    def __init__(
        self,
        engine: Engine,
        stores: Mapping[str, ObjectStore],
        *,
        identify: Callable[[str, StoreHealth], None],
        record: StoreRecord,
        heartbeat: Callable[[], None] = lambda: None,
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> None:
        self._engine = engine
        self._stores = stores
        self._identify = identify
        self._record = record
        self._heartbeat = heartbeat
        self._now_ms = now_ms

    def paused_s(self, required: Sequence[str]) -> float:
        """Seconds until every one of these stores may be asked again, 0 when they may be now."""
        now_ms = self._now_ms()
        with self._engine.connect() as conn:
            waits = [
                wait_s(store_health.health(conn, store).paused_until_ms, now_ms)
                for store in required
            ]
        return max(waits, default=0.0)

    def doubt(self, row: ItemRow, required: Sequence[str]) -> Doubt | None:
        """Have every required store prove that it holds a recording; the first doubt ends it.

        Raises:
            AbandonedError: the process must end.
            IngestError: only those whose disposition is HALT.
        """
        if not required:
            return Doubt(StoreMismatchError(f"item {row.item_id} has no required store"))
        for store in required:
            found = self._ask(row, store)
            if found is not None:
                return found
        return None

    def _ask(self, row: ItemRow, store: str) -> Doubt | None:
        with self._engine.connect() as conn:
            upload = next((u for u in uploads.of_item(conn, row.item_id) if u.store == store), None)
            health = store_health.health(conn, store)
        if upload is None or upload.state is not UploadState.CONFIRMED:
            return Doubt(StoreMismatchError(f"{store} has not confirmed item {row.item_id}"))
        self._heartbeat()
        try:
            self._identify(store, health)
        except IngestError as error:
            return self._stores_fault(error, health)
        try:
            self._confirm(row, upload)
        except IngestError as error:
            failure = Failure(error, health)
            if failure.is_stores(row.last_error):
                return self._stores_fault(error, health)
            _pass_on(error)
            return self._lost(row, upload) or Doubt(error)
        self._heartbeat()
        self._record.store_works(health)
        return None

    def _confirm(self, row: ItemRow, upload: UploadRow) -> None:
        digests = row.digests()
        # What decides whose an object is; the rest of its metadata is not asked for here.
        metadata = {"item-id": row.item_id, "sha256": digests.sha256.hex()}
        obj = StoreObject(key=row.key(), digests=digests, metadata=metadata)
        stored = stored_object(obj.key, upload)
        self._stores[upload.store].confirm(obj, stored)

    def _lost(self, row: ItemRow, upload: UploadRow) -> Doubt | None:
        """Where a store holds nothing at all in a recording's place, not another object."""
        try:
            found = self._stores[upload.store].look(row.key(), upload.version_id)
        except IngestError:
            # It answered a moment ago; what it holds stays open until it is asked again.
            return None
        if found is not None:
            return None
        error = StoreMismatchError(
            f"{upload.store} holds nothing at {row.key()} any more",
            hint="It is sent again from the dock's own copy. Find out who deleted it.",
        )
        return Doubt(error, lost_by=upload.store)

    def _stores_fault(self, error: IngestError, health: StoreHealth) -> Doubt:
        _pass_on(error)
        until_ms = self._record.store_failed(Failure(error, health))
        return Doubt(error, until_ms)


def _pass_on(error: IngestError) -> None:
    """Raise what is not for this item or store to answer."""
    if error.disposition is Disposition.HALT or isinstance(error, AbandonedError):
        raise error
