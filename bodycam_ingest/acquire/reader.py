"""Reads the due items of one docking off its volume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodycam_ingest.acquire.records import batches, postpone, record_acquired, record_each, sort_out
from bodycam_ingest.errors import (
    AbandonedError,
    Disposition,
    SourceError,
    SourceGoneError,
    StagingError,
)
from bodycam_ingest.log import log
from bodycam_ingest.model.evidence import CopyRequest, part_size_for, printable_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bodycam_ingest.acquire.read_back import ReadBackVerifier
    from bodycam_ingest.acquire.records import AcquireContext, Failed
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.model.evidence import Acquired, StatSignature
    from bodycam_ingest.staging import Progress


class Reader:
    """Reads items off one mounted volume; the verifier gets everything that was acquired.

    `files_failed` is called with files that cannot be read and their faults, in the transaction
    that postpones them.
    """

    def __init__(
        self,
        context: AcquireContext,
        verifier: ReadBackVerifier,
        files_failed: Callable[[Txn, Sequence[Failed]], None],
        progress: Progress,
    ) -> None:
        self._context = context
        self._files_failed = files_failed
        self._verifier = verifier
        self._progress = progress

    def choose(self, due: Sequence[ItemRow], for_space: Sequence[ItemRow]) -> list[ItemRow]:
        """What of a listing is to be read now; as `StagingWatch.choose`."""
        return self._context.watch.choose(due, for_space)

    def read(
        self,
        root_fd: int,
        rows: Sequence[ItemRow],
        signatures: dict[str, StatSignature],
        is_present: Callable[[], bool],
    ) -> int:
        """Acquire items, the small ones in batches, the large ones one by one.

        Args:
            root_fd: directory of the volume's root.
            rows: discovered items that are due and have settled.
            signatures: by item, as last listed.
            is_present: whether the camera is still there after a read failed; may take its time.

        Returns:
            How many were acquired.

        Raises:
            SourceGoneError: the camera or a file is gone; the caller finds out which.
            IngestError: only those whose disposition is HALT; all others are persisted.
        """
        taken = 0
        waiting = batches(rows)
        while waiting:
            batch = waiting.pop(0)
            requests = [self._request(row, signatures[row.item_id]) for row in batch]
            outcomes = self._context.acquirer.acquire_batch(root_fd, requests, self._progress)
            acquired, failed = sort_out(batch, outcomes)
            taken += self._record(acquired)
            refused = self._handle(failed, is_present)
            if refused:
                # The disk is at fault, not a file: asking it again for each would change nothing.
                rows = [row for row, _ in refused] + [row for left in waiting for row in left]
                self._context.watch.refused(rows, refused[0][1])
                break
        return taken

    def _request(self, row: ItemRow, signature: StatSignature) -> CopyRequest:
        return CopyRequest(
            item_id=row.item_id,
            docking_id=row.docking_id,
            path=row.path,
            signature=signature,
            part_size_bytes=part_size_for(signature.size_bytes, self._context.part_size_bytes),
        )

    def _record(self, acquired: Sequence[tuple[ItemRow, Acquired]]) -> int:
        if not acquired:
            return 0
        kept = record_each(self._context.ledger, acquired, record_acquired)
        for row, got in kept:
            log.debug(
                "item.acquired",
                item_id=row.item_id,
                camera=row.camera,
                path=printable_path(row.path),
                size_bytes=got.digests.size_bytes,
                sha256=got.digests.sha256.hex(),
            )
        self._context.watch.took()
        self._verifier.put([got.item_id for _, got in kept])
        return len(kept)

    def _handle(
        self, failed: Sequence[Failed], is_present: Callable[[], bool]
    ) -> list[tuple[ItemRow, StagingError]]:
        """Persist what failed; returns what the staging disk refused, for the caller."""
        for _, error in failed:
            if error.disposition is Disposition.HALT or isinstance(error, AbandonedError):
                raise error
        gone: SourceGoneError | None = None
        if any(isinstance(error, SourceError) for _, error in failed) and not is_present():
            # A pull under a file that is read looks like a fault of the file (exFAT: EIO).
            gone = SourceGoneError("the camera went while it was read")
        refused: list[tuple[ItemRow, StagingError]] = []
        own: list[Failed] = []
        for row, error in failed:
            if isinstance(error, SourceGoneError):
                # Proves nothing about the file: the next listing and the device decide.
                gone = gone or error
            elif isinstance(error, StagingError) and error.disposition is Disposition.RETRY:
                refused.append((row, error))
            elif gone is None or not isinstance(error, SourceError):
                own.append((row, error))
        if own:
            self._postpone(own)
        if gone is not None and not refused:
            raise gone
        return refused

    def _postpone(self, failed: Sequence[Failed]) -> None:
        with self._context.ledger.transaction() as txn:
            for row, error in failed:
                postpone(self._context, txn, row, error, alarm=not isinstance(error, SourceError))
            self._files_failed(txn, failed)
        for row, error in failed:
            log.debug(
                "item.read_failed",
                item_id=row.item_id,
                camera=row.camera,
                path=printable_path(row.path),
                error=error.code,
                message=error.message,
                attempts=row.attempts + 1,
            )
