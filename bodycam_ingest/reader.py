"""Reads the due items of one docking off its volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from bodycam_ingest import clock
from bodycam_ingest.db import findings, items
from bodycam_ingest.errors import (
    AbandonedError,
    DelayClass,
    Disposition,
    IngestError,
    SourceError,
    SourceGoneError,
    StagingFullError,
)
from bodycam_ingest.evidence import Acquired, FileStamp, Wanted, printable_path
from bodycam_ingest.pipeline import batches, postpone, record_acquired

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.pipeline import Workshop
    from bodycam_ingest.verifier import Verifier

log = structlog.get_logger(__name__)

STAGING_SUBJECT: Final = "dock:staging"


class Reader:
    """Reads items off one mounted volume.

    Args:
        shop: what all readers share.
        verifier: gets everything that was acquired.
        progress: told how many bytes were read since the last call.
    """

    def __init__(self, shop: Workshop, verifier: Verifier, progress: Callable[[int], None]) -> None:
        self._shop = shop
        self._verifier = verifier
        self._progress = progress

    def read(
        self,
        root_fd: int,
        rows: Sequence[ItemRow],
        stamps: dict[str, FileStamp],
        stays: Callable[[], bool],
    ) -> int:
        """Acquire items, the small ones in batches, the large ones one by one.

        Args:
            root_fd: directory of the volume's root.
            rows: discovered items that are due and have settled.
            stamps: each item's stamp as last listed.
            stays: whether the camera is still there after a read failed; may take its time.

        Returns:
            How many were acquired.

        Raises:
            SourceGoneError: the camera or a file is gone; the caller finds out which.
            IngestError: only those whose disposition is HALT; all others are persisted.
        """
        taken = 0
        for batch in batches(rows):
            room = [row for row in batch if self._has_room(row)]
            wanted = [self._wanted(row, stamps[row.item_id]) for row in room]
            if not wanted:
                continue
            if len(wanted) == 1:
                outcomes = [self._acquire_one(root_fd, wanted[0])]
            else:
                outcomes = self._shop.acquirer.acquire_batch(root_fd, wanted, self._progress)
            taken += self._record(room, outcomes, stays)
        return taken

    def _wanted(self, row: ItemRow, stamp: FileStamp) -> Wanted:
        return Wanted(
            item_id=row.item_id,
            docking_id=row.docking_id,
            path=row.path,
            stamp=stamp,
            part_size_bytes=self._shop.part_size_bytes,
        )

    def _acquire_one(self, root_fd: int, wanted: Wanted) -> Acquired | IngestError:
        try:
            return self._shop.acquirer.acquire(root_fd, wanted, self._progress)
        except IngestError as error:
            return error

    def _has_room(self, row: ItemRow) -> bool:
        if self._shop.acquirer.fits(row.size_bytes):
            return True
        error = StagingFullError(f"no room in staging for {row.size_bytes} bytes")
        with self._shop.ledger.transaction() as txn:
            # The item is not at fault: its attempts stay, only its next time moves.
            due_ms = clock.now_ms() + round(self._shop.delay_s(DelayClass.SHORT, 1) * 1000)
            items.postpone(txn, row.item_id, attempts=row.attempts, due_ms=due_ms, error=error.code)
            findings.raise_finding(
                txn,
                clock.now_text(),
                code=error.code,
                severity="alarm",
                subject=STAGING_SUBJECT,
                detail=error.message,
            )
        log.warning(
            "staging.full", item_id=row.item_id, camera=row.camera, size_bytes=row.size_bytes
        )
        return False

    def _record(
        self,
        rows: Sequence[ItemRow],
        outcomes: Sequence[Acquired | IngestError],
        stays: Callable[[], bool],
    ) -> int:
        acquired: list[tuple[ItemRow, Acquired]] = []
        failed: list[tuple[ItemRow, IngestError]] = []
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, IngestError):
                failed.append((row, outcome))
            else:
                acquired.append((row, outcome))
        if acquired:
            with self._shop.ledger.transaction() as txn:
                record_acquired(txn, acquired, recovered=False)
                findings.close_finding(
                    txn, clock.now_text(), code=StagingFullError.code, subject=STAGING_SUBJECT
                )
            for row, got in acquired:
                log.debug(
                    "item.acquired",
                    item_id=row.item_id,
                    camera=row.camera,
                    path=printable_path(row.path),
                    size_bytes=got.digests.size_bytes,
                    sha256=got.digests.sha256.hex(),
                )
            self._verifier.put([got.item_id for _, got in acquired])
        self._handle(failed, stays)
        return len(acquired)

    def _handle(
        self, failed: Sequence[tuple[ItemRow, IngestError]], stays: Callable[[], bool]
    ) -> None:
        for _, error in failed:
            if error.disposition is Disposition.HALT or isinstance(error, AbandonedError):
                raise error
        gone: SourceGoneError | None = None
        if any(isinstance(error, SourceError) for _, error in failed) and not stays():
            # A pull under a file that is read looks like a fault of the file (exFAT: EIO).
            gone = SourceGoneError("the camera went while it was read")
        for row, error in failed:
            if gone is not None and isinstance(error, SourceError):
                continue
            if isinstance(error, SourceGoneError):
                # Proves nothing about the file: the next listing and the device decide.
                gone = error
                continue
            with self._shop.ledger.transaction() as txn:
                postpone(self._shop, txn, row, error)
            level = log.warning if isinstance(error, SourceError) else log.error
            level(
                "item.read_failed",
                item_id=row.item_id,
                camera=row.camera,
                path=printable_path(row.path),
                error=error.code,
                message=error.message,
                attempts=row.attempts + 1,
            )
        if gone is not None:
            raise gone
