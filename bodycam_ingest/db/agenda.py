"""What the daemon's housekeeping asks of the database: anchors and releases that are due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.db import items, known_stores, own_objects, store_health, uploads
from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.schema import finding, item, ledger_entry
from bodycam_ingest.model.backoff import wait_s
from bodycam_ingest.model.lifecycle import ItemState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bodycam_ingest.db.items import ItemRow

_RELEASED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class AnchorState:
    """What was anchored and what waits for it.

    Args:
        queued_size: entries under the newest checkpoint queued or stored, 0 when none.
        written_at: when the last of those was written, RFC 3339, empty when none.
        waiting_seq: highest entry that a release or a purge waits on, None when none waits; a
            required store that came later, without any checkpoint, counts as waiting.
        under_way: required stores to which something can be sent now.
        news: more was recorded since than where checkpoints went.
    """

    queued_size: int
    written_at: str
    waiting_seq: int | None
    under_way: int
    news: bool


def anchor_state(
    conn: sa.Connection, stores: Sequence[str], required: Sequence[str], size: int, now_ms: int
) -> AnchorState:
    """The newest checkpoint object and the highest entry that something waits on.

    Args:
        conn: an open connection.
        stores: names of all stores.
        required: names of the stores that are required now.
        size: entries in the ledger.
        now_ms: the time, ms since 1970.
    """
    newest = own_objects.newest_checkpoint(conn, stores, size)
    confirmed = conn.execute(
        sa.select(sa.func.max(item.c.confirmed_seq)).where(
            item.c.state == ItemState.CONFIRMED.value
        )
    ).scalar()
    purging = conn.execute(
        sa.select(sa.func.max(item.c.purging_seq)).where(item.c.state == ItemState.RELEASED.value)
    ).scalar()
    waiting = [seq for seq in (confirmed, purging) if seq is not None]
    if newest and own_objects.lacking_checkpoint(conn, required, newest):
        waiting.append(newest)
    # A store that is away can take no checkpoint either: it must not slow down the others' ones.
    under_way = sum(
        not wait_s(store_health.health(conn, store).paused_until_ms, now_ms)
        and uploads.any_due(conn, store, now_ms)
        for store in required
    )
    written_at = conn.execute(
        sa.select(ledger_entry.c.t).where(
            ledger_entry.c.log_id == LOG_ID, ledger_entry.c.seq == newest - 1
        )
    ).scalar()
    return AnchorState(
        queued_size=newest,
        written_at=written_at or "",
        waiting_seq=max(waiting, default=None),
        under_way=under_way,
        news=own_objects.first_news_at(conn, newest) is not None,
    )


def dockings_to_release(conn: sa.Connection, live: Iterable[str]) -> list[str]:
    """Those of the running dockings that saw an item which is confirmed and not yet released."""
    found = conn.execute(
        sa.select(item.c.seen_docking_id)
        .where(item.c.seen_docking_id.in_(list(live)), item.c.state == ItemState.CONFIRMED.value)
        .distinct()
        .order_by(item.c.seen_docking_id)
    )
    return list(found.scalars())


def to_release_alone(
    conn: sa.Connection, live: Iterable[str], required: Sequence[str], anchored_size: int
) -> list[ItemRow]:
    """Items that may be released and are on no camera that is docked now; at most a thousand.

    Args:
        conn: an open connection.
        live: the dockings whose camera is there.
        required: names of the stores that are required now.
        anchored_size: entries under a checkpoint that each of them confirmed.
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
