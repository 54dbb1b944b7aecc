"""Projecting a ledger anew, and comparing every row that is kept with what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.custody.projection import Fact, project
from bodycam_ingest.db import own_objects, uploads
from bodycam_ingest.db.engine import open_temporary, stream
from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.projected import (
    ProjectedRows,
    all_of,
    scan,
)
from bodycam_ingest.db.schema import ledger_entry, metadata
from bodycam_ingest.errors import HaltError
from bodycam_ingest.model import rows
from bodycam_ingest.model.lifecycle import PROVEN, UploadState
from bodycam_ingest.model.rows import KEY_FIELDS, TABLE_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bodycam_ingest.custody.projection import Fault
    from bodycam_ingest.model.rows import Row

# So many new rows are kept in memory before they are written.
_KEPT_AT_MOST: Final = 20_000


class Reprojection:
    """Projects a ledger's entries into a database of its own, to be compared with the one kept.

    That database is SQLite's private temporary one: in memory as long as it is small, then in a
    file that is gone when it is closed.

    Args:
        kept: the database that is checked; its documents are read.
    """

    def __init__(self, kept: sa.Connection) -> None:
        self._kept = kept
        self._engine = open_temporary()
        self._conn = self._engine.connect()
        for name in TABLE_NAMES.values():
            # Without the indexes: nobody asks but by the key, in whose order the rows lie.
            made = sa.schema.CreateTable(metadata.tables[name]).compile(self._engine)
            self._conn.exec_driver_sql(f"{made} WITHOUT ROWID")
        self._conn.exec_driver_sql("CREATE TABLE named (sha256 PRIMARY KEY) WITHOUT ROWID")
        self._rows = ProjectedRows(self._conn, kept)
        self._taken = 0
        self._lost: HaltError | None = None

    def take(self, fact: Fact) -> list[Fault]:
        """Project the next entry; returns what it should not have said."""
        made, faults = project(self._rows, fact)
        for row in made:
            self._rows.put(row)
        self._taken += len(made)
        if self._taken >= _KEPT_AT_MOST:
            self._flush()
            self._rows.forget()
            self._taken = 0
        return faults

    def give_up(self, error: HaltError) -> None:
        """Not every entry could be taken: whoever asks what they make of the rows is told why."""
        self._lost = error

    def _flush(self) -> None:
        if self._lost is not None:
            raise self._lost
        try:
            self._rows.flush()
            if named := self._rows.named:
                insert = "INSERT OR IGNORE INTO named VALUES (?)"
                self._conn.exec_driver_sql(insert, [(digest,) for digest in named])
                named.clear()
        except HaltError as error:
            self._lost = error
            raise

    def stores(self) -> Mapping[str, rows.Store]:
        """Every store as the entries taken tell of it, by name."""
        return self._rows.stores()

    def differences(self) -> Iterator[RowDifference]:
        """Every row that is not what the entries taken make of it."""
        self._flush()
        yield from differences(self._kept, self._conn, TABLE_NAMES)
        known = "SELECT EXISTS (SELECT 1 FROM named WHERE sha256 = ?)"
        for (sha256,) in stream(self._kept, "SELECT sha256 FROM document NOT INDEXED"):
            digest = sha256.hex() if isinstance(sha256, bytes) else repr(sha256)
            if not self._conn.exec_driver_sql(known, (digest,)).scalar_one():
                yield RowDifference("document_planted", "document", digest, "no entry names it")

    # -- what the entries tell, once all were taken --

    def count_items(self) -> int:
        """How many items there are."""
        self._flush()
        return int(self._conn.exec_driver_sql("SELECT count(*) FROM item").scalar_one())

    def items(self) -> Iterator[rows.Item]:
        """Every item."""
        self._flush()
        return all_of(self._conn, rows.Item)

    def own_objects(self) -> list[rows.MetadataObject]:
        """Every manifest that was made, and every checkpoint that a store confirmed."""
        self._flush()
        return list(all_of(self._conn, rows.MetadataObject))

    def confirmed(self) -> Iterator[tuple[rows.Item, rows.Upload]]:
        """Every confirmed upload with its item, item by item."""
        self._flush()
        for upload in all_of(self._conn, rows.Upload):
            if upload.state is UploadState.CONFIRMED:
                item = self._rows.get(rows.Item, upload.item_id)
                self._rows.forget()
                if item is not None and item.sha256 is not None:
                    yield item, upload

    def lacking(self, required: Iterable[str]) -> dict[str, int]:
        """How many items that count as proven a store never confirmed, by store."""
        self._flush()
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


def project_anew(conn: sa.Connection) -> list[str]:
    """Make every projected table anew from the entries, whatever shape and rows it has.

    Args:
        conn: the database, inside of the caller's transaction.

    Returns:
        What entries should not have said, for people; empty where all is well.
    """
    tables = [metadata.tables[name] for name in TABLE_NAMES.values()]
    metadata.drop_all(conn, tables=tables)
    metadata.create_all(conn, tables=tables)
    made, told, after = ProjectedRows(conn), [], -1
    while page := _page(conn, after):
        for seq, body in page:
            fact = Fact.read(seq, body)
            new, faults = project(made, fact)
            told += [f"entry {seq}: {fault.message}" for fault in faults]
            for row in new:
                made.put(row)
        made.flush()
        made.forget()
        after = page[-1][0]
    uploads.restore_work(conn)
    own_objects.restore_work(conn)
    return told


def _page(conn: sa.Connection, after: int) -> list[tuple[int, bytes]]:
    found = conn.execute(
        sa.select(ledger_entry.c.seq, ledger_entry.c.body)
        .where(ledger_entry.c.log_id == LOG_ID, ledger_entry.c.seq > after)
        .order_by(ledger_entry.c.seq)
        .limit(_KEPT_AT_MOST)
    )
    return [(row.seq, row.body) for row in found]


# -- comparing -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RowDifference:
    """A row that is not what the ledger says.

    Args:
        code: `row_differs`, `row_missing`, `row_planted` or `document_planted`.
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
            yield difference("row_planted", kind, here, f"{table}: the ledger knows no such row")
            here = next(ours, None)
        elif order > 0 and there is not None:
            yield difference("row_missing", kind, there, f"{table}: its row is gone")
            there = next(theirs, None)
        elif here is not None and there is not None:
            wrong = wrong_fields(kind, here, there)
            yield difference("row_differs", kind, there, f"{table}: {wrong}")
            here, there = next(ours, None), next(theirs, None)


def wrong_fields(
    kind: type[Row], kept: Sequence[Any], told: Sequence[Any], *, but: Sequence[str] = ()
) -> str:
    """How a row differs from what the entries make of it; `but` names fields left out."""
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


def difference(code: str, kind: type[Row], values: Sequence[Any], message: str) -> RowDifference:
    """A difference, told of a row by its key."""
    key = ":".join(str(value) for value in values[: KEY_FIELDS[kind]])
    return RowDifference(code, TABLE_NAMES[kind], key, message)
