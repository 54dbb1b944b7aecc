"""Takes items from a camera to verified staging copies, each step recorded before the next.

A docking's thread reads (`Reader`); one verifier for the whole dock reads back (`Verifier`), so
that the copy of one item is proven while the next is read. Both leave every fault with a persisted
time at which the item is tried again.
"""

from __future__ import annotations

import base64
import collections
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from bodycam_ingest import clock, objectkeys
from bodycam_ingest.db import findings, items, uploads
from bodycam_ingest.errors import (
    AbandonedError,
    DelayClass,
    Disposition,
    IngestError,
    ReadBackMismatchError,
    SourceError,
    SourceGoneError,
    StagingFullError,
)
from bodycam_ingest.evidence import Acquired, FileStamp, Wanted, printable_path
from bodycam_ingest.lifecycle import ItemEvent, ItemState

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.acquire import Acquirer
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter, Txn

log = structlog.get_logger(__name__)

SMALL_FILE_BYTES: Final = 256 * 1024
BATCH_ITEMS: Final = 1000
BATCH_BYTES: Final = 64 * 1024 * 1024
_VERIFY_BACKLOG_ITEMS: Final = 2000
_ENDED_BY_READING: Final = ("source_unreadable", "source_forbidden", "source_changed")
STAGING_SUBJECT: Final = "dock:staging"


@dataclass(frozen=True, slots=True)
class Target:
    """A store that every verified item goes to.

    Args:
        name: the store.
        required: release waits for it.
    """

    name: str
    required: bool


@dataclass(frozen=True, slots=True)
class Workshop:
    """What reading and verifying share.

    Args:
        engine: for reads.
        ledger: the only way to write.
        acquirer: copies, reads back, sets apart.
        targets: where verified items go.
        dock_id: this dock.
        part_size_bytes: upload part size that new items get.
        delay_s: seconds until the next try, by delay class and failed tries in a row.
    """

    engine: Engine
    ledger: LedgerWriter
    acquirer: Acquirer
    targets: Sequence[Target]
    dock_id: str
    part_size_bytes: int
    delay_s: Callable[[DelayClass, int], float]


def _postpone(shop: Workshop, txn: Txn, row: ItemRow, error: IngestError) -> None:
    attempts = row.attempts + 1
    due_ms = clock.now_ms() + round(shop.delay_s(error.delay_class, attempts) * 1000)
    items.postpone(txn, row.item_id, attempts=attempts, due_ms=due_ms, error=error.code)
    if error.alarm_at_once:
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

    def read(self, root_fd: int, rows: Sequence[ItemRow], stamps: dict[str, FileStamp]) -> int:
        """Acquire items, the small ones in batches, the large ones one by one.

        Args:
            root_fd: directory of the volume's root.
            rows: discovered items that are due and have settled.
            stamps: each item's stamp as last listed.

        Returns:
            How many were acquired.

        Raises:
            SourceGoneError: the camera or a file is gone; the caller finds out which.
            IngestError: only those whose disposition is HALT; all others are persisted.
        """
        taken = 0
        for batch in _batches(rows):
            room = [row for row in batch if self._has_room(row)]
            wanted = [self._wanted(row, stamps[row.item_id]) for row in room]
            if not wanted:
                continue
            if len(wanted) == 1:
                outcomes = [self._acquire_one(root_fd, wanted[0])]
            else:
                outcomes = self._shop.acquirer.acquire_batch(root_fd, wanted, self._progress)
            taken += self._record(room, outcomes)
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
        log.warning("staging.full", item_id=row.item_id, size_bytes=row.size_bytes)
        return False

    def _record(self, rows: Sequence[ItemRow], outcomes: Sequence[Acquired | IngestError]) -> int:
        acquired: list[tuple[ItemRow, Acquired]] = []
        failed: list[tuple[ItemRow, IngestError]] = []
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, IngestError):
                failed.append((row, outcome))
            else:
                acquired.append((row, outcome))
        if acquired:
            with self._shop.ledger.transaction() as txn:
                still = findings.open_pairs(txn.conn, _ENDED_BY_READING)
                for row, got in acquired:
                    record_acquired(txn, row, got, recovered=False, open_findings=still)
                findings.close_finding(
                    txn, clock.now_text(), code=StagingFullError.code, subject=STAGING_SUBJECT
                )
            for row, got in acquired:
                log.info(
                    "item.acquired",
                    item_id=row.item_id,
                    path=printable_path(row.path),
                    size_bytes=got.digests.size_bytes,
                    sha256=got.digests.sha256.hex(),
                )
            self._verifier.put([got.item_id for _, got in acquired])
        self._handle(failed)
        return len(acquired)

    def _handle(self, failed: Sequence[tuple[ItemRow, IngestError]]) -> None:
        gone: SourceGoneError | None = None
        for row, error in failed:
            if error.disposition is Disposition.HALT or isinstance(error, AbandonedError):
                raise error
            if isinstance(error, SourceGoneError):
                # Proves nothing about the file: the next listing and the device decide.
                gone = error
                continue
            with self._shop.ledger.transaction() as txn:
                _postpone(self._shop, txn, row, error)
            level = log.warning if isinstance(error, SourceError) else log.error
            level(
                "item.read_failed",
                item_id=row.item_id,
                path=printable_path(row.path),
                error=error.code,
                message=error.message,
                attempts=row.attempts + 1,
            )
        if gone is not None:
            raise gone


def _batches(rows: Sequence[ItemRow]) -> list[list[ItemRow]]:
    """Crowds of small items together, every large one alone, in the given order."""
    batches: list[list[ItemRow]] = []
    crowd: list[ItemRow] = []
    crowd_bytes = 0
    for row in rows:
        if row.size_bytes > SMALL_FILE_BYTES:
            batches.append([row])
            continue
        if len(crowd) >= BATCH_ITEMS or crowd_bytes + row.size_bytes > BATCH_BYTES:
            batches.append(crowd)
            crowd, crowd_bytes = [], 0
        crowd.append(row)
        crowd_bytes += row.size_bytes
    if crowd:
        batches.append(crowd)
    return batches


def record_acquired(
    txn: Txn,
    row: ItemRow,
    got: Acquired,
    *,
    recovered: bool,
    open_findings: Container[tuple[str, str]] | None = None,
) -> int:
    """Record that an item's copy is durable: entry, digests and state together.

    Args:
        txn: the open transaction.
        row: the item.
        got: what was read.
        recovered: the copy was found after a crash and hashed again.
        open_findings: what `findings.open_pairs` said in this transaction; asked for when None.

    Returns:
        The entry's sequence number.
    """
    digests = got.digests
    seq = items.record(
        txn,
        row,
        ItemEvent.ACQUIRED,
        {
            "sha256": digests.sha256.hex(),
            "size_bytes": digests.size_bytes,
            "part_size_bytes": digests.part_size_bytes,
            "parts_sha256": digests.composite_sha256().hex(),
            "sample_sha256": digests.sample_sha256.hex(),
            "staged": got.staged_path,
            "recovered": recovered,
        },
        sha256=digests.sha256,
        sample_sha256=digests.sample_sha256,
        size_bytes=digests.size_bytes,
        part_size_bytes=digests.part_size_bytes,
        part_sha256s=b"".join(digests.part_sha256s),
        staged_path=got.staged_path,
        attempts=0,
        due_ms=0,
        last_error="",
    )
    if open_findings is None:
        open_findings = findings.open_pairs(txn.conn, _ENDED_BY_READING)
    for code in _ENDED_BY_READING:
        subject = f"item:{row.item_id}"
        if (code, subject) in open_findings:
            findings.close_finding(txn, clock.now_text(), code=code, subject=subject)
    return seq


class Verifier:
    """Reads acquired copies back from the medium and queues what holds for upload.

    Args:
        shop: what readers and verifier share.
        abandon: set when the process must end.
    """

    def __init__(self, shop: Workshop, abandon: threading.Event) -> None:
        self._shop = shop
        self._abandon = abandon
        self._waiting: collections.deque[str] = collections.deque()
        self._changed = threading.Condition()
        self._busy = 0

    def put(self, item_ids: Sequence[str]) -> None:
        """Take acquired items; blocks while the backlog is long, so that reading waits for it."""
        with self._changed:
            self._changed.wait_for(
                lambda: len(self._waiting) < _VERIFY_BACKLOG_ITEMS or self._abandon.is_set()
            )
            self._waiting.extend(item_ids)
            self._changed.notify_all()

    def put_left_over(self) -> None:
        """Take items that an earlier process acquired, or whose read-back failed and is due."""
        with self._shop.engine.connect() as conn:
            rows = items.in_states(conn, [ItemState.ACQUIRED])
        now_ms = clock.now_ms()
        with self._changed:
            known = set(self._waiting)
            if self._busy:
                return
            self._waiting.extend(
                row.item_id for row in rows if row.due_ms <= now_ms and row.item_id not in known
            )
            self._changed.notify_all()

    def idle(self) -> bool:
        """Whether nothing waits and nothing is being read back."""
        with self._changed:
            return not self._waiting and not self._busy

    def wake(self) -> None:
        """Have waiting threads look at `abandon` again."""
        with self._changed:
            self._changed.notify_all()

    def run_once(self, timeout_s: float) -> bool:
        """Verify the next batch.

        Args:
            timeout_s: how long to wait for one.

        Returns:
            Whether there was one.

        Raises:
            IngestError: only those whose disposition is HALT; all others are persisted.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._abandon.is_set(), timeout_s)
            if not self._waiting or self._abandon.is_set():
                return False
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_ITEMS))]
            self._busy += 1
            self._changed.notify_all()
        try:
            self._verify(batch)
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()
        return True

    def _verify(self, item_ids: Sequence[str]) -> None:
        with self._shop.engine.connect() as conn:
            rows = [row for row in items.by_ids(conn, item_ids) if row.state is ItemState.ACQUIRED]
        for batch in _batches(rows):
            copies = [Acquired(row.item_id, row.digests(), row.staged_path) for row in batch]
            outcomes = self._shop.acquirer.read_back_batch(copies)
            held = [
                (row, outcome)
                for row, outcome in zip(batch, outcomes, strict=True)
                if not isinstance(outcome, IngestError)
            ]
            if held:
                with self._shop.ledger.transaction() as txn:
                    still = findings.open_pairs(txn.conn, [ReadBackMismatchError.code])
                    for row, how in held:
                        self._record_verified(txn, row, how, still)
            for row, how in held:
                log.info("item.verified", item_id=row.item_id, read_back=how)
            for row, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, IngestError):
                    self._failed(row, outcome)

    def _record_verified(
        self, txn: Txn, row: ItemRow, how: str, open_findings: Container[tuple[str, str]]
    ) -> None:
        digests = row.digests()
        seq = items.record(
            txn,
            row,
            ItemEvent.VERIFIED,
            {"sha256": digests.sha256.hex(), "read_back": how},
            attempts=0,
            due_ms=0,
            last_error="",
        )
        subject = f"item:{row.item_id}"
        if (ReadBackMismatchError.code, subject) in open_findings:
            findings.close_finding(
                txn, clock.now_text(), code=ReadBackMismatchError.code, subject=subject
            )
        queue_uploads(self._shop, txn, row, verified_seq=seq)

    def _failed(self, row: ItemRow, error: IngestError) -> None:
        if error.disposition is Disposition.HALT:
            raise error
        if isinstance(error, AbandonedError):
            # Still acquired: the next start reads it back.
            return
        log.error(
            "item.read_back_failed",
            item_id=row.item_id,
            error=error.code,
            message=error.message,
            staged=row.staged_path,
        )
        with self._shop.ledger.transaction() as txn:
            if error.disposition is Disposition.QUARANTINE:
                reject_copy(txn, row, error)
            else:
                _postpone(self._shop, txn, row, error)


def reject_copy(txn: Txn, row: ItemRow, error: IngestError) -> None:
    """Record that a staged copy was no good and that the item is to be read again.

    Args:
        txn: the open transaction.
        row: the item, acquired or verified.
        error: what was wrong; a mismatch names where the bad copy is kept.
    """
    quarantined = error.quarantined if isinstance(error, ReadBackMismatchError) else ""
    items.record(
        txn,
        row,
        ItemEvent.COPY_REJECTED,
        {"reason": error.code, "quarantined": quarantined},
        staged_path="",
        attempts=0,
        due_ms=0,
        last_error="",
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


def queue_uploads(shop: Workshop, txn: Txn, row: ItemRow, *, verified_seq: int) -> None:
    """Queue a verified item for every store, in the transaction that says it is verified.

    Args:
        shop: targets and names.
        txn: the open transaction.
        row: the item.
        verified_seq: its `item.verified` entry, told to the stores.
    """
    moment = clock.parse_rfc3339(row.discovered_at)
    key = objectkeys.evidence_key(row.camera, moment, row.docking_id, row.item_id, row.path)
    checkpoint = shop.ledger.head.checkpoint
    metadata = {
        "item-id": row.item_id,
        "sha256": row.digests().sha256.hex(),
        "camera": objectkeys.safe_segment(row.camera),
        "dock": objectkeys.safe_segment(shop.dock_id),
        "ledger-entry": str(verified_seq),
        "custody-checkpoint": base64.b64encode(checkpoint.encode()).decode("ascii"),
        **objectkeys.source_path_metadata(row.path),
    }
    uploads.queue_item(
        txn,
        clock.now_text(),
        row.item_id,
        [(target.name, target.required) for target in shop.targets],
        key,
        metadata,
    )
