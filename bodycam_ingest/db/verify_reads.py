"""What `verify` reads of the database, row by row; read-only.

SQLite keeps a value of any kind in any column. What is read here to be compared is taken as it
lies there: a text in place of bytes must become a finding, not an exception. No index is used:
one that somebody made anew could leave a row out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.custody.log_check import EntryRow, HeadRow
from bodycam_ingest.custody.replay import KeptItem
from bodycam_ingest.db.guards import GUARDS
from bodycam_ingest.db.items import ItemRow
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
    outbox,
    upload,
)
from bodycam_ingest.model.evidence import ProofKind
from bodycam_ingest.model.lifecycle import ItemState, UploadState

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 2000


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
    order = sa.text("rowid") if _written_in_order(conn) else ledger_entry.c.seq
    found = conn.execution_options(yield_per=_AT_ONCE).execute(
        _scan(*(ledger_entry.c[name] for name in EntryRow.__dataclass_fields__))
        .where(ledger_entry.c.log_id == LOG_ID)
        .order_by(order)
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


def _written_in_order(conn: sa.Connection) -> bool:
    last = -1
    for seq in (
        conn.execution_options(yield_per=_AT_ONCE)
        .execute(
            _scan(ledger_entry.c.seq)
            .where(ledger_entry.c.log_id == LOG_ID)
            .order_by(sa.text("rowid"))
        )
        .scalars()
    ):
        if not isinstance(seq, int) or seq <= last:
            return False
        last = seq
    return True


def head(conn: sa.Connection) -> HeadRow | None:
    """The head row."""
    row = conn.execute(_scan(*ledger_head.c).where(ledger_head.c.log_id == LOG_ID)).first()
    if row is None:
        return None
    return HeadRow(row.size, _bytes(row.peaks), _bytes(row.last), _text(row.checkpoint))


def checkpoints(conn: sa.Connection) -> Iterator[tuple[int, str]]:
    """Size and note of every checkpoint kept."""
    for row in conn.execute(
        _scan(*ledger_checkpoint.c)
        .where(ledger_checkpoint.c.log_id == LOG_ID)
        .order_by(ledger_checkpoint.c.size)
    ):
        yield row.size, _text(row.note)


def nodes(conn: sa.Connection) -> dict[tuple[int, int], bytes]:
    """Subtree roots by level and index."""
    return {
        (row.level, row.idx): _bytes(row.hash)
        for row in conn.execute(_scan(*ledger_node.c).where(ledger_node.c.log_id == LOG_ID))
    }


def sealed(conn: sa.Connection) -> dict[tuple[int, str], tuple[bytes, str]]:
    """Salts and values by entry and field."""
    return {
        (row.seq, row.field): (_bytes(row.salt), _text(row.value))
        for row in conn.execute(_scan(*ledger_private.c).where(ledger_private.c.log_id == LOG_ID))
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
    for row in conn.execute(_confirmed()):
        confirmed.setdefault(row.item_id, {})[row.store] = (row.key, row.version_id)
    wanted = (  # names of `item`
        "item_id",
        "state",
        "sha256",
        "size_bytes",
        "staged_path",
        "confirmed_seq",
        "purging_seq",
    )
    for row in conn.execution_options(yield_per=_AT_ONCE).execute(
        _scan(*(item.c[name] for name in wanted))
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
        checksum: what the store told of the parts then; empty for other proofs.
        metadata: what was sent with it, None where the row does not say so any more.
    """

    item_id: str
    store: str
    key: str
    version_id: str
    etag: str
    checksum: str
    metadata: dict[str, str] | None


def _confirmed() -> sa.Select[Any]:
    return _scan(*upload.c).where(upload.c.state == UploadState.CONFIRMED.value)


def confirmed_uploads(conn: sa.Connection) -> list[ConfirmedUpload]:
    """Every upload that a store confirmed."""
    return [
        ConfirmedUpload(
            item_id=_text(row.item_id),
            store=_text(row.store),
            key=_text(row.key),
            version_id=_text(row.version_id),
            etag=_text(row.etag),
            checksum=_text(row.checksum) if row.proof == ProofKind.PART_CHECKSUMS else "",
            metadata=_metadata(row.metadata),
        )
        for row in conn.execute(_confirmed())
    ]


def _metadata(text: Any) -> dict[str, str] | None:
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        return None
    return found


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
        _scan(outbox.c.store, outbox.c.key, outbox.c.sha256).where(
            outbox.c.state == UploadState.CONFIRMED.value
        )
    )
    found = [ConfirmedObject(_text(row.store), _text(row.key), _bytes(row.sha256)) for row in rows]
    return sorted(found, key=lambda one: (one.store, one.key))


def all_items(conn: sa.Connection) -> list[ItemRow]:
    """Every item whose row can be used, oldest first; the others are findings of their own."""
    names = list(ItemRow.__dataclass_fields__)
    rows = conn.execute(_scan(*(item.c[name] for name in names))).mappings()
    usable = [row for row in rows if all(_fits(item.c[name], row[name]) for name in names)]
    states = {state.value for state in ItemState}
    found = [
        ItemRow(**{**row, "state": ItemState(row["state"])})
        for row in usable
        if row["state"] in states
    ]
    return sorted(found, key=lambda row: row.item_id)


def _fits(column: sa.Column[Any], value: Any) -> bool:
    if value is None:
        return bool(column.nullable)
    if isinstance(column.type, (sa.Integer, sa.Boolean)):
        return isinstance(value, int)
    return isinstance(value, bytes if isinstance(column.type, sa.LargeBinary) else str)
