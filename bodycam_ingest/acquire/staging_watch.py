"""How staging stands as a whole, and what waits for it.

A full, read-only or missing staging disk is one trouble, not one for each file: it is decided once
a listing, reported once, and what waits for it waits together, for a growing time that is
persisted. A cheap look every few seconds finds that it is over. A file that does not fit waits
alone.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from bodycam_ingest.db import findings, items
from bodycam_ingest.errors import StagingError, StagingFullError, StagingTooSmallError
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter
    from bodycam_ingest.model.backoff import Delay
    from bodycam_ingest.model.subjects import Subject
    from bodycam_ingest.staging import FreeSpace, Space


FULL: Final = StagingFullError.code
# What an item waits on that need not wait for its time once there is space.
FOR_SPACE: Final = frozenset({FULL, StagingTooSmallError.code})
STAGING_ERRORS: Final[Sequence[type[StagingError]]] = (StagingError, *StagingError.__subclasses__())
_NOT_FULL: Final = frozenset(kind.code for kind in STAGING_ERRORS) - FOR_SPACE


class StagingWatch:
    """Decides what of a card may be copied now and what must wait for staging; for all dockings."""

    def __init__(
        self, engine: Engine, ledger: LedgerWriter, free_space: FreeSpace, delay_s: Delay
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._free_space = free_space
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._reported: set[str] = set()
        # A finding of an earlier process may be open.
        self._fresh = True
        # The disk said no although the look said yes (a quota, bad sectors): one file at its due
        # time finds out whether that is over.
        self._refused = False
        # Items whose finished copy a start found and whose digests are still being taken.
        self.recovering: set[str] = set()

    def choose(self, due: Sequence[ItemRow], waiting: Sequence[ItemRow]) -> list[ItemRow]:
        """What of one camera is to be copied now; what must wait is postponed.

        Args:
            due: items whose time has come.
            waiting: items whose time has not come and that wait for space alone.
        """
        due = [row for row in due if row.item_id not in self.recovering]
        with self._lock:
            if self._refused:
                able = sorted(due, key=lambda row: row.size_bytes)[:1]
            else:
                able = [*due, *waiting]
            if not able:
                return []
            space = self._space(due)
            if space is None:
                return []
            chosen, left_bytes = [], space.free_bytes
            for row in able:
                if row.size_bytes <= left_bytes:
                    chosen.append(row)
                    left_bytes -= row.size_bytes
            if not chosen:
                self._wait_for_space(due, waiting, space)
            return chosen

    def refused(self, rows: Sequence[ItemRow], error: StagingError) -> None:
        """Note that the disk refused a copy: `rows`, the refused first, wait for it together."""
        with self._lock:
            self._refused = True
            self._wait(rows, error)

    def unreadable(self, rows: Sequence[ItemRow], error: StagingError) -> None:
        """Note that copies could not be asked, as where staging is gone: they wait together."""
        with self._lock:
            self._wait(rows, error)

    def took(self) -> None:
        """Note that a copy was made."""
        with self._lock:
            self._refused = False
            reported = bool(self._reported)
        if reported:
            self.look()

    def usable(self) -> bool:
        """Whether staging is there and can be written; reported where it is not."""
        with self._lock:
            return self._space() is not None

    def _space(self, rows: Sequence[ItemRow] = ()) -> Space | None:
        """The free space; None where staging is unusable: reported, and `rows` wait for it."""
        try:
            return self._free_space.look()
        except StagingError as error:
            self._wait(rows, error)
            return None

    def look(self) -> bool:
        """Find out, every few seconds, whether a trouble began or ended.

        Returns whether something that waited may continue.
        """
        with self._lock:
            space = self._space()
            if space is None or self._refused or not (self._reported or self._fresh):
                return False
            self._fresh = False
            return self._over(space)

    def _over(self, space: Space) -> bool:
        with self._engine.connect() as conn:
            lasting = set()
            for_space = [size_bytes for _, size_bytes in items.waiting_on(conn, [FULL])]
            if for_space and min(for_space) > space.free_bytes:
                lasting.add(FULL)
            ended = {
                code
                for code, subject in findings.open_pairs(conn, {*_NOT_FULL, FULL} - lasting)
                if subject == subjects.STAGING
            }
            held = items.waiting_on(conn, ended & _NOT_FULL)
        self._reported &= lasting
        if not ended:
            return False
        with self._ledger.transaction() as txn:
            for code in sorted(ended):
                findings.close_finding(txn, code=code, subject=subjects.STAGING)
            items.make_due(txn, [item_id for item_id, _ in held])
        log.info("staging.well", errors=sorted(ended), free_bytes=space.free_bytes)
        return True

    # -- what waits --

    def _wait_for_space(
        self, due: Sequence[ItemRow], waiting: Sequence[ItemRow], space: Space
    ) -> None:
        never = [row for row in due if row.size_bytes > space.whole_bytes]
        full = [row for row in due if row.size_bytes <= space.whole_bytes]
        if full:
            others = [row for row in waiting if row.last_error == FULL]
            size_bytes = sum(row.size_bytes for row in [*full, *others])
            self._wait(
                full,
                StagingFullError(
                    f"{len(full) + len(others)} files of {size_bytes} bytes wait for space in "
                    f"staging, {max(0, space.free_bytes)} bytes are left"
                ),
            )
        if never:
            self._wait_alone(never, space)

    def _wait_alone(self, rows: Sequence[ItemRow], space: Space) -> None:
        first = rows[0]
        error = StagingTooSmallError(
            f"{len(rows)} files on camera {first.camera} are larger than all of staging "
            f"({space.whole_bytes} bytes), such as {printable_path(first.path)} with "
            f"{first.size_bytes} bytes"
        )
        self._postpone(rows, error, subject=subjects.camera(first.camera))

    def _wait(self, rows: Sequence[ItemRow], error: StagingError) -> None:
        reported = error.code in self._reported
        if reported and not rows:
            return
        self._postpone(rows, error, subject=subjects.STAGING)
        self._reported.add(error.code)
        if reported:
            return
        if isinstance(error, StagingFullError):
            log.warning("staging.full", files=len(rows), message=error.message, hint=error.hint)
        else:
            log.error("staging.unusable", error=error.code, message=error.message, hint=error.hint)

    def _postpone(self, rows: Sequence[ItemRow], error: StagingError, *, subject: Subject) -> None:
        with self._ledger.transaction() as txn:
            if rows:
                tries = max(row.attempts for row in rows) + 1
                due_ms = clock.now_ms() + round(self._delay_s(error.delay_class, tries) * 1000)
                ids = [row.item_id for row in rows]
                items.postpone(txn, ids, attempts=tries, due_ms=due_ms, error=error.code)
            findings.alarm(txn, subject, error.code, error.message)
