"""Purging staged copies that every required store has held for long enough.

Destructive, so in three steps: the intent is recorded (`item.purging`), the intent's entry comes
under an anchored checkpoint, then every required store proves once more that it holds the bytes,
the file is unlinked and the outcome recorded (`item.purged`). A crash between leaves an intent that
a later step resolves. One copy a step: what is bad waits alone, and a store that is away costs one
question a pause.

A copy's age is counted in the dock's own time, and nothing goes by its age while nobody vouches for
the clock (`clock_watch`).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.custody import item_entries
from bodycam_ingest.db import dock_time, findings, items, own_objects, releases, resending, uploads
from bodycam_ingest.db.row_check import altered_items
from bodycam_ingest.errors import (
    AbandonedError,
    DelayClass,
    Disposition,
    IngestError,
    StateAlteredError,
)
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects
from bodycam_ingest.model.lifecycle import UploadState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter
    from bodycam_ingest.model.backoff import Delay
    from bodycam_ingest.release.store_witness import Doubt, Witnesses
    from bodycam_ingest.staging import StagingArea


HELD: Final = "purge_held"
_DAY_MS: Final = 24 * 3_600_000
# Announced together, in one transaction.
_PAGE_ITEMS: Final = 100
# So often a copy that is held is looked at with short waits (some two hours), then with long ones.
_QUICK_TRIES: Final = 30
# Reading a large object back costs the line: looking takes at most so small a part of the time.
_PART_OF_TIME: Final = 20


class Purger:
    """Purges staged copies `keep_days` after their release, as configured now.

    With 0 the clock decides nothing. Each required store proves again what it holds before a copy
    goes.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: LedgerWriter,
        staging: StagingArea,
        witnesses: Witnesses,
        *,
        keep_days: Callable[[], float],
        delay_s: Delay,
        now_ms: Callable[[], int] = clock.now_ms,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._staging = staging
        self._witnesses = witnesses
        self._delay_s = delay_s
        self._now_ms = now_ms
        self._keep_days = keep_days

    def begin(self) -> None:
        """Have what waits looked at now: a restart may be what was needed."""
        with self._engine.connect() as conn:
            if not releases.any_purge_waits(conn):
                return
        with self._ledger.transaction() as txn:
            releases.hurry_purges(txn)

    def step(self, required: Sequence[str]) -> float | None:
        """Purge one copy; where none is due, announce a page of those whose time has come.

        Without any required store nothing is purged.

        Returns:
            Seconds until there may be more to do: 0 right after something was done, None when
            nothing waits for a time.

        Raises:
            IngestError: only those whose disposition is HALT; all others are persisted.
        """
        if not required:
            return None
        # A store that is away is not asked, and no recording is held for what is the store's.
        paused_s = self._witnesses.paused_s(required)
        if paused_s > 0:
            return paused_s
        if self._keep_days() and self._clock_in_doubt(required):
            return None
        with self._engine.connect() as conn:
            anchored = own_objects.anchored_size(conn, required)
            row = releases.next_purge(conn, required, anchored_size=anchored, now_ms=self._now_ms())
        if row is not None:
            return self._try(row, required)
        return 0.0 if self._announce(required) else None

    def _announce(self, required: Sequence[str]) -> bool:
        with self._engine.connect() as conn:
            due = self._of_age(conn, required, _PAGE_ITEMS)
        if not due:
            return False
        with self._ledger.transaction() as txn:
            for row in due:
                releases.announce_purge(txn, row)
        return True

    def _of_age(self, conn: Connection, required: Sequence[str], limit: int) -> list[ItemRow]:
        by_ms = None
        if keep_days := self._keep_days():
            by_ms = dock_time.now_ms(conn) - round(keep_days * _DAY_MS)
        return releases.purge_candidates(conn, required, released_by_ms=by_ms, limit=limit)

    def _clock_in_doubt(self, required: Sequence[str]) -> bool:
        """Whether nobody vouches for the clock; told as soon as that holds up a copy."""
        with self._engine.connect() as conn:
            if dock_time.word(conn).vouched:
                return False
            known = dock_time.doubt_is_known(conn)
            holds_up = not known and (
                bool(self._of_age(conn, required, 1)) or releases.any_purge_announced(conn)
            )
        if holds_up:
            with self._ledger.transaction() as txn:
                word = dock_time.word(txn.conn)
                if not word.vouched:
                    dock_time.raise_doubt(txn, word)
        return True

    def _try(self, row: ItemRow, required: Sequence[str]) -> float | None:
        with self._engine.connect() as conn:
            altered = altered_items(conn, [row.item_id])
        if altered:
            self._hold(row, StateAlteredError(altered[row.item_id]), 0.0)
            return 0.0
        began_s = time.monotonic()
        try:
            doubt = self._witnesses.doubt(row, required)
        except AbandonedError:
            return None
        took_s = time.monotonic() - began_s
        if doubt is not None:
            self._doubted(row, doubt, took_s)
            return 0.0
        try:
            self._staging.purge(row.staged_path)
        except IngestError as error:
            if error.disposition is Disposition.HALT:
                raise
            # The disk's fault, not the recording's: one finding, however many copies meet it.
            self._hold(row, error, took_s, disk=True)
            return 0.0
        self._purged(row)
        return 0.0

    def _purged(self, row: ItemRow) -> None:
        with self._ledger.transaction() as txn:
            items.step(txn, row, item_entries.purged(row.item_id, row.staged_path))
            for subject in (subjects.item(row.item_id), subjects.STAGING):
                findings.close_finding(txn, code=HELD, subject=subject)
        log.debug("item.purged", item_id=row.item_id)

    def _doubted(self, row: ItemRow, doubt: Doubt, took_s: float) -> None:
        if doubt.until_ms is None:
            self._hold(row, doubt.error, took_s)
            if doubt.lost_by:
                self._send_again(row, doubt.lost_by)
            return
        # The store was left alone and a line says so. The same fault again, from a store that was
        # well in between, will count as this recording's own: `Failure.is_stores`.
        with self._ledger.transaction() as txn:
            items.postpone(
                txn,
                [row.item_id],
                attempts=row.attempts,
                due_ms=doubt.until_ms,
                error=doubt.error.code,
            )

    def _send_again(self, row: ItemRow, store: str) -> None:
        """The dock still has what a store lost; its purge waits until the store has it again."""
        with self._ledger.transaction() as txn:
            upload = uploads.get(txn.conn, row.item_id, store)
            if upload.state is UploadState.CONFIRMED:
                txn.add(item_entries.upload_repeated(row.item_id, store, resending.STORE_LOST))
        log.warning("upload.repeated", item_id=row.item_id, store=store)

    def _hold(self, row: ItemRow, error: IngestError, took_s: float, *, disk: bool = False) -> None:
        """Keep a copy for now; told when it begins, not at each try."""
        attempts = row.attempts + 1
        if attempts <= _QUICK_TRIES:
            delay_s = self._delay_s(DelayClass.SHORT, attempts)
        else:
            delay_s = self._delay_s(DelayClass.SLOW, attempts - _QUICK_TRIES)
        due_ms = self._now_ms() + round(max(delay_s, took_s * _PART_OF_TIME) * 1000)
        alarming = (
            error.disposition is Disposition.QUARANTINE
            or error.alarm_at_once
            or attempts > _QUICK_TRIES
        )
        with self._ledger.transaction() as txn:
            items.postpone(txn, [row.item_id], attempts=attempts, due_ms=due_ms, error=error.code)
            subject = subjects.STAGING if disk else subjects.item(row.item_id)
            known = (HELD, subject) in findings.open_pairs(txn.conn, [HELD])
            if alarming and not known:
                item_id = None if disk else row.item_id
                findings.alarm(txn, subject, HELD, error.message, item_id=item_id)
        if not known and (alarming or row.last_error != error.code):
            log.warning("item.purge_held", item_id=row.item_id, error=error.code, hint=error.hint)
