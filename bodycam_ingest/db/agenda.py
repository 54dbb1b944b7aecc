"""What the daemon's housekeeping asks of the database: anchors and releases that are due."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from bodycam_ingest.db.schema import docking, inventory, item, outbox, upload
from bodycam_ingest.lifecycle import ItemState

CHECKPOINT_KIND = "checkpoint"


@dataclass(frozen=True, slots=True)
class AnchorState:
    """What was anchored and what waits for it.

    Args:
        queued_size: entries under the newest checkpoint queued or stored, 0 when none.
        queued_at: when that was queued, RFC 3339, empty when none.
        waiting_seq: highest entry that a release or a purge waits on, None when none waits.
        under_way: uploads to required stores that are not confirmed and not refused.
    """

    queued_size: int
    queued_at: str
    waiting_seq: int | None
    under_way: int


def anchor_state(conn: sa.Connection) -> AnchorState:
    """The newest checkpoint object and the highest entry that something waits on."""
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
    under_way = conn.execute(
        sa.select(sa.func.count())
        .select_from(upload)
        # As the partial index ix_upload_unsettled is written.
        .where(upload.c.required, sa.text("upload.state NOT IN ('confirmed', 'refused')"))
    ).scalar_one()
    waiting = [seq for seq in (confirmed, purging) if seq is not None]
    return AnchorState(
        queued_size=newest.ledger_size if newest else 0,
        queued_at=newest.created_at if newest else "",
        waiting_seq=max(waiting) if waiting else None,
        under_way=under_way,
    )


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
