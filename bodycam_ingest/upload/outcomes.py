"""What an upload writes down: each outcome with its ledger entry and next time, one transaction.

Who is at fault decides who waits: a store that is away is left alone as a whole, an item that
alone fails waits alone, so that neither holds up the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from bodycam_ingest.db import findings, items, settling, uploads
from bodycam_ingest.errors import DelayClass, Disposition, StoreError, StoreIntegrityError
from bodycam_ingest.linux import clock
from bodycam_ingest.model.backoff import INTEGRITY_TRIES
from bodycam_ingest.model.lifecycle import ItemEvent, ItemState, UploadEvent, UploadState
from bodycam_ingest.upload.store_state import is_alarming, store_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.db.storehealth import Failure
    from bodycam_ingest.db.uploads import UploadRow
    from bodycam_ingest.errors import IngestError
    from bodycam_ingest.model.evidence import Confirmation, Digests, StoredObject
    from bodycam_ingest.model.store_set import StoreSet
    from bodycam_ingest.upload.store_state import StoreRecord

log = structlog.get_logger(__name__)

_THERE: Final = frozenset({UploadState.STORED, UploadState.CONFIRMED})
_ENDED: Final = frozenset({UploadState.CONFIRMED, UploadState.REFUSED})
_QUARANTINE_FROM: Final = frozenset({ItemState.VERIFIED, ItemState.STORED, ItemState.CONFIRMED})


def _upload_subject(row: UploadRow) -> str:
    return f"upload:{row.item_id}:{row.store}"


def _named(
    row: UploadRow, stores: StoreSet, digests: Digests, stored: StoredObject
) -> dict[str, Any]:
    return {
        "store": row.store,
        "required": stores.is_required(row.store, row_required=row.required),
        "key": stored.key,
        "version_id": stored.version_id,
        "etag": stored.etag,
        "sha256": digests.sha256.hex(),
    }


@dataclass(frozen=True, slots=True)
class Proven:
    """A copy that was proven.

    Args:
        row: its upload when the work on it began, or as it was stored since.
        digests: what its bytes are.
        proof: the store's proof.
    """

    row: UploadRow
    digests: Digests
    proof: Confirmation


class UploadRecord:
    """Writes outcomes of items' uploads.

    Args:
        ledger: the only way to write.
        stores: told of faults that are a store's.
        now_ms: the time, ms since 1970.
    """

    def __init__(
        self, ledger: LedgerWriter, stores: StoreRecord, now_ms: Callable[[], int]
    ) -> None:
        self._ledger = ledger
        self._stores = stores
        self._now_ms = now_ms

    def _now(self) -> str:
        return clock.ms_text(self._now_ms())

    # -- items, forward --

    def begin(self, rows: Sequence[UploadRow]) -> list[tuple[UploadRow, items.ItemRow]]:
        """Record that uploads are being worked on.

        Returns:
            Upload and item as they are now, of those whose item may still be sent.
        """
        begun = []
        with self._ledger.transaction() as txn:
            for row in rows:
                item = items.get(txn.conn, row.item_id)
                fresh = uploads.get(txn.conn, row.item_id, row.store)
                if item.state not in uploads.SENDABLE or fresh.state in _ENDED:
                    continue
                if fresh.state is not UploadState.STORED:
                    uploads.advance(txn.conn, fresh, UploadEvent.BEGIN)
                begun.append((fresh, item))
        return begun

    def stored(self, row: UploadRow, digests: Digests, stored: StoredObject) -> bool:
        """Record that a store says it has an item; returns whether the item still stands."""
        with self._ledger.transaction() as txn:
            stands = self._stored(txn, row, digests, stored)
        if stands:
            log.debug("upload.stored", item_id=row.item_id, store=row.store, key=stored.key)
        return stands

    def confirmed(self, proven: Sequence[Proven]) -> None:
        """Record the proofs of a store's copies, and that it has those of which that is new."""
        done = []
        for one in proven:
            self._stores.worked(one.row.store)
        with self._ledger.transaction() as txn:
            for one in proven:
                if one.row.state is not UploadState.STORED and not self._stored(
                    txn, one.row, one.digests, one.proof.stored
                ):
                    continue
                if self._confirmed(txn, one.row, one.digests, one.proof):
                    done.append(one)
        for one in done:
            log.debug(
                "upload.confirmed",
                item_id=one.row.item_id,
                store=one.row.store,
                key=one.row.key,
                proof=one.proof.proof.value,
            )

    def _stored(self, txn: Txn, row: UploadRow, digests: Digests, stored: StoredObject) -> bool:
        item = items.get(txn.conn, row.item_id)
        now = uploads.get(txn.conn, row.item_id, row.store)
        if item.state not in uploads.SENDABLE or now.state is not UploadState.SENDING:
            self._left_behind(txn, now)
            return False
        uploads.advance(
            txn.conn,
            now,
            UploadEvent.COMPLETE,
            version_id=stored.version_id,
            etag=stored.etag,
            upload_id="",
            completing=False,
            integrity_faults=0,
        )
        if now.upload_id:
            uploads.forget_parts(txn.conn, row.item_id, row.store)
        stores = txn.rows.store_set()
        missing = uploads.outstanding(txn.conn, stores, row.item_id, _THERE, but=row.store)
        data = {**_named(row, stores, digests, stored), "outstanding": missing}
        if data["required"] and not missing and item.state is ItemState.VERIFIED:
            items.record(txn, item, ItemEvent.STORED, data)
        else:
            txn.append(ItemEvent.STORED.value, f"item:{row.item_id}", data)
        return True

    def _confirmed(self, txn: Txn, row: UploadRow, digests: Digests, proof: Confirmation) -> bool:
        item = items.get(txn.conn, row.item_id)
        now = uploads.get(txn.conn, row.item_id, row.store)
        if item.state not in uploads.SENDABLE or now.state is not UploadState.STORED:
            return False
        text = self._now()
        uploads.advance(
            txn.conn,
            now,
            UploadEvent.PROVE,
            proof=proof.proof.value,
            checksum=proof.checksum,
            confirmed_at=text,
            attempts=0,
            integrity_faults=0,
            first_failed_at="",
            last_error="",
            last_message="",
        )
        stores = txn.rows.store_set()
        missing = uploads.outstanding(txn.conn, stores, row.item_id, settling.PROVEN, but=row.store)
        data = {
            **_named(row, stores, digests, proof.stored),
            "proof": proof.proof.value,
            "checksum": proof.checksum,
            "outstanding": missing,
        }
        settling.confirmed(txn, item, data)
        if row.last_error:
            findings.close_about(txn, subject=_upload_subject(row))
            if not uploads.any_waits_on(txn.conn, row.store, row.last_error):
                findings.close_finding(txn, code=row.last_error, subject=store_subject(row.store))
        return True

    def _left_behind(self, txn: Txn, now: UploadRow) -> None:
        """The item was set apart while it was sent: what the store has is looked at again."""
        if now.state is UploadState.SENDING:
            uploads.advance(txn.conn, now, UploadEvent.POSTPONE, due_ms=0)

    # -- items, back --

    def failed(self, row: UploadRow, failure: Failure) -> bool:
        """Record a fault of an upload and when it is tried again.

        Args:
            row: the upload as it was when the try began.
            failure: what happened.

        Returns:
            Whether the store is at fault, and left alone for a while.

        Raises:
            IngestError: the fault itself, where its disposition is HALT.
        """
        error = failure.error
        if error.disposition is Disposition.HALT:
            raise error
        if error.disposition is Disposition.QUARANTINE:
            self._set_apart(row, error)
            return False
        until_ms = None
        if failure.is_stores(row.last_error) or self._stores.is_common(
            row.store, row.item_id, failure, row.last_error
        ):
            until_ms = self._stores.store_failed(failure)
        self._postpone(row, failure, until_ms)
        return until_ms is not None

    def _set_apart(self, row: UploadRow, error: IngestError) -> None:
        with self._ledger.transaction() as txn:
            item = items.get(txn.conn, row.item_id)
            now = uploads.get(txn.conn, row.item_id, row.store)
            last = {"last_error": error.code, "last_message": error.message}
            if isinstance(error, StoreError):
                if now.state in {UploadState.SENDING, UploadState.STORED}:
                    uploads.advance(txn.conn, now, UploadEvent.REFUSE, **last)
                data = {"store": row.store, "key": row.key, "reason": error.code}
                txn.append("upload.refused", f"item:{row.item_id}", data)
                subject = _upload_subject(row)
            else:
                delay_s = self._stores.delay_s(DelayClass.SLOW, row.attempts + 1)
                due_ms = self._now_ms() + round(delay_s * 1000)
                if now.state in {UploadState.SENDING, UploadState.STORED}:
                    uploads.advance(txn.conn, now, UploadEvent.POSTPONE, due_ms=due_ms, **last)
                if item.state in _QUARANTINE_FROM:
                    items.record(
                        txn,
                        item,
                        ItemEvent.QUARANTINED,
                        {"reason": error.code, "store": row.store},
                        quarantine_reason=error.code,
                    )
                subject = f"item:{row.item_id}"
            findings.raise_finding(
                txn,
                code=error.code,
                severity="alarm",
                subject=subject,
                detail=error.message,
                docking_id=item.docking_id,
                item_id=row.item_id,
            )
        log.error(
            "upload.refused",
            item_id=row.item_id,
            store=row.store,
            error=error.code,
            message=error.message,
            hint=error.hint,
        )

    def _postpone(self, row: UploadRow, failure: Failure, until_ms: int | None) -> None:
        error = failure.error
        attempts = 1 if failure.progressed else row.attempts + 1
        integrity = row.integrity_faults + 1 if isinstance(error, StoreIntegrityError) else 0
        suspect = integrity >= INTEGRITY_TRIES
        if until_ms is None:
            retry_after_s = error.retry_after_s if isinstance(error, StoreError) else None
            delay_class = DelayClass.SLOW if suspect else error.delay_class
            delay_s = self._stores.delay_s(delay_class, attempts, retry_after_s)
            due_ms = self._now_ms() + round(delay_s * 1000)
        else:
            due_ms = until_ms
        with self._ledger.transaction() as txn:
            now = uploads.get(txn.conn, row.item_id, row.store)
            if now.state not in {UploadState.SENDING, UploadState.STORED}:
                return
            text = self._now()
            since = text if failure.progressed else row.first_failed_at or text
            uploads.advance(
                txn.conn,
                now,
                UploadEvent.POSTPONE,
                attempts=attempts,
                integrity_faults=integrity,
                due_ms=due_ms,
                first_failed_at=since,
                last_error=error.code,
                last_message=error.message,
            )
            if until_ms is None and (suspect or is_alarming(error, since, self._now_ms())):
                self._alarm(txn, row, error)
        # One line when an upload's own trouble begins; of a store's trouble the store's line tells.
        own = until_ms is None and row.last_error != error.code
        (log.warning if own else log.debug)(
            "upload.postponed",
            item_id=row.item_id,
            store=row.store,
            error=error.code,
            message=error.message,
            attempts=attempts,
            wait_s=round((due_ms - self._now_ms()) / 1000, 1),
        )

    def _alarm(self, txn: Txn, row: UploadRow, error: IngestError) -> None:
        """One finding a cause: what many recordings can meet at a store is told once a store."""
        many = isinstance(error, StoreError) and not isinstance(error, StoreIntegrityError)
        item = items.get(txn.conn, row.item_id)
        findings.raise_finding(
            txn,
            code=error.code,
            severity="alarm",
            subject=store_subject(row.store) if many else _upload_subject(row),
            detail=error.message,
            docking_id=None if many else item.docking_id,
            item_id=None if many else row.item_id,
        )
