"""What a start does before work begins: reconciles what the last process left with the ledger.

There is no clean start: a start after a power cut runs through the same steps as every other.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Final

from bodycam_ingest.acquire import record_acquired, take_back
from bodycam_ingest.custody import item_entries
from bodycam_ingest.db import dockings, findings, items, uploads
from bodycam_ingest.docking import RESTARTED, end_docking
from bodycam_ingest.errors import (
    AbandonedError,
    DelayClass,
    Disposition,
    IngestError,
    ItemMovedError,
    LocalCopyDamagedError,
    ReadBackUnprovenError,
    StagingError,
    StagingMissingError,
    StagingUnreadableError,
)
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects
from bodycam_ingest.model.backoff import is_due
from bodycam_ingest.model.evidence import Acquired, part_size_for
from bodycam_ingest.model.lifecycle import COPY_NEEDED, ItemState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bodycam_ingest.acquire import StagingWatch
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.docking import DockContext
    from bodycam_ingest.model.backoff import Delay
    from bodycam_ingest.staging import SealedCopy, StagedCopies, UnexpectedName


_UNEXPECTED: Final = "staging_strange"
_MISSING_AT_ONCE: Final = 500
_LOOK_AGAIN_S: Final = 5.0
_IDLE_S: Final = 5.0


class Recovery:
    """Reconciles staging and dockings with the ledger.

    The start only looks: names are few and cheap. Copies whose digests have to be taken again are
    hashed one a step while the dock works already; what cannot be read waits, and is an alarm.
    `watch` tells that staging is gone, and keeps items from being read while their copy is hashed.
    """

    def __init__(
        self,
        dock: DockContext,
        copies: StagedCopies,
        watch: StagingWatch,
        *,
        part_size_bytes: int,
        delay_s: Delay,
    ) -> None:
        self._dock = dock
        self._copies = copies
        self._watch = watch
        self._part_size_bytes = part_size_bytes
        self._delay_s = delay_s
        self._looked = False
        self._waiting: collections.deque[SealedCopy] = collections.deque()

    def begin(self, progress: Callable[[], None]) -> None:
        """What must be reconciled before any thread works; calls `progress` again and again.

        Raises:
            IngestError: the ledger cannot be used; nothing was lost.
        """
        self._look(discard=True, progress=progress)
        with self._dock.ledger.transaction() as txn:
            uploads.restore_work(txn.conn)
        with self._dock.engine.connect() as conn:
            left_open = dockings.open_dockings(conn)
        for docking in left_open:
            progress()
            end_docking(self._dock, docking.docking_id, RESTARTED)

    def step(self, progress: Callable[[int], None]) -> float | None:
        """Reconcile one copy, calling `progress` with the bytes read since the last call.

        Returns the seconds until there is more to do, None when nothing is left.

        Raises:
            IngestError: only those whose disposition is HALT, or the process ends.
        """
        if not self._looked:
            # Somebody may be writing by now: what was cut short goes at the next start.
            self._look(discard=False, progress=lambda: progress(0))
            return 0.0 if self._looked else _LOOK_AGAIN_S
        for _ in range(len(self._waiting)):
            copy = self._waiting.popleft()
            with self._dock.engine.connect() as conn:
                found = items.by_ids(conn, [copy.item_id])
            if found and _was_missed(found[0]) and found[0].staged_path == copy.staged_path:
                self._take_back(found[0], progress)
                return 0.0
            if not found or found[0].state is not ItemState.DISCOVERED:
                self._watch.recovering.discard(copy.item_id)
                continue
            if not is_due(found[0].due_ms, clock.now_ms()):
                self._waiting.append(copy)
                continue
            self._reconcile(copy, found[0], progress)
            return 0.0
        return _IDLE_S if self._waiting else None

    def _look(self, *, discard: bool, progress: Callable[[], None]) -> None:
        if not self._watch.usable():
            return
        try:
            found = self._copies.staging.recover(discard=discard, progress=progress)
        except StagingError as error:
            self._watch.unreadable([], error)
            return
        self._looked = True
        with self._dock.engine.connect() as conn:
            ids = [copy.item_id for copy in found.sealed]
            known = {row.item_id: row for row in items.by_ids(conn, ids)}
            needed = items.in_states(conn, COPY_NEEDED)
        for copy in found.sealed:
            row = known.get(copy.item_id)
            if row is not None and row.staged_path == copy.staged_path and not _was_missed(row):
                continue
            if row is None or not (row.state is ItemState.DISCOVERED or _was_missed(row)):
                # Orphaned: kept where it is, and reported; `verify --files` names it as well.
                _orphaned(self._dock, copy)
                continue
            self._watch.recovering.add(copy.item_id)
            self._waiting.append(copy)
        self._report_unexpected(found.faults)
        there = {copy.staged_path for copy in found.sealed}
        # What lies in a directory that could not be listed is not known to be missing.
        unseen = tuple(fault.docking_id for fault in found.faults if fault.docking_id)
        missing = [
            row
            for row in needed
            if row.staged_path not in there and not row.staged_path.startswith(unseen)
        ]
        for start in range(0, len(missing), _MISSING_AT_ONCE):
            progress()
            _missing(self._dock, missing[start : start + _MISSING_AT_ONCE])

    def _report_unexpected(self, faults: Sequence[UnexpectedName]) -> None:
        detail = ""
        if faults:
            detail = f"{len(faults)} things in staging cannot be used, such as {faults[0].why}"
        wanted = {(_UNEXPECTED, subjects.STAGING): detail}
        findings.hold(self._dock.engine, self._dock.ledger, wanted)

    def _reconcile(self, copy: SealedCopy, row: ItemRow, progress: Callable[[int], None]) -> None:
        try:
            part_size_bytes = part_size_for(row.size_bytes, self._part_size_bytes)
            digests = self._copies.rehash(copy.staged_path, row.path, part_size_bytes, progress)
        except AbandonedError:
            self._waiting.append(copy)
            raise
        except IngestError as error:
            if error.disposition is Disposition.HALT:
                raise
            self._unreadable(copy, row, error)
            return
        if digests.sha256 != copy.sha256:
            self._quarantine(copy, row, "it is not what its name says")
            return
        try:
            with self._dock.ledger.transaction() as txn:
                got = Acquired(row.item_id, digests, copy.staged_path)
                record_acquired(txn, [(row, got)], recovered=True)
        except ItemMovedError as error:
            log.warning("item.moved", item_id=row.item_id, message=error.message)
        else:
            log.info("item.recovered", item_id=row.item_id, sha256=digests.sha256.hex())
        self._watch.recovering.discard(row.item_id)

    def _take_back(self, row: ItemRow, progress: Callable[[int], None]) -> None:
        """Take a copy that was missed and lies in its place again, if it is what was read."""
        self._watch.recovering.discard(row.item_id)
        stores = [name for name, _ in self._dock.stores]
        try:
            digests = take_back(
                self._dock.ledger,
                self._copies,
                row,
                stores,
                progress,
                ended=[StagingMissingError.code],
            )
        except AbandonedError:
            raise
        except IngestError as error:
            if error.disposition is Disposition.HALT:
                raise
            # It stays in quarantine, for a person or until its camera is docked.
            log.warning(
                "item.not_taken_back", item_id=row.item_id, error=error.code, message=error.message
            )
        else:
            log.info("item.taken_back", item_id=row.item_id, sha256=digests.sha256.hex())

    def _unreadable(self, copy: SealedCopy, row: ItemRow, error: IngestError) -> None:
        if isinstance(error, StagingUnreadableError):
            # Bad sectors, or no file: it is read off its camera again.
            self._quarantine(copy, row, error.message)
            return
        log.error(
            "item.recovery_waits", item_id=row.item_id, error=error.code, message=error.message
        )
        attempts = row.attempts + 1
        # Cheap to try; where all of it is read for nothing, seldom.
        slow = isinstance(error, ReadBackUnprovenError)
        delay_class = error.delay_class if slow else DelayClass.SHORT
        due_ms = clock.now_ms() + round(self._delay_s(delay_class, attempts) * 1000)
        with self._dock.ledger.transaction() as txn:
            items.postpone(txn, [row.item_id], attempts=attempts, due_ms=due_ms, error=error.code)
            findings.alarm_item(txn, row, error.code, error.message)
        self._waiting.append(copy)

    def _quarantine(self, copy: SealedCopy, row: ItemRow, why: str) -> None:
        try:
            kept = self._copies.staging.move_to_quarantine(copy.staged_path)
        except StagingError as error:
            kept = f"{copy.staged_path} ({error.message})"
        log.error("item.recovered_copy_bad", item_id=row.item_id, quarantined=kept)
        with self._dock.ledger.transaction() as txn:
            detail = f"a copy left by a crash cannot be used ({why}); kept as {kept}"
            findings.alarm_item(txn, row, LocalCopyDamagedError.code, detail)
        self._watch.recovering.discard(row.item_id)


def _was_missed(row: ItemRow) -> bool:
    """Whether an item is in quarantine for no other reason than that its copy was not there."""
    return row.state is ItemState.QUARANTINED and row.quarantine_reason == StagingMissingError.code


def _orphaned(dock: DockContext, copy: SealedCopy) -> None:
    log.warning("staging.stray_copy", staged=copy.staged_path)
    with dock.ledger.transaction() as txn:
        detail = f"{copy.staged_path} belongs to no item in that state"
        findings.notice(txn, subjects.item(copy.item_id), "stray_copy", detail)


def _missing(dock: DockContext, rows: Sequence[ItemRow]) -> None:
    code = StagingMissingError.code
    first = rows[0]
    log.error(
        "item.copy_missing",
        items=len(rows),
        item_id=first.item_id,
        staged=first.staged_path,
        hint=StagingMissingError.default_hint,
    )
    with dock.ledger.transaction() as txn:
        for row in rows:
            items.step(txn, row, item_entries.quarantined(row.item_id, reason=code))
            findings.alarm_item(txn, row, code, f"{row.staged_path!r} is not in staging")
