"""What the daemon's housekeeping asks of the database: anchors and releases that are due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.db import items, knownstores, storehealth, uploads
from bodycam_ingest.db.schema import finding, item, outbox
from bodycam_ingest.model.backoff import wait_s
from bodycam_ingest.model.lifecycle import ItemState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bodycam_ingest.db.items import ItemRow

CHECKPOINT_KIND = "checkpoint"
_RELEASED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class AnchorState:
    """What was anchored and what waits for it.

    Args:
        queued_size: entries under the newest checkpoint queued or stored, 0 when none.
        queued_at: when that was queued, RFC 3339, empty when none.
        waiting_seq: highest entry that a release or a purge waits on, None when none waits; a
            required store that came later, without any checkpoint, counts as waiting.
        under_way: required stores to which something can be sent now.
    """

    queued_size: int
    queued_at: str
    waiting_seq: int | None
    under_way: int


def anchor_state(conn: sa.Connection, required: Sequence[str], now_ms: int) -> AnchorState:
    """The newest checkpoint object and the highest entry that something waits on.

    Args:
        conn: an open connection.
        required: names of the stores that are required now.
        now_ms: the time, ms since 1970.
    """
    newest = conn.execute(
        sa.select(outbox.c.ledger_size, outbox.c.created_at)
        .where(outbox.c.kind == CHECKPOINT_KIND)
        .order_by(outbox.c.ledger_size.desc())
        .limit(1)
    ).first()
    confirmed = conn.execute(
        sa.select(sa.func.max(item.c.confirmed_seq)).where(
            item.c.state == ItemState.CONFIRMED.value
        )
    ).scalar()
    purging = conn.execute(
        sa.select(sa.func.max(item.c.purging_seq)).where(item.c.state == ItemState.RELEASED.value)
    ).scalar()
    waiting = [seq for seq in (confirmed, purging) if seq is not None]
    if newest and not _queued_for_all(conn, newest.ledger_size, required):
        waiting.append(newest.ledger_size)
    # A store that is away can take no checkpoint either: it must not slow down the others' ones.
    under_way = sum(
        not wait_s(storehealth.health(conn, store).paused_until_ms, now_ms)
        and uploads.any_due(conn, store, now_ms)
        for store in required
    )
    return AnchorState(
        queued_size=newest.ledger_size if newest else 0,
        queued_at=newest.created_at if newest else "",
        waiting_seq=max(waiting) if waiting else None,
        under_way=under_way,
    )


def _queued_for_all(conn: sa.Connection, ledger_size: int, required: Sequence[str]) -> bool:
    """Whether the newest checkpoint was queued for each of these stores."""
    number = conn.execute(
        sa.select(sa.func.count()).where(
            outbox.c.kind == CHECKPOINT_KIND,
            outbox.c.ledger_size == ledger_size,
            outbox.c.store.in_(list(required)),
        )
    ).scalar_one()
    return number == len(required)


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
            *(knownstores.has_confirmed(store) for store in required),
        )
        .order_by(item.c.confirmed_seq)
        .limit(_RELEASED_AT_ONCE)
    )
    return items.by_ids(conn, list(found.scalars()))
