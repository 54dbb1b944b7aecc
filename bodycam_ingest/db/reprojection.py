"""Projecting a ledger anew, and comparing every row that is kept with what comes of it."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

import sqlalchemy as sa

from bodycam_ingest.custody.projection import Fact, project
from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.projected import (
    PROJECTED,
    PROJECTED_TYPES,
    ProjectedRows,
    all_of,
    scan,
)
from bodycam_ingest.db.schema import ledger_entry, metadata
from bodycam_ingest.model import rows
from bodycam_ingest.model.lifecycle import PROVEN, UploadState
from bodycam_ingest.model.rows import KEY_FIELDS, TABLE_NAMES
from bodycam_ingest.model.store_set import StoreSet, store_set

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from bodycam_ingest.custody.projection import Fault
    from bodycam_ingest.custody.projection.step import R
    from bodycam_ingest.model.rows import Row

# So many new rows are kept in memory before they are written.
_KEPT_AT_MOST: Final = 20_000
_ASKED_AT_ONCE: Final = 400


class Reprojection:
    """Projects a ledger's entries into a database of its own, to be compared with the one kept.

    That database is SQLite's private temporary one: in memory as long as it is small, then in a
    file that is gone when it is closed.

    Args:
        kept: the database that is checked; its documents are read.
    """

    def __init__(self, kept: sa.Connection) -> None:
        self._kept = kept
        self._engine = sa.create_engine("sqlite:///", poolclass=sa.pool.StaticPool)
        self._conn = self._engine.connect()
        self._conn.exec_driver_sql("PRAGMA journal_mode = OFF")
        self._conn.exec_driver_sql("PRAGMA synchronous = OFF")
        metadata.create_all(
            self._conn, tables=[metadata.tables[TABLE_NAMES[kind]] for kind in PROJECTED]
        )
        self._rows = ProjectedRows(self._conn, kept)
        self._taken = 0

    def take(self, fact: Fact) -> list[Fault]:
        """Project the next entry; returns what it should not have said."""
        if not fact.type.startswith(PROJECTED_TYPES):
            return []
        made, faults = project(self._rows, fact)
        for row in made:
            self._rows.put(row)
        self._taken += len(made)
        if self._taken >= _KEPT_AT_MOST:
            self._rows.flush()
            self._rows.forget()
            self._taken = 0
        return faults

    def stores(self) -> Mapping[str, rows.Store]:
        """Every store as the entries taken tell of it, by name."""
        return self._rows.stores()

    def differences(self) -> Iterator[RowDifference]:
        """Every row that is not what the entries taken make of it."""
        self._rows.flush()
        return differences(self._kept, self._conn, PROJECTED)

    # -- what the entries tell, once all were taken --

    def items(self) -> Iterator[rows.Item]:
        """Every item."""
        self._rows.flush()
        return all_of(self._conn, rows.Item)

    def confirmed(self) -> Iterator[tuple[rows.Item, rows.Upload]]:
        """Every confirmed upload with its item, item by item."""
        self._rows.flush()
        for upload in all_of(self._conn, rows.Upload):
            if upload.state is UploadState.CONFIRMED:
                item = self._rows.get(rows.Item, upload.item_id)
                self._rows.forget()
                if item is not None and item.sha256 is not None:
                    yield item, upload

    def lacking(self, required: Iterable[str]) -> dict[str, int]:
        """How many items that count as proven a store never confirmed, by store."""
        self._rows.flush()
        states = ", ".join(f"'{state.value}'" for state in sorted(PROVEN))
        query = (
            f"SELECT count(*) FROM item WHERE state IN ({states}) AND NOT EXISTS ("  # noqa: S608 - our own words
            "SELECT 1 FROM upload WHERE upload.item_id = item.item_id AND store = ? "
            "AND upload.state = 'confirmed')"
        )
        counts = {s: self._conn.exec_driver_sql(query, (s,)).scalar_one() for s in required}
        return {store: count for store, count in counts.items() if count}

    def close(self) -> None:
        """Let go of the database."""
        self._conn.close()
        self._engine.dispose()


# -- a few rows, before a decision ---------------------------------------------------------------

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
        _entries(conn, ledger_entry.c.subject.in_([f"item:{one}" for one in item_ids])),
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
        .where(ledger_entry.c.subject == f"camera:{kept.camera}")
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
    return _wrong(rows.Docking, kept, told, but=("released_at",))


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
        mine = (docking.docking_id, f"camera:{docking.camera}")
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
        yield _difference(code, kind, told or kept or (), f"{TABLE_NAMES[kind]}: {words}")
        return
    wrong = _wrong(kind, kept, told, but=_LISTED)
    if wrong:
        yield _difference("row_differs", kind, told, f"{TABLE_NAMES[kind]}: {wrong}")


# -- comparing -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that is not what the ledger says.

    Args:
        code: `row_differs`, `row_missing` or `row_planted`.
        table: its table.
        key: its key, for people.
        message: what differs.
    """

    code: str
    table: str
    key: str
    message: str


def differences(
    kept: sa.Connection, told: sa.Connection, kinds: Iterable[type[Row]]
) -> Iterator[RowDifference]:
    """Compare every row of these tables with what the ledger's entries make of them.

    Args:
        kept: the database, as it is.
        told: a database that holds the projection of its entries, and nothing else.
        kinds: the tables.
    """
    for kind in kinds:
        yield from _differences(kept, told, kind)


def _differences(
    kept: sa.Connection, told: sa.Connection, kind: type[Row]
) -> Iterator[RowDifference]:
    table, size = TABLE_NAMES[kind], KEY_FIELDS[kind]
    ours, theirs = scan(kept, kind), scan(told, kind)
    here, there = next(ours, None), next(theirs, None)
    while here is not None or there is not None:
        if here == there:
            here, there = next(ours, None), next(theirs, None)
            continue
        order = _order(here, there, size)
        if order < 0 and here is not None:
            yield _difference("row_planted", kind, here, f"{table}: the ledger knows no such row")
            here = next(ours, None)
        elif order > 0 and there is not None:
            yield _difference("row_missing", kind, there, f"{table}: its row is gone")
            there = next(theirs, None)
        elif here is not None and there is not None:
            wrong = _wrong(kind, here, there)
            yield _difference("row_differs", kind, there, f"{table}: {wrong}")
            here, there = next(ours, None), next(theirs, None)


def _wrong(
    kind: type[Row], kept: Sequence[Any], told: Sequence[Any], *, but: Sequence[str] = ()
) -> str:
    return "; ".join(
        f"{name} is {mine!r:.200}, by the ledger it is {right!r:.200}"
        for name, mine, right in zip(kind._fields, kept, told, strict=True)
        if mine != right and name not in but
    )


def _order(here: tuple[Any, ...] | None, there: tuple[Any, ...] | None, size: int) -> int:
    """Below zero where `here` stands alone, above where `there` does, zero for one key of both."""
    if here is None or there is None:
        return 1 if here is None else -1
    mine, right = here[:size], there[:size]
    if mine == right:
        return 0
    # As SQLite sorts: by kind of value first, so that a text in place of a number has its place.
    return -1 if [_rank(v) for v in mine] < [_rank(v) for v in right] else 1


def _rank(value: Any) -> tuple[int, Any]:
    if value is None:
        return 0, 0
    if isinstance(value, (int, float)):
        return 1, value
    # SQLite compares text by its bytes.
    return (2, value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else (3, value)


def _difference(code: str, kind: type[Row], values: Sequence[Any], message: str) -> RowDifference:
    key = ":".join(str(value) for value in values[: KEY_FIELDS[kind]])
    return RowDifference(code, TABLE_NAMES[kind], key, message)
