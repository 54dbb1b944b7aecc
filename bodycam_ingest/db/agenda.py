"""What the daemon's housekeeping asks of the database: anchors, purges, releases that are due."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from bodycam_ingest.db import items
from bodycam_ingest.db.schema import docking, inventory, item, outbox, upload
from bodycam_ingest.lifecycle import ItemState, UploadState

if TYPE_CHECKING:
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn

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


def purge_candidates(conn: sa.Connection, *, released_before: str, limit: int) -> list[ItemRow]:
    """Released items whose copy may be announced for purging, oldest first."""
    found = conn.execute(
        sa.select(item.c.item_id)
        .where(item.c.state == ItemState.RELEASED.value)
        .where(item.c.purging_seq.is_(None), item.c.released_at <= released_before)
        .order_by(item.c.item_id)
        .limit(limit)
    ).scalars()
    return items.by_ids(conn, list(found))


def announce_purge(txn: Txn, row: ItemRow) -> int:
    """Record the intent to purge an item's staged copy; returns the entry's sequence number."""
    seq: int = txn.append("item.purging", f"item:{row.item_id}", {"staged": row.staged_path})
    txn.conn.execute(item.update().where(item.c.item_id == row.item_id).values(purging_seq=seq))
    return seq


def announced_purges(conn: sa.Connection, *, anchored_size: int, limit: int) -> list[ItemRow]:
    """Released items whose purge was announced under an anchored checkpoint, oldest first."""
    found = conn.execute(
        sa.select(item.c.item_id)
        .where(item.c.state == ItemState.RELEASED.value)
        .where(item.c.purging_seq.is_not(None), item.c.purging_seq < anchored_size)
        .order_by(item.c.item_id)
        .limit(limit)
    ).scalars()
    return items.by_ids(conn, list(found))


@dataclass(frozen=True, slots=True)
class RequiredUpload:
    """Where a required store holds an item.

    Args:
        store: the store.
        key: key in it.
        version_id: version that was confirmed, empty where there are none.
        confirmed: the store confirmed it.
    """

    store: str
    key: str
    version_id: str
    confirmed: bool


def required_uploads(conn: sa.Connection, item_id: str) -> list[RequiredUpload]:
    """Where the required stores hold an item."""
    rows = conn.execute(sa.select(upload).where(upload.c.item_id == item_id, upload.c.required))
    return [
        RequiredUpload(r.store, r.key, r.version_id, r.state == UploadState.CONFIRMED.value)
        for r in rows
    ]


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
