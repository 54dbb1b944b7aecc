"""When an item has all the confirmations that it needs: the step and its entries, in one place.

A store's own proof completes an item most often. A change of the set of stores can do it as well:
then the confirmation of a store that holds the item is recorded once more, with `outstanding`
empty, so that the ledger alone still tells each item's state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.db import items, uploads
from bodycam_ingest.db.schema import item, upload
from bodycam_ingest.model.lifecycle import ItemEvent, ItemState, UploadState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.model.store_set import StoreSet

PROVEN: Final = frozenset({UploadState.CONFIRMED})
_WAITING: Final = (ItemState.VERIFIED.value, ItemState.STORED.value)
STORES_CHANGED: Final = "stores_changed"


def confirmed(txn: Txn, row: ItemRow, data: Mapping[str, Any]) -> None:
    """Record that a store confirmed an item, with the step that this makes.

    Args:
        txn: the open transaction.
        row: the item as it is now.
        data: the entry's data; `required` with nothing `outstanding` completes the item.
    """
    subject = f"item:{row.item_id}"
    complete = bool(data["required"]) and not data["outstanding"]
    if complete and row.state is ItemState.VERIFIED:
        # What it waited for is no longer waited for: it was stored everywhere without a step.
        named = {key: data[key] for key in data if key not in {"proof", "checksum"}}
        items.record(txn, row, ItemEvent.STORED, named)
        row = items.get(txn.conn, row.item_id)
    if complete and row.state is ItemState.STORED:
        seq = items.record(txn, row, ItemEvent.CONFIRMED, data)
    else:
        seq = txn.append(ItemEvent.CONFIRMED.value, subject, data)
        if not (complete and row.state is ItemState.CONFIRMED):
            return
    # Confirmed anew as well: nothing is released before this entry lies under a checkpoint.
    items.set_confirmed_seq(txn, row.item_id, seq)


def settle_page(txn: Txn, after: str, limit: int) -> tuple[int, str]:
    """Complete items that wait for no store any more.

    Args:
        txn: the open transaction.
        after: only items with a higher id.
        limit: looks at no more than so many.

    Returns:
        How many were completed, and the id of the last one looked at, empty at the end.
    """
    stores = txn.rows.store_set()
    ids = list(
        txn.conn.execute(
            sa.select(item.c.item_id)
            .where(item.c.state.in_(_WAITING), item.c.item_id > after)
            .order_by(item.c.item_id)
            .limit(limit)
        ).scalars()
    )
    done = sum(_settle(txn, stores, row) for row in items.by_ids(txn.conn, ids))
    return done, ids[-1] if len(ids) == limit else ""


def _settle(txn: Txn, stores: StoreSet, row: ItemRow) -> bool:
    if uploads.outstanding(txn.conn, stores, row.item_id, PROVEN):
        return False
    held = txn.conn.execute(
        sa.select(upload)
        .where(upload.c.item_id == row.item_id, upload.c.store.in_(sorted(stores.required)))
        .order_by(upload.c.store)
        .limit(1)
    ).first()
    if held is None or row.sha256 is None:
        return False
    data = {
        "store": held.store,
        "required": True,
        "key": held.key,
        "version_id": held.version_id,
        "etag": held.etag,
        "sha256": row.sha256.hex(),
        "proof": held.proof,
        "checksum": held.checksum,
        "outstanding": [],
        "because": STORES_CHANGED,
    }
    confirmed(txn, row, data)
    return True
