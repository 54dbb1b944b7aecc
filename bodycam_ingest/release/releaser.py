"""Gathers the facts that `release.decide` judges, and records what it decided.

While a camera is docked its items are released together, when the whole docking stands. After it
has left, each item is released alone: whatever else was on the card is the next docking's matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from bodycam_ingest.custody import item_entries
from bodycam_ingest.db import agenda, dockings, docktime, findings, items, knownstores, outbox
from bodycam_ingest.db.commit_watch import News
from bodycam_ingest.db.row_check import OpenAlarms, altered_docking, altered_items
from bodycam_ingest.errors import StateAlteredError
from bodycam_ingest.model.lifecycle import ItemState
from bodycam_ingest.release.decision import Decision, DockingFacts, ItemStanding, Live, decide

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter, Txn

log = structlog.get_logger(__name__)

POLICY_KEEP = "keep"


def docking_facts(
    conn: Connection, docking_id: str, live: Live, required: Sequence[str]
) -> DockingFacts:
    """One snapshot of a docking for `release.decide`."""
    lacking = knownstores.lacking_in_docking(conn, docking_id, required)
    return DockingFacts(
        inventoried=dockings.get(conn, docking_id).inventoried,
        unsettled=live.unsettled,
        unplanned=live.unplanned,
        unlisted=live.unlisted,
        items=[
            ItemStanding(
                item_id=row["item_id"],
                state=ItemState(row["state"]),
                confirmed_seq=row["confirmed_seq"],
                last_error=row["last_error"],
                lacking=lacking.get(row["item_id"], ()),
            )
            for row in dockings.inventory_items(conn, docking_id)
        ],
        alarms=findings.docking_alarms(conn, docking_id),
        anchored_size=outbox.anchored_size(conn, required),
    )


class Releaser:
    """Releases what may go.

    Args:
        engine: for reads.
        ledger: the only way to write.
        required: names of the required stores.
    """

    def __init__(self, engine: Engine, ledger: LedgerWriter, required: Sequence[str]) -> None:
        self._engine = engine
        self._ledger = ledger
        self._required = required
        self._news = News(lambda: ledger.commits)
        self._live: Mapping[str, Live] = {}
        self._alarms = OpenAlarms()

    def judge(self, docking_id: str, live: Live) -> Decision:
        """What the docking's bay shows now, and why."""
        with self._engine.connect() as conn:
            return decide(docking_facts(conn, docking_id, live, self._required))

    def tick(self, live: Mapping[str, Live]) -> int:
        """Release every item that may go.

        Args:
            live: the dockings whose camera is there, by id.

        Returns:
            How many items were released.
        """
        if not self._news.due() and live == self._live:
            return 0
        self._news.looked()
        self._live = dict(live)
        with self._engine.connect() as conn:
            waiting = agenda.dockings_to_release(conn)
        released = 0
        on_cameras: set[str] | None = None
        for docking_id in waiting:
            if docking_id in live:
                released += self._release_docking(docking_id, live[docking_id])
                continue
            if on_cameras is None:
                # Once a look: a hundred dockings may wait while a large card is listed.
                with self._engine.connect() as conn:
                    on_cameras = _on_cameras(conn, live)
            released += self._release_alone(docking_id, live, on_cameras)
        return released

    def _release_docking(self, docking_id: str, live: Live) -> int:
        if not self.judge(docking_id, live).release:
            return 0
        with self._ledger.transaction() as txn:
            # Judged again inside of the transaction that records it: nothing moved between.
            if not decide(docking_facts(txn.conn, docking_id, live, self._required)).release:
                return 0
            rows = _confirmed(txn.conn, docking_id)
            if not self._stands(txn, docking_id, rows) or len(_unaltered(txn, rows)) < len(rows):
                return 0
            _record(txn, rows, docking_id, docked=True)
        log.info("docking.released", docking_id=docking_id, items=len(rows))
        return len(rows)

    def _stands(self, txn: Txn, docking_id: str, found: Sequence[ItemRow]) -> bool:
        """Whether the docking's row, and that no alarm is open, is what the entries say as well."""
        row = dockings.get(txn.conn, docking_id)
        wrong = altered_docking(txn.conn, row)
        alarms = self._alarms.touching(txn.conn, row, {item.item_id for item in found})
        if not wrong and alarms:
            wrong = f"by the ledger alarms are open: {', '.join(alarms)}"
        if wrong:
            findings.raise_finding(
                txn,
                code=StateAlteredError.code,
                severity="alarm",
                subject=f"docking:{docking_id}",
                detail=f"docking {docking_id}: {wrong}",
                docking_id=docking_id,
            )
        return not wrong

    def _release_alone(
        self, docking_id: str, live: Mapping[str, Live], on_cameras: Collection[str]
    ) -> int:
        with self._engine.connect() as conn:
            if not self._free(conn, docking_id, on_cameras):
                return 0
        with self._ledger.transaction() as txn:
            # Judged again inside of the transaction that records it: nothing moved between.
            rows = _unaltered(txn, self._free(txn.conn, docking_id, _on_cameras(txn.conn, live)))
            if not rows:
                return 0
            _record(txn, rows, docking_id, docked=False)
        log.info("docking.released", docking_id=docking_id, items=len(rows))
        return len(rows)

    def _free(
        self, conn: Connection, docking_id: str, on_cameras: Collection[str]
    ) -> list[ItemRow]:
        """Confirmed, anchored items of a docking that ended, on no camera that is docked now."""
        anchored = outbox.anchored_size(conn, self._required)
        lacking = knownstores.lacking_in_docking(conn, docking_id, self._required)
        return [
            row
            for row in _confirmed(conn, docking_id)
            if row.item_id not in on_cameras
            and row.item_id not in lacking
            and row.confirmed_seq is not None
            and row.confirmed_seq < anchored
            and not findings.item_alarms(conn, row.item_id)
        ]


def _on_cameras(conn: Connection, live: Iterable[str]) -> set[str]:
    """Ids of the items of every docking whose camera is there."""
    return {row["item_id"] for other in live for row in dockings.inventory_items(conn, other)}


def _confirmed(conn: Connection, docking_id: str) -> list[ItemRow]:
    ids = [
        row["item_id"]
        for row in dockings.inventory_items(conn, docking_id)
        if row["state"] == ItemState.CONFIRMED.value
    ]
    return items.by_ids(conn, ids)


def _unaltered(txn: Txn, found: Sequence[ItemRow]) -> list[ItemRow]:
    """Those whose rows are what their entries make; of each other one a person is told."""
    altered = altered_items(txn.conn, [row.item_id for row in found])
    for row in found:
        if row.item_id in altered:
            findings.raise_finding(
                txn,
                code=StateAlteredError.code,
                severity="alarm",
                subject=row.subject,
                detail=altered[row.item_id],
                docking_id=row.docking_id,
                item_id=row.item_id,
            )
    return [row for row in found if row.item_id not in altered]


def _record(txn: Txn, found: Sequence[ItemRow], docking_id: str, *, docked: bool) -> None:
    dock_ms = docktime.now_ms(txn.conn)
    items.steps(
        txn,
        [
            (
                row,
                item_entries.released(
                    row.item_id,
                    docking_id=docking_id,
                    docked=docked,
                    dock_ms=dock_ms,
                    policy=POLICY_KEEP,
                ),
            )
            for row in found
        ],
    )
