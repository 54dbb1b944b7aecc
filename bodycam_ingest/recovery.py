"""What a start does before work begins: settles what the last process left half done.

There is no clean start: a start after a power cut runs through the same steps as every other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bodycam_ingest import clock
from bodycam_ingest.db import dockings, findings, items
from bodycam_ingest.errors import LocalCopyDamagedError, StagingMissingError
from bodycam_ingest.evidence import Acquired, part_size_for
from bodycam_ingest.lifecycle import ItemEvent, ItemState
from bodycam_ingest.pipeline import record_acquired
from bodycam_ingest.undocking import end_docking

if TYPE_CHECKING:
    from bodycam_ingest.acquire import Acquirer
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.diskio.staging import SealedCopy
    from bodycam_ingest.errors import IngestError
    from bodycam_ingest.undocking import Dock

log = structlog.get_logger(__name__)

_COPY_NEEDED = (ItemState.ACQUIRED, ItemState.VERIFIED)


def recover(dock: Dock, acquirer: Acquirer, *, part_size_bytes: int) -> None:
    """Settle staging and dockings with the ledger; run before any thread works.

    Args:
        dock: engine, ledger and stores.
        acquirer: owns staging.
        part_size_bytes: upload part size for copies whose digests have to be taken again.

    Raises:
        IngestError: staging or ledger cannot be used; nothing was lost.
    """
    found = acquirer.recover()
    with dock.engine.connect() as conn:
        known = {row.item_id: row for row in items.by_ids(conn, [s.item_id for s in found.sealed])}
        needed = items.in_states(conn, _COPY_NEEDED)
        left_open = dockings.open_dockings(conn)
    for copy in found.sealed:
        _settle(dock, acquirer, copy, known.get(copy.item_id), part_size_bytes)
    there = {copy.staged_path for copy in found.sealed}
    for row in needed:
        if row.staged_path not in there:
            _missing(dock, row)
    for docking in left_open:
        end_docking(dock, docking.docking_id, "daemon_restarted")


def _settle(
    dock: Dock,
    acquirer: Acquirer,
    copy: SealedCopy,
    row: ItemRow | None,
    part_size_bytes: int,
) -> None:
    if row is not None and row.staged_path == copy.staged_path:
        return
    if row is None or row.state is not ItemState.DISCOVERED:
        # Nobody's: kept where it is, told to a person; `verify --files` names it as well.
        _stray(dock, copy)
        return
    digests = acquirer.rehash(
        copy.staged_path, row.path, part_size_for(row.size_bytes, part_size_bytes)
    )
    if digests.sha256 != copy.sha256:
        kept = acquirer.move_to_quarantine(copy.staged_path)
        log.error("item.recovered_copy_bad", item_id=row.item_id, quarantined=kept)
        with dock.ledger.transaction() as txn:
            findings.raise_finding(
                txn,
                clock.now_text(),
                code=LocalCopyDamagedError.code,
                severity="notice",
                subject=f"item:{row.item_id}",
                detail=f"a copy left by a crash was not what its name says; kept as {kept}",
                docking_id=row.docking_id,
                item_id=row.item_id,
            )
        return
    with dock.ledger.transaction() as txn:
        got = Acquired(row.item_id, digests, copy.staged_path)
        record_acquired(txn, [(row, got)], recovered=True)
    log.info("item.recovered", item_id=row.item_id, sha256=digests.sha256.hex())


def _stray(dock: Dock, copy: SealedCopy) -> None:
    log.warning("staging.stray_copy", staged=copy.staged_path)
    with dock.ledger.transaction() as txn:
        findings.raise_finding(
            txn,
            clock.now_text(),
            code="stray_copy",
            severity="notice",
            subject=f"item:{copy.item_id}",
            detail=f"{copy.staged_path} belongs to no item in that state",
        )


def _missing(dock: Dock, row: ItemRow) -> None:
    error: IngestError = StagingMissingError(f"{row.staged_path} is not in staging")
    log.error("item.copy_missing", item_id=row.item_id, staged=row.staged_path, hint=error.hint)
    with dock.ledger.transaction() as txn:
        items.record(
            txn,
            row,
            ItemEvent.QUARANTINED,
            {"reason": error.code},
            quarantine_reason=error.code,
        )
        findings.raise_finding(
            txn,
            clock.now_text(),
            code=error.code,
            severity="alarm",
            subject=f"item:{row.item_id}",
            detail=error.message,
            docking_id=row.docking_id,
            item_id=row.item_id,
        )
