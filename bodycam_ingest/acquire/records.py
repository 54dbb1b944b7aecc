"""The steps from a camera to verified staging copies, as they are recorded.

A docking's thread reads (`reader`); one verifier for the whole dock reads back (`verifier`), so
that the copy of one item is proven while the next is read. Both leave every fault with a persisted
time at which the item is tried again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest.custody import item_entries
from bodycam_ingest.custody.entry import SYSTEM
from bodycam_ingest.db import findings, items, storehealth, uploads
from bodycam_ingest.errors import (
    ItemMovedError,
    LocalCopyDamagedError,
    ReadBackMismatchError,
    StagingError,
)
from bodycam_ingest.linux import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.acquire.acquirer import Acquirer
    from bodycam_ingest.acquire.staging_watch import StagingWatch
    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.errors import IngestError
    from bodycam_ingest.model.backoff import Delay
    from bodycam_ingest.model.evidence import Acquired, Digests
    from bodycam_ingest.staging import StagedCopies

SMALL_FILE_BYTES: Final = 256 * 1024
BATCH_ITEMS: Final = 1000
BATCH_BYTES: Final = 64 * 1024 * 1024
_STAGING: Final[Sequence[type[StagingError]]] = (StagingError, *StagingError.__subclasses__())
# An item that was read again is whole, whatever was wrong with it or with its last copy before.
_ENDED_BY_READING: Final = (
    "source_unreadable",
    "source_forbidden",
    "source_changed",
    *(kind.code for kind in _STAGING),
)


@dataclass(frozen=True, slots=True)
class AcquireContext:
    """What reading and verifying share.

    Args:
        engine: for reads.
        ledger: the only way to write.
        acquirer: copies, reads back, quarantines.
        part_size_bytes: upload part size that new items get.
        delay_s: seconds until the next try.
        watch: holds what must wait for staging.
    """

    engine: Engine
    ledger: LedgerWriter
    acquirer: Acquirer
    part_size_bytes: int
    delay_s: Delay
    watch: StagingWatch


def postpone(
    context: AcquireContext, txn: Txn, row: ItemRow, error: IngestError, *, alarm: bool = True
) -> None:
    """Persist when an item is tried again, and raise an alarm where its fault wants one.

    Args:
        context: knows the delays.
        txn: the open transaction.
        row: the item.
        error: its fault.
        alarm: the item's own finding is wanted; False where its camera's says it.
    """
    attempts = row.attempts + 1
    due_ms = clock.now_ms() + round(context.delay_s(error.delay_class, attempts) * 1000)
    items.postpone(txn, [row.item_id], attempts=attempts, due_ms=due_ms, error=error.code)
    if alarm and error.alarm_at_once:
        findings.raise_finding(
            txn,
            code=error.code,
            severity="alarm",
            subject=f"item:{row.item_id}",
            detail=error.message,
            docking_id=row.docking_id,
            item_id=row.item_id,
        )


def batches(rows: Sequence[ItemRow]) -> list[list[ItemRow]]:
    """Batches of small items, every large one alone, in the given order."""
    found: list[list[ItemRow]] = []
    batch: list[ItemRow] = []
    batch_bytes = 0
    for row in rows:
        if row.size_bytes > SMALL_FILE_BYTES:
            found.append([row])
            continue
        if len(batch) >= BATCH_ITEMS or batch_bytes + row.size_bytes > BATCH_BYTES:
            found.append(batch)
            batch, batch_bytes = [], 0
        batch.append(row)
        batch_bytes += row.size_bytes
    if batch:
        found.append(batch)
    return found


def record_acquired(
    txn: Txn, pairs: Sequence[tuple[ItemRow, Acquired]], *, recovered: bool
) -> list[int]:
    """Record that items' copies are durable: entries, digests and states together.

    Args:
        txn: the open transaction.
        pairs: each item and what was read.
        recovered: the copies were found after a crash and hashed again.

    Returns:
        The entries' sequence numbers, in order.
    """
    numbers = items.steps(
        txn,
        [(row, item_entries.acquired(row.item_id, got, recovered=recovered)) for row, got in pairs],
    )
    # Read anew, with other bytes perhaps: what stores have of its parts belongs to the old ones.
    uploads.forget_parts_of(txn.conn, [row.item_id for row, _ in pairs if row.verified_seq])
    subjects = {f"item:{row.item_id}" for row, _ in pairs}
    for code, subject in findings.open_pairs(txn.conn, _ENDED_BY_READING):
        if subject in subjects:
            findings.close_finding(txn, code=code, subject=subject)
    return numbers


def reject_copy(txn: Txn, row: ItemRow, error: IngestError) -> None:
    """Record that a staged copy was no good and that the item is to be read again.

    Args:
        txn: the open transaction.
        row: the item, acquired or verified.
        error: what was wrong; a mismatch names where the bad copy is kept.
    """
    quarantined = error.quarantined if isinstance(error, ReadBackMismatchError) else ""
    draft = item_entries.copy_rejected(row.item_id, reason=error.code, quarantined=quarantined)
    items.step(txn, row, draft)
    findings.raise_finding(
        txn,
        code=error.code,
        severity="alarm",
        subject=f"item:{row.item_id}",
        detail=error.message,
        docking_id=row.docking_id,
        item_id=row.item_id,
    )


def take_back(
    ledger: LedgerWriter,
    copies: StagedCopies,
    row: ItemRow,
    stores: Collection[str],
    progress: Callable[[int], None],
    actor: Actor = SYSTEM,
    *,
    ended: Sequence[str] = (),
) -> Digests:
    """Take a quarantined item's copy for good again, after all of it was read.

    Args:
        ledger: the only way to write.
        copies: reads the copy.
        row: the item, as it was when this was decided on.
        stores: names of the configured stores, which are asked at once.
        progress: called with the bytes that were read since the last call.
        actor: who wants it.
        ended: codes of the findings that this ends; none means all about the item, as where a
            person looked at it.

    Raises:
        LocalCopyDamagedError: the copy is something else.
        ItemMovedError: the item was changed while its copy was read.
        StagingError: the copy cannot be read.
    """
    digests = row.digests()
    # Outside of the transaction: a large copy takes a while to read.
    found = copies.rehash(row.staged_path, row.path, digests.part_size_bytes, progress)
    if found != digests:
        raise LocalCopyDamagedError(
            f"the copy of item {row.item_id} no longer is what was read off the camera",
            hint="It stays in quarantine. `quarantine requeue ITEM` has it read again.",
        )
    with ledger.transaction() as txn:
        if items.get(txn.conn, row.item_id) != row:
            raise ItemMovedError(f"item {row.item_id} moved while its copy was read")
        items.step(
            txn, row, item_entries.reinstated(row.item_id, sha256=digests.sha256), actor=actor
        )
        storehealth.lift_pauses(txn, stores)
        subject = f"item:{row.item_id}"
        for code in ended:
            findings.close_finding(txn, code=code, subject=subject)
        if not ended:
            findings.close_about(txn, subject=subject)
    return digests
