"""Purging staged copies that every required store has held for long enough.

Destructive, so in three steps: the intent is recorded (`item.purging`), the intent's entry comes
under an anchored checkpoint, then the file is unlinked and the outcome recorded (`item.purged`).
A crash between leaves an intent that the next tick resolves.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

import structlog

from bodycam_ingest import clock
from bodycam_ingest.db import agenda, findings, items, outbox
from bodycam_ingest.errors import Disposition, IngestError, StoreMismatchError
from bodycam_ingest.lifecycle import ItemEvent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.acquire import Acquirer
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter
    from bodycam_ingest.upload import ObjectStore

log = structlog.get_logger(__name__)

_BATCH_ITEMS: Final = 200


class Retention:
    """Purges staged copies `keep_days` after their release.

    Args:
        engine: for reads.
        ledger: the only way to write.
        acquirer: owns staging.
        stores: by name; each required one is looked at again before a copy goes.
        keep_days: days that a released copy stays in staging.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: LedgerWriter,
        acquirer: Acquirer,
        stores: Mapping[str, ObjectStore],
        *,
        keep_days: float,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._acquirer = acquirer
        self._stores = stores
        self.keep_days = keep_days

    def tick(self, required: Sequence[str]) -> int:
        """Announce what is due, purge what was announced and anchored.

        Args:
            required: names of the required stores.

        Returns:
            How many copies were purged.

        Raises:
            IngestError: only those whose disposition is HALT.
        """
        self._announce()
        with self._engine.connect() as conn:
            anchored = outbox.anchored_size(conn, required)
            due = agenda.announced_purges(conn, anchored_size=anchored, limit=_BATCH_ITEMS)
        return sum(self._purge(row) for row in due)

    def _announce(self) -> None:
        before = clock.rfc3339(dt.datetime.now(tz=dt.UTC) - dt.timedelta(days=self.keep_days))
        with self._engine.connect() as conn:
            due = agenda.purge_candidates(conn, released_before=before, limit=_BATCH_ITEMS)
        if not due:
            return
        with self._ledger.transaction() as txn:
            for row in due:
                agenda.announce_purge(txn, row)

    def _purge(self, row: ItemRow) -> bool:
        try:
            self._still_stored(row)
            self._acquirer.purge(row.staged_path)
        except IngestError as error:
            if error.disposition is Disposition.HALT:
                raise
            log.warning("item.purge_held", item_id=row.item_id, error=error.code, hint=error.hint)
            with self._ledger.transaction() as txn:
                findings.raise_finding(
                    txn,
                    clock.now_text(),
                    code="purge_held",
                    severity="alarm",
                    subject=f"item:{row.item_id}",
                    detail=error.message,
                    item_id=row.item_id,
                )
            return False
        with self._ledger.transaction() as txn:
            items.record(txn, row, ItemEvent.PURGED, {"staged": row.staged_path}, staged_path="")
            findings.close_finding(
                txn, clock.now_text(), code="purge_held", subject=f"item:{row.item_id}"
            )
        log.info("item.purged", item_id=row.item_id)
        return True

    def _still_stored(self, row: ItemRow) -> None:
        with self._engine.connect() as conn:
            uploads = agenda.required_uploads(conn, row.item_id)
        if not uploads:
            raise StoreMismatchError(f"item {row.item_id} has no required store")
        for held in uploads:
            if not held.confirmed:
                raise StoreMismatchError(f"{held.store} has not confirmed item {row.item_id}")
            found = self._stores[held.store].look(held.key, held.version_id)
            if found is None or found.size_bytes != row.size_bytes:
                raise StoreMismatchError(f"{held.store} no longer holds {held.key}")
