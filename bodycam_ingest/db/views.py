"""What the reading commands show: JSON-ready values, one snapshot a call."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.custody.entries import OFFICER
from bodycam_ingest.db import dockings, own_objects, store_health, uploads
from bodycam_ingest.db.figures import amount, amounts
from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.projected import read_stores
from bodycam_ingest.db.schema import (
    camera,
    finding,
    item,
    item_work,
    ledger_entry,
    ledger_private,
    store,
    upload,
)
from bodycam_ingest.linux import clock
from bodycam_ingest.model import object_keys, subjects
from bodycam_ingest.model.evidence import encode_path
from bodycam_ingest.model.lifecycle import BEHIND

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# A query takes so many ids at most.
_BATCH: Final = 500

_SHOWN: Final = sa.select(
    item,
    sa.func.coalesce(item_work.c.attempts, 0).label("attempts"),
    sa.func.coalesce(item_work.c.due_ms, 0).label("due_ms"),
    sa.func.coalesce(item_work.c.last_error, "").label("last_error"),
).select_from(item.outerjoin(item_work, item_work.c.item_id == item.c.item_id))
_RETIRED = sa.select(store.c.store).where(store.c.retired_at != "")


def _uploads(conn: sa.Connection, shown: Sequence[sa.RowMapping]) -> dict[str, dict[str, Any]]:
    stores = read_stores(conn)
    keys = {row["item_id"]: _key(row) for row in shown}
    found: dict[str, dict[str, Any]] = {}
    for row in uploads.of_items(conn, list(keys)).values():
        now = stores.get(row.store)
        found.setdefault(row.item_id, {})[row.store] = {
            "state": row.shown_state,
            # As the configuration has it now, not as it was when the item was queued.
            "required": bool(now and now.required and now.configured),
            "key": keys[row.item_id],
            "version_id": row.version_id,
            "proof": row.proof,
            "attempts": row.attempts,
            "due_ms": row.due_ms,
            "last_error": row.last_error,
            "last_message": row.last_message,
            "confirmed_at": row.confirmed_at,
        }
    return found


def _key(row: sa.RowMapping) -> str:
    moment = clock.parse_rfc3339(row["discovered_at"])
    where = (row["docking_id"], row["item_id"], row["path"])
    return object_keys.evidence_key(row["camera"], moment, *where)


def _item(row: sa.RowMapping, stores: dict[str, Any]) -> dict[str, Any]:
    return {
        "item_id": row["item_id"],
        "camera": row["camera"],
        "docking_id": row["docking_id"],
        "volume": row["volume"],
        "path": encode_path(row["path"]),
        "size_bytes": row["size_bytes"],
        "mtime_ns": row["mtime_ns"],
        "sha256": row["sha256"].hex() if row["sha256"] else None,
        "state": row["state"],
        "discovered_at": row["discovered_at"],
        "recorded_at": row["recorded_at"] or None,
        "released_at": row["released_at"],
        "staged_path": row["staged_path"] or None,
        "quarantine_reason": row["quarantine_reason"] or None,
        "attempts": row["attempts"],
        "due_ms": row["due_ms"],
        "last_error": row["last_error"] or None,
        "stores": stores,
    }


def list_items(
    conn: sa.Connection,
    *,
    where: Sequence[sa.ColumnElement[bool]],
    order: sa.ColumnElement[Any],
    limit: int = 0,
) -> Iterator[dict[str, Any]]:
    """Items as `items --json` prints them, in ascending order, read as they are asked for.

    What is equal in that order comes as it was discovered. A limit keeps the end; 0 sets none.
    """
    query = _SHOWN.where(*where)
    if limit:
        query = query.order_by(order.desc(), item.c.item_id.desc()).limit(limit)
        batches: Iterable[Sequence[sa.RowMapping]] = [conn.execute(query).mappings().all()[::-1]]
    else:
        query = query.order_by(order, item.c.item_id)
        read = conn.execute(query, execution_options={"yield_per": _BATCH})
        batches = read.mappings().partitions()
    for batch in batches:
        held = _uploads(conn, batch)
        for row in batch:
            yield _item(row, held.get(row["item_id"], {}))


def item_history(conn: sa.Connection, item_id: str) -> dict[str, Any] | None:
    """One item as `items ITEM --json` prints it, with all the ledger says; None when unknown."""
    row = conn.execute(_SHOWN.where(item.c.item_id == item_id)).mappings().first()
    if row is None:
        return None
    bodies = conn.execute(
        sa.select(ledger_entry.c.body)
        .where(ledger_entry.c.subject == subjects.item(item_id))
        .order_by(ledger_entry.c.seq)
    ).scalars()
    return {
        **_item(row, _uploads(conn, [row]).get(item_id, {})),
        "seen_in": dockings.sightings(conn, row["camera"], item_id),
        "findings": [
            dict(line)
            for line in conn.execute(
                sa.select(finding).where(finding.c.item_id == item_id)
            ).mappings()
        ],
        "entries": [json.loads(body) for body in bodies],
    }


def list_cameras(conn: sa.Connection) -> list[dict[str, Any]]:
    """Known cameras with their item counts and last docking, by serial."""
    counts: dict[str, dict[str, int]] = {}
    for state, serial, number in conn.execute(
        sa.select(item.c.state, item.c.camera, sa.func.count()).group_by(
            item.c.state, item.c.camera
        )
    ):
        counts.setdefault(serial, {})[state] = number
    sealed = (
        sa.select(ledger_private.c.value)
        .where(ledger_private.c.log_id == LOG_ID, ledger_private.c.seq == camera.c.officer_seq)
        .where(ledger_private.c.field == OFFICER)
        .scalar_subquery()
    )
    query = sa.select(
        *(column for column in camera.c if column is not camera.c.officer_seq),
        # Empty too where an order had the name erased.
        sa.func.coalesce(sealed, "").label("officer"),
    )
    rows = conn.execute(query.order_by(camera.c.camera)).mappings()
    return [{**row, "items": counts.get(row["camera"], {})} for row in rows]


def queue_counts(conn: sa.Connection) -> dict[str, Any]:
    """How much waits where: items by state, uploads by store and state; for no retired store."""
    states = {
        state: {"items": some.items, "bytes": some.size_bytes}
        for (state,), some in amounts(conn, by=(item.c.state,)).items()
    }
    sent: dict[str, dict[str, int]] = {}
    for name, state, number in conn.execute(
        sa.select(upload.c.store, upload.c.state, sa.func.count())
        .where(upload.c.store.not_in(_RETIRED))
        .group_by(upload.c.store, upload.c.state)
    ):
        sent.setdefault(name, {})[state] = number
    stores = [name for name, row in read_stores(conn).items() if not row.retired_at]
    return {"items": states, "uploads": sent, "objects": own_objects.counts(conn, stores)}


def store_rows(conn: sa.Connection) -> list[dict[str, Any]]:
    """What is known of each store that is not retired: identity, pauses, last fault."""
    return [
        {**row._asdict(), **asdict(store_health.health(conn, name))}
        for name, row in read_stores(conn).items()
        if not row.retired_at
    ]


def open_findings(conn: sa.Connection, *, severity: str = "") -> list[dict[str, Any]]:
    """Findings that nobody closed yet, oldest first; of both severities where none is named."""
    query = sa.select(finding).where(finding.c.closed_at.is_(None))
    if severity:
        query = query.where(finding.c.severity == severity)
    rows = conn.execute(query.order_by(finding.c.finding_id)).mappings()
    return [dict(row) for row in rows]


def behind(conn: sa.Connection) -> dict[str, Any]:
    """Recordings that not every required store has proven: how many, bytes, since when."""
    here = item.c.state.in_(BEHIND)
    oldest = conn.execute(sa.select(sa.func.min(item.c.discovered_at)).where(here)).scalar()
    all_behind = amount(conn, here)
    return {"items": all_behind.items, "bytes": all_behind.size_bytes, "oldest_at": oldest}


def unanchored_since(conn: sa.Connection, required: Sequence[str]) -> str | None:
    """When the first entry was written that no checkpoint off this dock covers; None for none."""
    return own_objects.first_news_at(conn, own_objects.anchored_size(conn, required))
