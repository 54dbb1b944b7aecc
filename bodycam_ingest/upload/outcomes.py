"""Records outcomes of uploads: each with its ledger entry and next time, in one transaction.

Who is at fault decides who waits: a store that is away is left alone as a whole, an item that
alone fails waits alone, so that neither holds up the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bodycam_ingest.custody import item_entries
from bodycam_ingest.custody.projection import waits_for
from bodycam_ingest.db import findings, items, uploads
from bodycam_ingest.errors import DelayClass, Disposition, StoreError, StoreIntegrityError
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import rows, subjects
from bodycam_ingest.model.backoff import INTEGRITY_TRIES
from bodycam_ingest.model.lifecycle import (
    OPEN_UPLOADS,
    SENT_FROM,
    UNRELEASED,
    UPLOAD_PROVEN,
    UPLOADED,
)
from bodycam_ingest.upload.store_record import is_alarming

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.db.store_health import Failure
    from bodycam_ingest.db.uploads import UploadRow
    from bodycam_ingest.errors import IngestError
    from bodycam_ingest.model.evidence import Confirmation, Digests, StoredObject
    from bodycam_ingest.upload.store_record import StoreRecord


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A copy that was proven; its upload as it was when the work began, or was stored since."""

    row: UploadRow
    digests: Digests
    proof: Confirmation


class UploadRecord:
    """Writes outcomes of items' uploads; faults that are a store's it leaves to `stores`."""

    def __init__(
        self, ledger: LedgerWriter, stores: StoreRecord, now_ms: Callable[[], int]
    ) -> None:
        self._ledger = ledger
        self._stores = stores
        self._now_ms = now_ms

    # -- items, forward --

    def stored(self, row: UploadRow, digests: Digests, got: StoredObject) -> bool:
        """Record that a store says it has an item; returns whether the item still stands."""
        with self._ledger.transaction() as txn:
            if self._open(txn, row, digests) is None:
                return False
            waits = waits_for(txn.rows, row.item_id, row.store, UPLOADED)
            sha256 = digests.sha256
            txn.add(item_entries.stored(row.item_id, row.store, got, sha256=sha256, waits=waits))
        log.debug("upload.stored", item_id=row.item_id, store=row.store, key=got.key)
        return True

    def confirmed(self, proven: Sequence[Confirmed]) -> None:
        """Record the proofs of a store's copies."""
        for one in proven:
            self._stores.worked(one.row.store)
        with self._ledger.transaction() as txn:
            ids = [one.row.item_id for one in proven]
            txn.rows.prefetch(rows.Item, ids)
            txn.rows.prefetch(rows.Upload, ids)
            done = [one for one in proven if self._confirmed(txn, one)]
        for one in done:
            log.debug(
                "upload.confirmed",
                item_id=one.row.item_id,
                store=one.row.store,
                key=one.proof.stored.key,
                proof=one.proof.proof.value,
            )

    def _open(self, txn: Txn, row: UploadRow, digests: Digests) -> rows.Upload | None:
        """The upload as it is now; None where what was sent is not what is wanted any more."""
        item = txn.rows.get(rows.Item, row.item_id)
        if item is None or item.state not in SENT_FROM or item.sha256 != digests.sha256:
            return None
        now = txn.rows.get(rows.Upload, row.item_id, row.store)
        return now if now is not None and now.state in OPEN_UPLOADS else None

    def _confirmed(self, txn: Txn, one: Confirmed) -> bool:
        row, sha256 = one.row, one.digests.sha256
        if self._open(txn, row, one.digests) is None:
            return False
        waits = waits_for(txn.rows, row.item_id, row.store, UPLOAD_PROVEN)
        txn.add(
            item_entries.confirmed(row.item_id, row.store, one.proof, sha256=sha256, waits=waits)
        )
        if row.last_error:
            findings.close_about(txn, subject=subjects.upload(row.item_id, row.store))
            if not uploads.any_waits_on(txn.conn, row.store, row.last_error):
                findings.close_finding(txn, code=row.last_error, subject=subjects.store(row.store))
        return True

    # -- items, back --

    def failed(self, row: UploadRow, failure: Failure) -> bool:
        """Record a fault of an upload that was so when the try began, and when it is tried again.

        Returns whether the store is at fault, and left alone for a while.

        Raises:
            IngestError: the fault itself, where its disposition is HALT.
        """
        error = failure.error
        if error.disposition is Disposition.HALT:
            raise error
        if error.disposition is Disposition.QUARANTINE:
            self._refused(row, error)
            return False
        until_ms = None
        if failure.is_stores(row.last_error) or self._stores.is_common(
            row.store, row.item_id, failure, row.last_error
        ):
            until_ms = self._stores.store_failed(failure)
        self._postpone(row, failure, until_ms)
        return until_ms is not None

    def _refused(self, row: UploadRow, error: IngestError) -> None:
        with self._ledger.transaction() as txn:
            item = items.get(txn.conn, row.item_id)
            if isinstance(error, StoreError):
                if uploads.get(txn.conn, row.item_id, row.store).state in OPEN_UPLOADS:
                    refused = item_entries.upload_refused(
                        row.item_id, row.store, key=item.key(), reason=error.code
                    )
                    txn.add(refused)
                subject = subjects.upload(row.item_id, row.store)
            else:
                due_ms = self._stores.due_ms(error, row.attempts + 1, DelayClass.SLOW)
                uploads.update_work(txn.conn, row.item_id, row.store, due_ms=due_ms)
                if item.state in UNRELEASED:
                    reason = error.code
                    draft = item_entries.quarantined(item.item_id, reason=reason, store=row.store)
                    items.step(txn, item, draft)
                subject = subjects.item(item.item_id)
            uploads.update_work(
                txn.conn, row.item_id, row.store, last_error=error.code, last_message=error.message
            )
            findings.alarm_item(txn, item, error.code, error.message, subject=subject)
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
            due_ms = self._stores.due_ms(error, attempts, DelayClass.SLOW if suspect else None)
        else:
            due_ms = until_ms
        with self._ledger.transaction() as txn:
            if uploads.get(txn.conn, row.item_id, row.store).state not in OPEN_UPLOADS:
                return
            text = clock.ms_text(self._now_ms())
            since = text if failure.progressed else row.first_failed_at or text
            uploads.update_work(
                txn.conn,
                row.item_id,
                row.store,
                attempts=attempts,
                integrity_faults=integrity,
                due_ms=due_ms,
                first_failed_at=since,
                last_error=error.code,
                last_message=error.message,
            )
            if until_ms is None and (suspect or is_alarming(error, since, self._now_ms())):
                self._alarm(txn, row, error)
        # One line when an upload's own trouble begins; a store's own is logged by the store's.
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
        """One finding a cause: what many recordings can meet at a store is the store's."""
        if isinstance(error, StoreError) and not isinstance(error, StoreIntegrityError):
            findings.alarm(txn, subjects.store(row.store), error.code, error.message)
        else:
            subject = subjects.upload(row.item_id, row.store)
            item = items.get(txn.conn, row.item_id)
            findings.alarm_item(txn, item, error.code, error.message, subject=subject)
