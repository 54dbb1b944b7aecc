"""Gathers the facts that `release.decide` judges, and records what it decided.

While a camera is docked its items are released together, when the whole docking stands. After it
has left, each item is released alone: whatever else was on the card is the next docking's matter.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from bodycam_ingest.custody import inventory, item_entries
from bodycam_ingest.db import (
    dock_time,
    dockings,
    findings,
    items,
    known_stores,
    own_objects,
    releases,
)
from bodycam_ingest.db.commit_watch import CommitWatch
from bodycam_ingest.db.row_check import OpenAlarms, altered_docking, altered_items
from bodycam_ingest.errors import DatabaseDamagedError, StateAlteredError
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects
from bodycam_ingest.model.lifecycle import ItemState
from bodycam_ingest.release.decision import Decision, DockingFacts, ItemStanding, Live, decide

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Connection, Engine

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.model.rows import Docking


POLICY_KEEP = "keep"


def docking_facts(
    conn: Connection, docking_id: str, live: Live, required: Sequence[str]
) -> DockingFacts:
    """One snapshot of a docking for `release.decide`."""
    lacking = known_stores.lacking_in_docking(conn, docking_id, required)
    return DockingFacts(
        inventoried=dockings.get(conn, docking_id).inventoried,
        live=live,
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
        anchored_size=own_objects.anchored_size(conn, required),
    )


class Releaser:
    """Releases what may go."""

    def __init__(self, engine: Engine, ledger: LedgerWriter, required: Sequence[str]) -> None:
        self._engine = engine
        self._ledger = ledger
        self._required = required
        self._commits = CommitWatch(lambda: ledger.commits)
        self._live: Mapping[str, Live] = {}
        self._alarms = OpenAlarms()

    def judge(self, docking_id: str, live: Live) -> Decision:
        """What the docking's bay shows now, and why."""
        with self._engine.connect() as conn:
            return decide(docking_facts(conn, docking_id, live, self._required))

    def tick(self, live: Mapping[str, Live]) -> int:
        """Release every item that may go; `live` are the dockings whose camera is there."""
        if not self._commits.due() and live == self._live:
            return 0
        self._commits.looked()
        self._live = dict(live)
        with self._engine.connect() as conn:
            waiting = releases.dockings_to_release(conn, live)
        released = sum(
            self._release_docking(docking_id, live[docking_id]) for docking_id in waiting
        )
        return released + self._release_alone(live)

    def _release_docking(self, docking_id: str, live: Live) -> int:
        if not self.judge(docking_id, live).release:
            return 0
        with self._ledger.transaction() as txn:
            # Judged again inside of the transaction that records it: nothing moved between.
            if not decide(docking_facts(txn.conn, docking_id, live, self._required)).release:
                return 0
            if not self._stands(txn, docking_id):
                return 0
            rows = _confirmed(txn.conn, docking_id)
            _record(txn, rows, docked=True)
        log.info("docking.released", docking_id=docking_id, items=len(rows))
        return len(rows)

    def _stands(self, txn: Txn, docking_id: str) -> bool:
        """Whether its row, its items' rows and that no alarm is open are what the entries say."""
        row = dockings.get(txn.conn, docking_id)
        here = [one["item_id"] for one in dockings.inventory_items(txn.conn, docking_id)]
        wrong = altered_docking(txn.conn, row) or _hidden(txn.conn, row, set(here))
        alarms = self._alarms.touching(txn.conn, row, set(here))
        if not wrong and alarms:
            wrong = f"by the ledger alarms are open: {', '.join(alarms)}"
        if wrong:
            findings.alarm(
                txn,
                subjects.docking(docking_id),
                StateAlteredError.code,
                f"docking {docking_id}: {wrong}",
                docking_id=docking_id,
            )
        return not wrong and len(_unaltered(txn, items.by_ids(txn.conn, here))) == len(here)

    def _release_alone(self, live: Collection[str]) -> int:
        with self._engine.connect() as conn:
            if not self._free(conn, live):
                return 0
        with self._ledger.transaction() as txn:
            # Judged again inside of the transaction that records it: nothing moved between.
            rows = _unaltered(txn, self._free(txn.conn, live))
            if rows:
                _record(txn, rows, docked=False)
        counts = collections.Counter(row.seen_docking_id for row in rows)
        for docking_id, count in sorted(counts.items()):
            log.info("docking.released", docking_id=docking_id, items=count)
        return len(rows)

    def _free(self, conn: Connection, live: Collection[str]) -> list[ItemRow]:
        anchored = own_objects.anchored_size(conn, self._required)
        return releases.items_to_release(conn, live, self._required, anchored)


def _hidden(conn: Connection, row: Docking, here: Collection[str]) -> str:
    """How many items of a docking's inventory are not among its items, for people; empty: none."""
    try:
        listed = {item_id for item_id, _ in inventory.seen(dockings.inventory(conn, row))}
    except DatabaseDamagedError as error:
        return error.message
    hidden = len(listed.difference(here))
    return f"{hidden} items of its inventory are said to be elsewhere" if hidden else ""


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
            findings.alarm_item(txn, row, StateAlteredError.code, altered[row.item_id])
    return [row for row in found if row.item_id not in altered]


def _record(txn: Txn, found: Sequence[ItemRow], *, docked: bool) -> None:
    dock_ms = dock_time.now_ms(txn.conn)
    items.steps(
        txn,
        [
            (
                row,
                item_entries.released(
                    row.item_id,
                    docking_id=row.seen_docking_id,
                    docked=docked,
                    dock_ms=dock_ms,
                    policy=POLICY_KEEP,
                ),
            )
            for row in found
        ],
    )
