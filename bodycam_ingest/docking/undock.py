"""How a docking ends on record, watched or not: entry and manifest in one transaction.

A camera that left before all of it was copied has a notice until it brings the rest; no alarm,
because what was copied is safe.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.custody import entries
from bodycam_ingest.custody.inventory import lines_of
from bodycam_ingest.db import dockings, findings, own_objects
from bodycam_ingest.db.findings import LEFT_EARLY
from bodycam_ingest.docking.camera_findings import INCOMPLETE, UNLISTABLE
from bodycam_ingest.docking.manifest import build_manifest
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects
from bodycam_ingest.model.lifecycle import APART, COPIED
from bodycam_ingest.model.rows import Item

if TYPE_CHECKING:
    from collections.abc import Sequence

    import sqlalchemy as sa
    from sqlalchemy import Engine

    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.model.rows import Docking


# A docking's own findings, which end with it.
_OWN: Final = (UNLISTABLE, INCOMPLETE)


@dataclasses.dataclass(frozen=True, slots=True)
class DockContext:
    """The dock as its dockings need it; `stores` are all, with whether each is required."""

    dock_id: str
    engine: Engine
    ledger: LedgerWriter
    stores: Sequence[tuple[str, bool]]


def end_docking(dock: DockContext, docking_id: str, reason: str) -> None:
    """Record a docking's end: entry, findings of its own, the manifest.

    `reason` is `removed`, or `daemon_restarted` where nobody watched it end.
    """
    with dock.ledger.transaction() as txn:
        row = dockings.get(txn.conn, docking_id)
        here = dockings.tally(txn.conn, docking_id).states
        states = {state.value: number for state, number in here.items()}
        closed = [
            findings.close_finding(txn, code=code, subject=subjects.docking(docking_id))
            for code in _OWN
        ]
        # What could not be listed at the end is not known, whatever was listed before.
        whole = row.inventoried and not any(closed)
        complete = whole and here.keys() <= COPIED
        lines = lines_of(dockings.inventory(txn.conn, row))
        named = [line["item_id"] for line in lines if line["item_id"]]
        txn.rows.prefetch(Item, named)
        body = build_manifest(
            dock=dock.dock_id,
            origin=dock.ledger.origin,
            docking=row._replace(ended_at=clock.now_text(), complete=complete),
            ledger_entry=txn.size,
            lines=lines,
            items={item_id: txn.rows.get(Item, item_id) for item_id in named},
        )
        undocked = entries.camera_undocked(
            row.camera,
            docking_id=docking_id,
            reason=reason,
            complete=complete,
            items=states,
            manifest_sha256=txn.rows.keep_document(body),
        )
        txn.add(undocked)
        own_objects.restore_work(txn.conn)
        row = dockings.get(txn.conn, docking_id)
        settle(txn, row._replace(inventoried=whole))
    level = log.info if complete else log.warning
    level(
        "camera.undocked",
        camera=row.camera,
        docking_id=docking_id,
        reason=reason,
        complete=complete,
        items=dict(states),
    )


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
