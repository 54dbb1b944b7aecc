"""The steps from a camera to verified staging copies, as they are recorded.

A docking's thread reads; one verifier for the whole dock reads back, so that the copy of one item
is proven while the next is read. Every fault leaves a persisted time of the next try.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from bodycam_ingest.acquire.acquirer import SMALL_FILE_BYTES
from bodycam_ingest.acquire.staging_watch import STAGING_ERRORS
from bodycam_ingest.custody import item_entries
from bodycam_ingest.custody.entry import SYSTEM
from bodycam_ingest.db import findings, items, store_health, uploads
from bodycam_ingest.db.items import ItemRow
from bodycam_ingest.errors import (
    IngestError,
    ItemMovedError,
    LocalCopyDamagedError,
    ReadBackMismatchError,
)
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.acquire.acquirer import Acquirer
    from bodycam_ingest.acquire.staging_watch import StagingWatch
    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.model.backoff import Delay
    from bodycam_ingest.model.evidence import Acquired, Digests
    from bodycam_ingest.staging import Progress, StagedCopies


Failed: TypeAlias = tuple[ItemRow, IngestError]
_Outcome = TypeVar("_Outcome")

BATCH_ITEMS: Final = 1000
BATCH_BYTES: Final = 64 * 1024 * 1024
# An item that was read again is whole, whatever was wrong with it or with its last copy before.
_ENDED_BY_READING: Final = (
    "source_unreadable",
    "source_forbidden",
    "source_changed",
    *(kind.code for kind in STAGING_ERRORS),
)


@dataclass(frozen=True, slots=True)
class AcquireContext:
    """What reading and verifying share; new items get upload parts of `part_size_bytes`."""

    engine: Engine
    ledger: LedgerWriter
    acquirer: Acquirer
    part_size_bytes: int
    delay_s: Delay
    watch: StagingWatch


def postpone(
    context: AcquireContext, txn: Txn, row: ItemRow, error: IngestError, *, alarm: bool = True
) -> None:
    """Persist when an item is tried again; alarm where its fault wants that and `alarm` is set."""
    attempts = row.attempts + 1
    due_ms = clock.now_ms() + round(context.delay_s(error.delay_class, attempts) * 1000)
    items.postpone(txn, [row.item_id], attempts=attempts, due_ms=due_ms, error=error.code)
    if alarm and error.alarm_at_once:
        findings.alarm_item(txn, row, error.code, error.message)


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


def sort_out(
    rows: Sequence[ItemRow], outcomes: Sequence[_Outcome | IngestError]
) -> tuple[list[tuple[ItemRow, _Outcome]], list[Failed]]:
    """Items whose outcome is a result, and items whose outcome is a fault."""
    good: list[tuple[ItemRow, _Outcome]] = []
    failed: list[Failed] = []
    for row, outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, IngestError):
            failed.append((row, outcome))
        else:
            good.append((row, outcome))
    return good, failed


def record_each(
    ledger: LedgerWriter,
    pairs: Sequence[tuple[ItemRow, _Outcome]],
    record: Callable[[Txn, Sequence[tuple[ItemRow, _Outcome]]], None],
) -> Sequence[tuple[ItemRow, _Outcome]]:
    """Record outcomes in one transaction; returns those whose items did not move meanwhile."""
    if not pairs:
        return []
    try:
        with ledger.transaction() as txn:
            record(txn, pairs)
    except ItemMovedError as error:
        if len(pairs) > 1:
            return [one for pair in pairs for one in record_each(ledger, [pair], record)]
        log.warning("item.moved", item_id=pairs[0][0].item_id, message=error.message)
        return []
    return pairs


def record_acquired(
    txn: Txn, pairs: Sequence[tuple[ItemRow, Acquired]], *, recovered: bool = False
) -> None:
    """Record that items' copies are durable: entries, digests and states together.

    `recovered`: the copies were found after a crash and hashed again.
    """
    items.steps(
        txn,
        [(row, item_entries.acquired(row.item_id, got, recovered=recovered)) for row, got in pairs],
    )
    # Read anew, with other bytes perhaps: what stores have of its parts belongs to the old ones.
    uploads.forget_parts_of(txn.conn, [row.item_id for row, _ in pairs if row.verified_seq])
    close_findings(txn, [row for row, _ in pairs], _ENDED_BY_READING)


def close_findings(txn: Txn, rows: Sequence[ItemRow], codes: Sequence[str]) -> None:
    """Close these items' findings of these codes."""
    here = {subjects.item(row.item_id) for row in rows}
    for code, subject in findings.open_pairs(txn.conn, codes):
        if subject in here:
            findings.close_finding(txn, code=code, subject=subject)


def reject_copy(txn: Txn, row: ItemRow, error: IngestError) -> None:
    """Record that the copy of an acquired or verified item was no good: it is to be read again."""
    quarantined = error.quarantined if isinstance(error, ReadBackMismatchError) else ""
    draft = item_entries.copy_rejected(row.item_id, reason=error.code, quarantined=quarantined)
    items.step(txn, row, draft)
    findings.alarm_item(txn, row, error.code, error.message)


def take_back(
    ledger: LedgerWriter,
    copies: StagedCopies,
    row: ItemRow,
    stores: Collection[str],
    progress: Progress,
    actor: Actor = SYSTEM,
    *,
    ended: Sequence[str] = (),
) -> Digests:
    """Reinstate a quarantined item whose copy is good, after all of it was read.

    Args:
        ledger: the only way to write.
        copies: reads the copy.
        row: the item, as it was when this was decided on.
        stores: names of the configured stores, which are asked at once.
        progress: called from this thread.
        actor: who orders it.
        ended: codes of the item's findings that this closes; none: all, as where a person looked.

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
        store_health.lift_pauses(txn, stores)
        close_findings(txn, [row], ended)
        if not ended:
            findings.close_about(txn, subject=subjects.item(row.item_id))
    return digests
