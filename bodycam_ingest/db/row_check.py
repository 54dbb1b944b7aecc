"""Rows projected again from their own entries, before something is decided on their word.

A row that somebody changed beside the program releases nothing and deletes nothing. `verify` checks
every row; here those few are checked that the decision reads, each time.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final, cast

import sqlalchemy as sa

from bodycam_ingest.custody.projection import Fact, project
from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.projected import ProjectedRows
from bodycam_ingest.db.reprojection import difference, wrong_fields
from bodycam_ingest.db.schema import ledger_entry
from bodycam_ingest.model import rows, subjects
from bodycam_ingest.model.rows import KEY_FIELDS, TABLE_NAMES
from bodycam_ingest.model.store_set import StoreSet, store_set

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bodycam_ingest.custody.projection.step import R
    from bodycam_ingest.db.reprojection import RowDifference
    from bodycam_ingest.model.rows import Row

_ASKED_AT_ONCE: Final = 400
# What inventories say of an item is no part of what it stands for.
_LISTED: Final = ("seen_docking_id", "seen_mtime_ns")


class _InMemory:
    """The rows that some entries make, in memory."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Any, ...], Row] = {}
        self._stores: dict[str, rows.Store] = {}
        self._store_set: StoreSet | None = None

    def get(self, kind: type[R], *key: str | int) -> R | None:
        return cast("R | None", self.kept.get((kind, *key)))

    def stores(self) -> Mapping[str, rows.Store]:
        return self._stores

    def store_set(self) -> StoreSet:
        if self._store_set is None:
            self._store_set = store_set(self._stores.values())
        return self._store_set

    def prefetch(self, kind: type[Row], keys: Sequence[str]) -> None:
        """All is at hand."""

    def document(self, sha256: str) -> None:  # noqa: ARG002 - part of the contract
        return None

    def take(self, seq: int, body: bytes) -> None:
        for row in project(self, Fact.read(seq, body)).rows:
            kind = type(row)
            self.kept[kind, *row[: KEY_FIELDS[kind]]] = row
            if isinstance(row, rows.Store):
                self._stores[row.store], self._store_set = row, None


def altered_items(conn: sa.Connection, item_ids: Sequence[str]) -> dict[str, str]:
    """Items whose row, or a row of what stores have of them, is not what their entries make.

    Asked before anything is deleted or released on the word of these rows: a row that somebody
    changed beside the program decides nothing.

    Args:
        conn: an open connection.
        item_ids: the items.

    Returns:
        What differs, for people, by item; empty where all is well.

    Raises:
        LedgerEntryError: an entry was altered.
    """
    found: dict[str, str] = {}
    for start in range(0, len(item_ids), _ASKED_AT_ONCE):
        for wrong in _items_differ(conn, item_ids[start : start + _ASKED_AT_ONCE]):
            found.setdefault(wrong.key.partition(":")[0], wrong.message)
    return found


def _items_differ(conn: sa.Connection, item_ids: Sequence[str]) -> Iterator[RowDifference]:
    right = _InMemory()
    for seq, body in heapq.merge(
        _entries(conn, ledger_entry.c.type.between("store.", "store/")),
        _entries(conn, ledger_entry.c.subject.in_([subjects.item(one) for one in item_ids])),
    ):
        right.take(seq, body)
    mine = ProjectedRows(conn)
    mine.prefetch(rows.Item, item_ids)
    mine.prefetch(rows.Upload, item_ids)
    for item_id in item_ids:
        yield from _differ(rows.Item, mine.get(rows.Item, item_id), right.get(rows.Item, item_id))
        for store in sorted({*right.stores(), *mine.stores()}):
            key = (item_id, store)
            kept, told = mine.get(rows.Upload, *key), right.get(rows.Upload, *key)
            yield from _differ(rows.Upload, kept, told)


def altered_docking(conn: sa.Connection, kept: rows.Docking) -> str:
    """How a docking's row differs from what its entries make, for people; empty where it does not.

    Args:
        conn: an open connection.
        kept: the row.
    """
    found: list[tuple[int, bytes]] = []
    newest_first = conn.execution_options(yield_per=20).execute(
        sa.select(ledger_entry.c.seq, ledger_entry.c.body)
        .where(ledger_entry.c.log_id == LOG_ID)
        .where(ledger_entry.c.subject == subjects.camera(kept.camera))
        .order_by(ledger_entry.c.seq.desc())
    )
    for seq, body in newest_first:
        fact = Fact.read(seq, body)
        if fact.data.get("docking_id") != kept.docking_id:
            continue
        found.append((seq, body))
        if fact.type == "camera.docked":
            break
    right = _InMemory()
    for seq, body in reversed(found):
        right.take(seq, body)
    told = right.get(rows.Docking, kept.docking_id)
    if told is None:
        return f"the ledger knows no docking {kept.docking_id}"
    return wrong_fields(rows.Docking, kept, told, but=("released_at",))


def told_clock(conn: sa.Connection) -> rows.DockClock | None:
    """The dock's clock as its newest entry makes it, whatever its row says; None before one."""
    newest = conn.execute(
        sa.select(ledger_entry.c.seq, ledger_entry.c.body)
        .where(ledger_entry.c.log_id == LOG_ID, ledger_entry.c.type == "clock.checked")
        .order_by(ledger_entry.c.seq.desc())
        .limit(1)
    ).first()
    right = _InMemory()
    if newest is not None:
        right.take(*newest)
    return right.get(rows.DockClock, rows.THE_CLOCK)


class OpenAlarms:
    """The alarms that are open by the ledger's entries, whatever the rows of findings say.

    Reads each entry about a finding once. Used under the lock of whoever releases.
    """

    def __init__(self) -> None:
        self._seen = -1
        self._open: dict[str, Mapping[str, Any]] = {}

    def touching(
        self, conn: sa.Connection, docking: rows.Docking, item_ids: Collection[str]
    ) -> list[str]:
        """Codes of alarms about a docking, its camera, or one of these items.

        Args:
            conn: an open connection.
            docking: the docking.
            item_ids: the items.
        """
        which = ledger_entry.c.type.in_(["finding.raised", "finding.closed"])
        for seq, body in _entries(conn, sa.and_(which, ledger_entry.c.seq > self._seen)):
            fact = Fact.read(seq, body)
            self._seen = seq
            if fact.type == "finding.closed":
                self._open.pop(fact.subject, None)
            elif fact.data["severity"] == "alarm":
                self._open[fact.subject] = fact.data
        mine = (docking.docking_id, subjects.camera(docking.camera))
        return sorted(
            data["code"]
            for data in self._open.values()
            if data.get("docking_id") == mine[0]
            or data["about"] == mine[1]
            or data.get("item_id") in item_ids
        )


def _entries(conn: sa.Connection, which: sa.ColumnElement[bool]) -> list[tuple[int, bytes]]:
    found = conn.execute(
        sa.select(ledger_entry.c.seq, ledger_entry.c.body)
        .where(ledger_entry.c.log_id == LOG_ID, which)
        .order_by(ledger_entry.c.seq)
    )
    return [(row.seq, row.body) for row in found]


def _differ(kind: type[Row], kept: Row | None, told: Row | None) -> Iterator[RowDifference]:
    if kept is None and told is None:
        return
    if kept is None or told is None:
        missing = kept is None
        code = "row_missing" if missing else "row_planted"
        words = "its row is gone" if missing else "the ledger knows no such row"
        yield difference(code, kind, told or kept or (), f"{TABLE_NAMES[kind]}: {words}")
        return
    wrong = wrong_fields(kind, kept, told, but=_LISTED)
    if wrong:
        yield difference("row_differs", kind, told, f"{TABLE_NAMES[kind]}: {wrong}")
