"""How much lies in each store, waits for it, was never queued for it, or can never reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.db import known_stores, store_health
from bodycam_ingest.db.figures import halves, whole
from bodycam_ingest.db.projected import read_stores
from bodycam_ingest.db.schema import item, upload
from bodycam_ingest.model.lifecycle import SENT_FROM, UploadState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bodycam_ingest.model.rows import Store


def of_stores(
    conn: sa.Connection, configured: Mapping[str, tuple[str, bool]]
) -> list[dict[str, Any]]:
    """Every store that is or was in the configuration, by name.

    Args:
        conn: an open connection.
        configured: type and `required` of the configuration's stores, by name.

    Returns:
        The values that `stores list --json` prints.
    """
    known = read_stores(conn)
    return [
        _of_store(conn, name, configured.get(name), known.get(name))
        for name in sorted({*configured, *known})
    ]


def _of_store(
    conn: sa.Connection,
    name: str,
    wanted: tuple[str, bool] | None,
    row: Store | None,
) -> dict[str, Any]:
    waiting, refused = _uploads(conn, name)
    health = store_health.health(conn, name)
    never, never_bytes = _items(
        conn, item.c.state.in_(SENT_FROM), item.c.staged_path != "", ~_queued_for(name)
    )
    lost = known_stores.out_of_reach(conn, name)
    return {
        "name": name,
        "type": wanted[0] if wanted else row.type if row else "",
        "required": wanted[1] if wanted else bool(row and row.required),
        "configured": wanted is not None,
        "identity": row.identity if row else "",
        "state": _state(wanted is not None, row, health.last_error),
        "left_at": row.left_at if row else "",
        "retired_at": row.retired_at if row else "",
        "last_error": health.last_error,
        "failing_since": health.failing_since,
        "confirmed": _confirmed(conn, name),
        "waiting": waiting.items,
        "waiting_bytes": waiting.size_bytes,
        "refused": refused.items,
        "never_sent": never,
        "never_sent_bytes": never_bytes,
        "impossible": lost.items,
        "impossible_bytes": lost.size_bytes,
    }


def _state(configured: bool, row: Store | None, last_error: str) -> str:  # noqa: FBT001 - one of three facts
    if not configured:
        return "retired" if row and row.retired_at else "removed"
    if last_error:
        return "failing"
    return "ok" if row and row.identity else "new"


def _uploads(conn: sa.Connection, store: str) -> tuple[known_stores.Amount, known_stores.Amount]:
    """What waits for a store, and what it refused; only what the dock still has a copy of."""
    waiting, refused = known_stores.Amount(), known_stores.Amount()
    for state, number, *sums in conn.execute(
        sa.select(upload.c.state, sa.func.count(), *halves(item.c.size_bytes))
        .select_from(upload.join(item, upload.c.item_id == item.c.item_id))
        .where(upload.c.store == store, upload.c.state != UploadState.CONFIRMED.value)
        .where(item.c.state.in_(SENT_FROM))
        .group_by(upload.c.state)
    ):
        amount = known_stores.Amount(number, whole(sums))
        if state == UploadState.REFUSED.value:
            refused = amount
        else:
            waiting = known_stores.Amount(
                waiting.items + amount.items, waiting.size_bytes + amount.size_bytes
            )
    return waiting, refused


def _confirmed(conn: sa.Connection, store: str) -> int:
    return conn.execute(
        sa.select(sa.func.count()).where(
            upload.c.store == store, upload.c.state == UploadState.CONFIRMED.value
        )
    ).scalar_one()


def _queued_for(store: str) -> sa.ColumnElement[bool]:
    return (
        sa.exists()
        .where(upload.c.item_id == item.c.item_id, upload.c.store == store)
        .correlate(item)
    )


def _items(conn: sa.Connection, *which: sa.ColumnElement[bool]) -> tuple[int, int]:
    number, *sums = conn.execute(
        sa.select(sa.func.count(), *halves(item.c.size_bytes)).select_from(item).where(*which)
    ).one()
    return int(number), whole(sums)
