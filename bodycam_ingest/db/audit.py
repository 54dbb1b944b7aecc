"""What `verify` reads of the database, row by row; read-only.

SQLite keeps a value of any kind in any column. What is read here to be compared is taken as it
lies there: a text in place of bytes must become a finding, not an exception.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.custody.fold import KeptItem
from bodycam_ingest.custody.verify import EntryRow, HeadRow
from bodycam_ingest.db import items
from bodycam_ingest.db.guards import GUARDS
from bodycam_ingest.db.ledgertree import LOG_ID
from bodycam_ingest.db.schema import (
    item,
    ledger_checkpoint,
    ledger_entry,
    ledger_head,
    ledger_log,
    ledger_node,
    ledger_private,
    ledger_timestamp,
    outbox,
    upload,
)
from bodycam_ingest.lifecycle import ItemState, UploadState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bodycam_ingest.db.items import ItemRow

_AT_ONCE = 2000


def _raw(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """A column without the conversion that its type would bring."""
    return sa.type_coerce(column, sa.types.NULLTYPE).label(column.name)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else repr(value).encode()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def log_row(conn: sa.Connection) -> tuple[str, str] | None:
    """The log's origin and verifier key, None when the row is gone."""
    row = conn.execute(sa.select(ledger_log).where(ledger_log.c.log_id == LOG_ID)).first()
    return (row.origin, row.vkey) if row else None


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
            sa.select(_raw(table.c.log_id)).where(table.c.log_id != LOG_ID).distinct()
        ).scalars()
        found.extend((table.name, log_id) for log_id in ids)
    return found


def entries(conn: sa.Connection) -> Iterator[EntryRow]:
    """All entries in the order of their numbers."""
    found = conn.execution_options(yield_per=_AT_ONCE).execute(
        sa.select(*(_raw(ledger_entry.c[name]) for name in EntryRow.__dataclass_fields__))
        .where(ledger_entry.c.log_id == LOG_ID)
        .order_by(ledger_entry.c.seq)
    )
    for row in found.mappings():
        yield EntryRow(
            seq=row["seq"],
            body=_bytes(row["body"]),
            leaf_hash=_bytes(row["leaf_hash"]),
            type=_text(row["type"]),
            subject=_text(row["subject"]),
            t=_text(row["t"]),
        )


def head(conn: sa.Connection) -> HeadRow | None:
    """The head row."""
    row = conn.execute(
        sa.select(*(_raw(column) for column in ledger_head.c)).where(ledger_head.c.log_id == LOG_ID)
    ).first()
    if row is None:
        return None
    return HeadRow(row.size, _bytes(row.peaks), _bytes(row.last), _text(row.checkpoint))


def checkpoints(conn: sa.Connection) -> Iterator[tuple[int, str]]:
    """Size and note of every checkpoint kept."""
    for row in conn.execute(
        sa.select(*(_raw(column) for column in ledger_checkpoint.c))
        .where(ledger_checkpoint.c.log_id == LOG_ID)
        .order_by(ledger_checkpoint.c.size)
    ):
        yield row.size, _text(row.note)


def nodes(conn: sa.Connection) -> dict[tuple[int, int], bytes]:
    """Subtree roots by level and index."""
    return {
        (row.level, row.idx): _bytes(row.hash)
        for row in conn.execute(
            sa.select(*(_raw(column) for column in ledger_node.c)).where(
                ledger_node.c.log_id == LOG_ID
            )
        )
    }


def sealed(conn: sa.Connection) -> dict[tuple[int, str], tuple[bytes, str]]:
    """Salts and values by entry and field."""
    return {
        (row.seq, row.field): (_bytes(row.salt), _text(row.value))
        for row in conn.execute(
            sa.select(*(_raw(column) for column in ledger_private.c)).where(
                ledger_private.c.log_id == LOG_ID
            )
        )
    }


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


def kept_items(conn: sa.Connection) -> Iterator[KeptItem]:
    """What the state tables say of every item."""
    confirmed: dict[str, dict[str, tuple[str, str]]] = {}
    for row in conn.execute(sa.select(upload).where(upload.c.state == UploadState.CONFIRMED.value)):
        confirmed.setdefault(row.item_id, {})[row.store] = (row.key, row.version_id)
    wanted = (
        "item_id",
        "state",
        "sha256",
        "size_bytes",
        "staged_path",
        "confirmed_seq",
        "purging_seq",
    )
    for row in conn.execution_options(yield_per=_AT_ONCE).execute(
        sa.select(*(_raw(item.c[name]) for name in wanted))
    ):
        yield KeptItem(
            item_id=row.item_id,
            state=row.state,
            sha256="" if row.sha256 is None else _bytes(row.sha256).hex(),
            size_bytes=row.size_bytes,
            staged=row.staged_path,
            confirmed_seq=row.confirmed_seq,
            confirmed=confirmed.get(row.item_id, {}),
            purging_seq=row.purging_seq,
        )


@dataclass(frozen=True, slots=True)
class ConfirmedUpload:
    """An upload that a store confirmed, as kept.

    Args:
        item_id: the item.
        store: the store.
        key: key in it.
        version_id: version that was confirmed, empty where there are none.
        etag: the store's own tag.
        metadata: what was sent with it.
    """

    item_id: str
    store: str
    key: str
    version_id: str
    etag: str
    metadata: dict[str, str]


def confirmed_uploads(conn: sa.Connection) -> list[ConfirmedUpload]:
    """Every upload that a store confirmed."""
    rows = conn.execute(sa.select(upload).where(upload.c.state == UploadState.CONFIRMED.value))
    return [
        ConfirmedUpload(
            row.item_id, row.store, row.key, row.version_id, row.etag, json.loads(row.metadata)
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True)
class ConfirmedObject:
    """An object of the daemon's own that a store confirmed, as kept.

    Args:
        store: the store.
        key: key in it.
        sha256: what it is.
    """

    store: str
    key: str
    sha256: bytes


def confirmed_objects(conn: sa.Connection) -> list[ConfirmedObject]:
    """Every manifest and checkpoint that a store confirmed."""
    rows = conn.execute(
        sa.select(outbox.c.store, outbox.c.key, _raw(outbox.c.sha256))
        .where(outbox.c.state == UploadState.CONFIRMED.value)
        .order_by(outbox.c.store, outbox.c.key)
    )
    return [ConfirmedObject(row.store, row.key, _bytes(row.sha256)) for row in rows]


def all_items(conn: sa.Connection) -> list[ItemRow]:
    """Every item, oldest first."""
    return items.in_states(conn, list(ItemState))
