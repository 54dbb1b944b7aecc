"""Cameras that left before all recordings were copied: a notice stands until they bring the rest.

A notice, no alarm: what was copied is safe, and the camera's next docking is not held up by it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.db import dockings, findings
from bodycam_ingest.db.findings import LEFT_EARLY
from bodycam_ingest.model import subjects
from bodycam_ingest.model.lifecycle import APART, COPIED

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import Engine

    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.model.rows import Docking

# The camera was seen to go.
REMOVED: Final = "removed"
# A docking that nobody saw end.
RESTARTED: Final = "daemon_restarted"
# After a start, mounting included, every camera that is still there has a docking again.
_GRACE_S: Final = 60.0


def shortfall(conn: sa.Connection, row: Docking) -> str:
    """What an ended docking did not copy, for people; empty where all that could be was."""
    states = dockings.tally(conn, row.docking_id).states
    # Those apart have findings of their own, and docking the camera again brings nothing.
    short = sum(number for state, number in states.items() if state not in COPIED | APART)
    words = f"{short} of {states.total()} recordings not copied" if short else ""
    if row.inventoried:
        return words
    return "it was not listed to its end" + (f"; of what was seen, {words}" if words else "")


def settle(txn: Txn, row: Docking) -> None:
    """Open or close the notice about a camera whose docking ended as `row`."""
    words = shortfall(txn.conn, row)
    if not words:
        brought(txn, row)
    elif row.end_reason == REMOVED:
        _raise(txn, row, words)


def brought(txn: Txn, row: Docking) -> None:
    """Close the notice, because this docking has all that its volume holds on the dock.

    A camera with several volumes keeps it while another of them left early.
    """
    subject = subjects.camera(row.camera)
    if not findings.close_finding(txn, code=LEFT_EARLY, subject=subject):
        return
    for other in dockings.newest_of_volumes(txn.conn, row.camera):
        if other.volume != row.volume and other.ended_at is not None:
            words = shortfall(txn.conn, other)
            if words:
                _raise(txn, other, words)
                return


def all_copied(engine: Engine, ledger: LedgerWriter, row: Docking) -> None:
    """Close the notice while the camera is still docked; nothing is written where none is open."""
    with engine.connect() as conn:
        if (LEFT_EARLY, subjects.camera(row.camera)) not in findings.open_pairs(conn, [LEFT_EARLY]):
            return
    with ledger.transaction() as txn:
        brought(txn, row)


def _raise(txn: Txn, row: Docking, words: str) -> None:
    # With the figures of now, where it left early before.
    subject = subjects.camera(row.camera)
    findings.close_finding(txn, code=LEFT_EARLY, subject=subject)
    detail = f"camera {row.camera} left {row.bay} early: {words}; dock it again"
    findings.notice(txn, subject, LEFT_EARLY, detail, docking_id=row.docking_id)


class Absentees:
    """Cameras that were pulled while no daemon ran."""

    def __init__(self, engine: Engine, ledger: LedgerWriter) -> None:
        self._engine = engine
        self._ledger = ledger
        self._due_s: float | None = time.monotonic() + _GRACE_S

    def tick(self) -> None:
        """Once, when every camera had the time to be docked again: report those that were not."""
        if self._due_s is None or time.monotonic() < self._due_s:
            return
        self._due_s = None
        with self._engine.connect() as conn:
            away = [row for row in dockings.ended_incomplete(conn) if _is_unreported(conn, row)]
        if not away:
            return
        with self._ledger.transaction() as txn:
            for row in away:
                newest = dockings.newest_of_volumes(txn.conn, row.camera)
                words = shortfall(txn.conn, row)
                if words and row in newest:
                    _raise(txn, row, words)


def _is_unreported(conn: sa.Connection, row: Docking) -> bool:
    """Whether nobody saw this docking end, and no notice was raised."""
    return row.end_reason == RESTARTED and not findings.was_raised(conn, LEFT_EARLY, row.docking_id)
