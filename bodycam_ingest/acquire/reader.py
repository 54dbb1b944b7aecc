"""Reads the due items of one docking off its volume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from bodycam_ingest.acquire.records import batches, postpone, record_acquired
from bodycam_ingest.errors import (
    AbandonedError,
    Disposition,
    IngestError,
    ItemMovedError,
    SourceError,
    SourceGoneError,
    StagingError,
)
from bodycam_ingest.model.evidence import (
    Acquired,
    CopyRequest,
    StatSignature,
    part_size_for,
    printable_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bodycam_ingest.acquire.read_back import ReadBackVerifier
    from bodycam_ingest.acquire.records import AcquireContext
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Refused:
    """What the staging disk did not take.

    Args:
        rows: the items.
        error: what it said of the first.
    """

    rows: Sequence[ItemRow]
    error: StagingError


class Reader:
    """Reads items off one mounted volume.

    Args:
        context: what all readers share.
        verifier: gets everything that was acquired.
        files_failed: told of files that cannot be read, with their faults, in the transaction that
            postpones them.
        progress: told how many bytes were read since the last call.
    """

    def __init__(
        self,
        context: AcquireContext,
        verifier: ReadBackVerifier,
        files_failed: Callable[[Txn, Sequence[tuple[ItemRow, IngestError]]], None],
        progress: Callable[[int], None],
    ) -> None:
        self._context = context
        self._files_failed = files_failed
        self._verifier = verifier
        self._progress = progress

    def choose(self, due: Sequence[ItemRow], for_room: Sequence[ItemRow]) -> list[ItemRow]:
        """What of a listing is to be read now; as `StagingWatch.choose`."""
        return self._context.watch.choose(due, for_room)

    def read(
        self,
        root_fd: int,
        rows: Sequence[ItemRow],
        signatures: dict[str, StatSignature],
        stays: Callable[[], bool],
    ) -> int:
        """Acquire items, the small ones in batches, the large ones one by one.

        Args:
            root_fd: directory of the volume's root.
            rows: discovered items that are due and have settled.
            signatures: each item's signature as last listed.
            stays: whether the camera is still there after a read failed; may take its time.

        Returns:
            How many were acquired.

        Raises:
            SourceGoneError: the camera or a file is gone; the caller finds out which.
            IngestError: only those whose disposition is HALT; all others are persisted.
        """
        taken = 0
        waiting = list(batches(rows))
        while waiting:
            batch = waiting.pop(0)
            requests = [self._request(row, signatures[row.item_id]) for row in batch]
            if len(requests) == 1:
                outcomes = [self._acquire_one(root_fd, requests[0])]
            else:
                outcomes = self._context.acquirer.acquire_batch(root_fd, requests, self._progress)
            acquired, failed = _sorted_out(batch, outcomes)
            taken += self._record(acquired)
            refused = self._handle(failed, stays)
            if refused is not None:
                # The disk is at fault, not a file: asking it again for each would change nothing.
                rest = [row for left in waiting for row in left]
                self._context.watch.refused([*refused.rows, *rest], refused.error)
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

    def _acquire_one(self, root_fd: int, request: CopyRequest) -> Acquired | IngestError:
        try:
            return self._context.acquirer.acquire(root_fd, request, self._progress)
        except IngestError as error:
            return error

    def _record(self, acquired: Sequence[tuple[ItemRow, Acquired]]) -> int:
        if not acquired:
            return 0
        kept = []
        try:
            with self._context.ledger.transaction() as txn:
                record_acquired(txn, acquired, recovered=False)
            kept = list(acquired)
        except ItemMovedError:
            # One of them was moved by somebody else meanwhile, as by an admin: the others stand.
            kept = [one for one in acquired if self._record_alone(*one)]
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

    def _record_alone(self, row: ItemRow, got: Acquired) -> bool:
        try:
            with self._context.ledger.transaction() as txn:
                record_acquired(txn, [(row, got)], recovered=False)
        except ItemMovedError as error:
            log.warning("item.moved", item_id=row.item_id, message=error.message)
            return False
        return True

    def _handle(
        self, failed: Sequence[tuple[ItemRow, IngestError]], stays: Callable[[], bool]
    ) -> _Refused | None:
        """Persist what failed; returns what the staging disk refused, for the caller."""
        for _, error in failed:
            if error.disposition is Disposition.HALT or isinstance(error, AbandonedError):
                raise error
        gone: SourceGoneError | None = None
        if any(isinstance(error, SourceError) for _, error in failed) and not stays():
            # A pull under a file that is read looks like a fault of the file (exFAT: EIO).
            gone = SourceGoneError("the camera went while it was read")
        refused: list[tuple[ItemRow, StagingError]] = []
        own: list[tuple[ItemRow, IngestError]] = []
        for row, error in failed:
            if isinstance(error, SourceGoneError):
                # Proves nothing about the file: the next listing and the device decide.
                gone = gone or error
            elif isinstance(error, StagingError) and error.disposition is Disposition.RETRY:
                refused.append((row, error))
            elif gone is None or not isinstance(error, SourceError):
                own.append((row, error))
        self._postpone(own)
        if refused:
            rows, errors = zip(*refused, strict=True)
            return _Refused(rows, errors[0])
        if gone is not None:
            raise gone
        return None

    def _postpone(self, failed: Sequence[tuple[ItemRow, IngestError]]) -> None:
        if not failed:
            return
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


def _sorted_out(
    rows: Sequence[ItemRow], outcomes: Sequence[Acquired | IngestError]
) -> tuple[list[tuple[ItemRow, Acquired]], list[tuple[ItemRow, IngestError]]]:
    acquired: list[tuple[ItemRow, Acquired]] = []
    failed: list[tuple[ItemRow, IngestError]] = []
    for row, outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, IngestError):
            failed.append((row, outcome))
        else:
            acquired.append((row, outcome))
    return acquired, failed
