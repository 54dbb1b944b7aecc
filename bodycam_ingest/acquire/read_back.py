"""Reads acquired copies back from the medium, for all dockings of the dock."""

from __future__ import annotations

import collections
import threading
from typing import TYPE_CHECKING, Final

from bodycam_ingest.acquire.records import (
    BATCH_ITEMS,
    batches,
    close_findings,
    postpone,
    record_each,
    reject_copy,
    sort_out,
)
from bodycam_ingest.custody import item_entries
from bodycam_ingest.db import items
from bodycam_ingest.errors import (
    AbandonedError,
    Disposition,
    IngestError,
    ItemMovedError,
    ReadBackMismatchError,
    ReadBackUnprovenError,
    StagingError,
)
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model.backoff import is_due
from bodycam_ingest.model.evidence import Acquired
from bodycam_ingest.model.lifecycle import ItemState
from bodycam_ingest.staging import ignore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bodycam_ingest.acquire.records import AcquireContext
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.staging import Progress


_VERIFY_BACKLOG_ITEMS: Final = 2000


class ReadBackVerifier:
    """Reads acquired copies back from the medium and queues what holds for upload.

    `abandon` is set when the process must end.
    """

    def __init__(self, context: AcquireContext, abandon: threading.Event) -> None:
        self._context = context
        self._abandon = abandon
        self._waiting: collections.deque[str] = collections.deque()
        # Looked up already; one of them is one step.
        self._batches: collections.deque[list[ItemRow]] = collections.deque()
        self._changed = threading.Condition()
        self._busy = 0

    def put(self, item_ids: Sequence[str]) -> None:
        """Queue acquired items; blocks while the backlog is long, so that reading waits for it."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._waiting) < _VERIFY_BACKLOG_ITEMS or self._abandon.is_set()
            )
            self._waiting.extend(item_ids)
            self._changed.notify_all()

    def put_left_over(self) -> None:
        """Queue items that an earlier process acquired, or whose read-back failed and is due."""
        with self._context.engine.connect() as conn:
            rows = items.in_states(conn, [ItemState.ACQUIRED])
        now_ms = clock.now_ms()
        with self._changed:
            if self._busy or self._batches:
                return
            known = set(self._waiting)
            self._waiting.extend(
                row.item_id
                for row in rows
                if is_due(row.due_ms, now_ms) and row.item_id not in known
            )
            self._changed.notify_all()

    def idle(self) -> bool:
        """Whether nothing waits and nothing is being read back."""
        with self._changed:
            return not self._waiting and not self._batches and not self._busy

    def wake(self) -> None:
        """Have waiting threads look at `abandon` again."""
        with self._changed:
            self._changed.notify_all()

    def run_once(self, timeout_s: float, progress: Progress = ignore) -> bool:
        """Verify the next batch; returns whether there was one within `timeout_s`.

        `progress` is called from several threads.

        Raises:
            IngestError: only those whose disposition is HALT; all others are persisted.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: bool(self._batches or self._waiting) or self._abandon.is_set(), timeout_s
            )
            if self._abandon.is_set() or not (self._batches or self._waiting):
                return False
            item_ids: list[str] = []
            if not self._batches:
                count = min(len(self._waiting), BATCH_ITEMS)
                item_ids = [self._waiting.popleft() for _ in range(count)]
            self._busy += 1
            self._changed.notify_all()
        try:
            if item_ids:
                self._batches.extend(batches(self._rows(item_ids)))
            if self._batches:
                self._verify(self._batches.popleft(), progress)
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()
        return True

    def _rows(self, item_ids: Sequence[str]) -> list[ItemRow]:
        with self._context.engine.connect() as conn:
            found = items.by_ids(conn, item_ids)
        return [row for row in found if row.state is ItemState.ACQUIRED]

    def _verify(self, batch: Sequence[ItemRow], progress: Progress) -> None:
        copies = [Acquired(row.item_id, row.digests(), row.staged_path) for row in batch]
        outcomes = self._context.acquirer.read_back_batch(copies, progress)
        held, failed = sort_out(batch, outcomes)
        for row, how in record_each(self._context.ledger, held, _record_verified):
            log.debug("item.verified", item_id=row.item_id, camera=row.camera, read_back=how)
        lost: list[tuple[ItemRow, StagingError]] = []
        for row, error in failed:
            if isinstance(error, StagingError) and _is_disks(error):
                lost.append((row, error))
            else:
                self._failed(row, error)
        if lost:
            self._context.watch.unreadable([row for row, _ in lost], lost[0][1])

    def _failed(self, row: ItemRow, error: IngestError) -> None:
        if error.disposition is Disposition.HALT:
            raise error
        if isinstance(error, AbandonedError):
            # Still acquired: the next start reads it back.
            return
        log.error(
            "item.read_back_failed",
            item_id=row.item_id,
            camera=row.camera,
            error=error.code,
            message=error.message,
            staged=row.staged_path,
        )
        try:
            with self._context.ledger.transaction() as txn:
                if error.disposition is Disposition.QUARANTINE:
                    reject_copy(txn, row, error)
                else:
                    postpone(self._context, txn, row, error)
        except ItemMovedError as moved:
            log.warning("item.moved", item_id=row.item_id, message=moved.message)
            if isinstance(error, ReadBackMismatchError) and error.quarantined:
                # Its copy stays where the ledger says that it is.
                self._context.acquirer.staging.put_back(error.quarantined, row.staged_path)


def _record_verified(txn: Txn, held: Sequence[tuple[ItemRow, str]]) -> None:
    drafts = [
        (row, item_entries.verified(row.item_id, sha256=row.digests().sha256, read_back=how))
        for row, how in held
    ]
    items.steps(txn, drafts)
    close_findings(txn, [row for row, _ in held], [ReadBackMismatchError.code])


def _is_disks(error: StagingError) -> bool:
    """Whether the disk as a whole is at fault, not the one copy."""
    return error.disposition is Disposition.RETRY and not isinstance(error, ReadBackUnprovenError)
