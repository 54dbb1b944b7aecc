"""Copies on their way out: which of a camera's may be released, which staged ones are due to go.

What `item_work` holds of a released item is what its purge waits for. A copy counts only when every
store that is required now has confirmed the item: what one of them never had is not even a
candidate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.custody import item_entries
from bodycam_ingest.db import items, known_stores
from bodycam_ingest.db.schema import finding, item, item_work
from bodycam_ingest.model.backoff import is_due
from bodycam_ingest.model.lifecycle import ItemState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn

_RELEASED_AT_ONCE: Final = 1000


# -- off the camera ------------------------------------------------------------------------------


def dockings_to_release(conn: sa.Connection, live: Iterable[str]) -> list[str]:
    """Those of the running dockings that saw an item which is confirmed and not yet released."""
    found = conn.execute(
        sa.select(item.c.seen_docking_id)
        .where(item.c.seen_docking_id.in_(list(live)), item.c.state == ItemState.CONFIRMED.value)
        .distinct()
        .order_by(item.c.seen_docking_id)
    )
    return list(found.scalars())


def items_to_release(
    conn: sa.Connection, live: Iterable[str], required: Sequence[str], anchored_size: int
) -> list[ItemRow]:
    """Items that may be released and are on no camera that is docked now; at most a thousand.

    Entries under a checkpoint that each required store confirmed are `anchored_size`.
    """
    alarmed = sa.select(finding.c.item_id).where(
        finding.c.closed_at.is_(None),
        finding.c.severity == "alarm",
        finding.c.item_id.is_not(None),
    )
    found = conn.execute(
        sa.select(item.c.item_id)
        .where(
            item.c.state == ItemState.CONFIRMED.value,
            item.c.confirmed_seq < anchored_size,
            item.c.seen_docking_id.not_in(list(live)),
            item.c.item_id.not_in(alarmed),
            *(known_stores.has_confirmed(store) for store in required),
        )
        .order_by(item.c.confirmed_seq)
        .limit(_RELEASED_AT_ONCE)
    )
    return items.by_ids(conn, list(found.scalars()))


# -- off the dock --------------------------------------------------------------------------------


def purge_candidates(
    conn: sa.Connection, required: Sequence[str], *, released_by_ms: int | None, limit: int
) -> list[ItemRow]:
    """Released items whose copy may be announced for purging, oldest first.

    Args:
        conn: an open connection.
        required: names of the stores that are required now.
        released_by_ms: released not later than that, by the dock's own time; None: whenever.
        limit: at most so many.
    """
    query = _held_by_all(required).where(item.c.purging_seq.is_(None))
    if released_by_ms is not None:
        query = query.where(item.c.released_dock_ms <= released_by_ms)
    found = conn.execute(
        query.order_by(item.c.released_dock_ms, item.c.item_id).limit(limit)
    ).scalars()
    return items.by_ids(conn, list(found))


def announce_purge(txn: Txn, row: ItemRow) -> None:
    """Record the intent to purge an item's staged copy."""
    txn.add(item_entries.purging(row.item_id, row.staged_path))
    # What was written down while it was read says nothing of its purge.
    items.make_due(txn, [row.item_id])


def next_purge(
    conn: sa.Connection, required: Sequence[str], *, anchored_size: int, now_ms: int
) -> ItemRow | None:
    """The announced copy that has been due for longest; None when none is.

    Args:
        conn: an open connection.
        required: names of the stores that are required now.
        anchored_size: entries under the newest checkpoint that each of them has.
        now_ms: the time, ms since 1970.
    """
    due_ms = sa.func.coalesce(item_work.c.due_ms, 0)
    found = conn.execute(
        _held_by_all(required)
        .outerjoin(item_work, item_work.c.item_id == item.c.item_id)
        .where(item.c.purging_seq.is_not(None), item.c.purging_seq < anchored_size)
        .where(is_due(due_ms, now_ms))
        .order_by(due_ms, item.c.item_id)
        .limit(1)
    ).scalar()
    return None if found is None else items.get(conn, found)


def hurry_purges(txn: Txn) -> None:
    """Have every copy whose purge waits looked at now."""
    items.make_due(txn, [row.item_id for row in txn.conn.execute(_waiting())])


def any_purge_announced(conn: sa.Connection) -> bool:
    """Whether the purge of any copy was announced and not done."""
    found = conn.execute(
        sa.select(item.c.item_id).where(_is_released(), item.c.purging_seq.is_not(None)).limit(1)
    ).scalar()
    return found is not None


def any_purge_waits(conn: sa.Connection) -> bool:
    """Whether the purge of any copy waits for a later time."""
    return conn.execute(_waiting().limit(1)).scalar() is not None


def _waiting() -> sa.Select[tuple[str]]:
    return (
        sa.select(item.c.item_id)
        .join(item_work, item_work.c.item_id == item.c.item_id)
        .where(_is_released(), item.c.purging_seq.is_not(None), item_work.c.due_ms != 0)
    )


def _is_released() -> sa.ColumnElement[bool]:
    # As a literal: an index of released items alone is used only where the statement says so.
    return item.c.state == sa.bindparam(None, ItemState.RELEASED.value, literal_execute=True)


def _held_by_all(required: Sequence[str]) -> sa.Select[Any]:
    held = (known_stores.has_confirmed(store) for store in required)
    return sa.select(item.c.item_id).where(_is_released(), *held)
