"""What the daemon's housekeeping asks of the database: anchors and releases that are due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from bodycam_ingest.db import storehealth, uploads
from bodycam_ingest.db.schema import docking, inventory, item, outbox
from bodycam_ingest.model.backoff import wait_s
from bodycam_ingest.model.lifecycle import ItemState

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKPOINT_KIND = "checkpoint"


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


def dockings_to_release(conn: sa.Connection) -> list[str]:
    """Dockings whose inventory names an item that is confirmed and not yet released."""
    rows = conn.execute(
        sa.select(inventory.c.docking_id)
        .select_from(
            inventory.join(item, inventory.c.item_id == item.c.item_id).join(
                docking, docking.c.docking_id == inventory.c.docking_id
            )
        )
        .where(item.c.state == ItemState.CONFIRMED.value)
        .distinct()
        .order_by(inventory.c.docking_id)
    )
    return list(rows.scalars())
