"""What `verify` reads of the database, row by row; read-only.

SQLite keeps a value of any kind in any column. What is read here to be compared is taken as it
lies there: a text in place of bytes must become a finding, not an exception. No index is used:
one that somebody made anew could leave a row out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.custody.commitment import SealedRow
from bodycam_ingest.custody.log_check import EntryRow, HeadRow
from bodycam_ingest.db.engine import stream
from bodycam_ingest.db.guards import GUARDS
from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.schema import (
    item,
    ledger_checkpoint,
    ledger_entry,
    ledger_head,
    ledger_log,
    ledger_node,
    ledger_private,
    ledger_timestamp,
)
from bodycam_ingest.model.lifecycle import ItemState

if TYPE_CHECKING:
    from collections.abc import Iterator


def _raw(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A column without the conversion that its type would bring."""
    return sa.type_coerce(column, sa.types.NULLTYPE).label(column.name)


def _scan(*columns: sa.Column[Any]) -> sa.Select[Any]:
    """Columns of one table, from its rows themselves."""
    return sa.select(*(_raw(column) for column in columns)).with_hint(
        columns[0].table, "NOT INDEXED", "sqlite"
    )


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else repr(value).encode()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def log_row(conn: sa.Connection) -> tuple[str, str] | None:
    """The log's origin and verifier key, None when the row is gone."""
    row = conn.execute(_scan(*ledger_log.c).where(ledger_log.c.log_id == LOG_ID)).first()
    return (_text(row.origin), _text(row.vkey)) if row else None


def strange_logs(conn: sa.Connection) -> list[tuple[str, int]]:
    """Tables of the ledger, with the ids of logs in them that are not this dock's."""
    found: list[tuple[str, int]] = []
    for table in (
        ledger_log,
        ledger_head,
        ledger_entry,
        ledger_node,
        ledger_checkpoint,
        ledger_timestamp,
        ledger_private,
    ):
        ids = conn.execute(
            _scan(table.c.log_id).where(table.c.log_id.is_distinct_from(LOG_ID)).distinct()
        ).scalars()
        found.extend((table.name, log_id) for log_id in ids)
    return found


def entries(conn: sa.Connection) -> Iterator[EntryRow]:
    """All entries in the order of their numbers."""
    # As they were written they need no sorting, which for a large log takes room elsewhere.
    order = "seq" if _is_out_of_order(conn) else "rowid"
    query = (
        f"SELECT {', '.join(EntryRow._fields)} FROM ledger_entry NOT INDEXED "  # noqa: S608 - our own names
        f"WHERE log_id = ? ORDER BY {order}"
    )
    return map(EntryRow._make, stream(conn, query, (LOG_ID,)))


def _is_out_of_order(conn: sa.Connection) -> bool:
    """Whether an entry has another place than it was written to: then they have to be sorted."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM ledger_entry NOT INDEXED "
        "WHERE log_id = ? AND seq IS NOT rowid - 1)"
    )
    return bool(conn.exec_driver_sql(query, (LOG_ID,)).scalar_one())


def head(conn: sa.Connection) -> HeadRow | None:
    """The head row."""
    row = conn.execute(_scan(*ledger_head.c).where(ledger_head.c.log_id == LOG_ID)).first()
    if row is None:
        return None
    return HeadRow(row.size, _bytes(row.peaks), _bytes(row.last), _text(row.checkpoint))


def checkpoints(conn: sa.Connection) -> Iterator[tuple[int, str]]:
    """Size and note of every checkpoint kept, in the order of their sizes."""
    query = "SELECT size, note FROM ledger_checkpoint NOT INDEXED WHERE log_id = ? ORDER BY size"
    for size, note in stream(conn, query, (LOG_ID,)):
        yield size, _text(note)


def nodes(conn: sa.Connection) -> dict[tuple[int, int], bytes]:
    """Subtree roots by level and index."""
    return {
        (row.level, row.idx): _bytes(row.hash)
        for row in conn.execute(_scan(*ledger_node.c).where(ledger_node.c.log_id == LOG_ID))
    }


def sealed(conn: sa.Connection) -> Iterator[SealedRow]:
    """The sealed values, in the order of the entries that they belong to."""
    query = (
        "SELECT seq, field, salt, value FROM ledger_private NOT INDEXED WHERE log_id = ? "
        "ORDER BY seq"
    )
    for seq, name, salt, value in stream(conn, query, (LOG_ID,)):
        yield SealedRow(seq, name, _bytes(salt), _text(value))


def triggers(conn: sa.Connection) -> tuple[list[str], list[str]]:
    """Names of guards that are missing or altered, and of triggers that are none of ours."""
    found = {
        row.name: row.sql
        for row in conn.execute(
            sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        )
    }
    bad = sorted(name for name, sql in GUARDS.items() if found.get(name) != sql)
    return bad, sorted(found.keys() - GUARDS.keys())


@dataclass(frozen=True, slots=True)
class StagedNow:
    """Where an item's copy is by its row, as it lies there.

    Args:
        unread: it was not read yet.
        staged_path: where its copy is.
        purging: its purge was announced.
    """

    unread: bool
    staged_path: Any
    purging: bool


def staged_now(conn: sa.Connection) -> dict[Any, StagedNow]:
    """Where each item's copy is, by item."""
    found = conn.execute(
        _scan(item.c.item_id, item.c.state, item.c.staged_path, item.c.purging_seq)
    )
    return {
        row.item_id: StagedNow(
            row.state == ItemState.DISCOVERED, row.staged_path, row.purging_seq is not None
        )
        for row in found
    }
