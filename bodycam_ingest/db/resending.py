"""What is sent once more, or to a store that came later: by a person's wish, or because it is due.

A store that confirmed an item may have lost it, and a store may be younger than the item. In both
cases the dock's own copy goes out again as long as there is one; a store looks first, so what it
does hold is proven again and never sent twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.custody.entry import SYSTEM
from bodycam_ingest.db import items, storehealth, uploads
from bodycam_ingest.db.schema import item, ledger_entry, outbox, upload
from bodycam_ingest.model.lifecycle import ItemEvent, UploadEvent, UploadState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.db.uploads import UploadRow

STORE_LOST: Final = "store_lost"
BY_REQUEST: Final = "by_request"
_OUTBOX_OPEN: Final = UploadState.CONFIRMED.value


@dataclass(frozen=True, slots=True)
class Retried:
    """What a retry did.

    Args:
        due: uploads that waited, or were refused, and are due now.
        again: stores that had confirmed the item and are asked again.
    """

    due: int = 0
    again: tuple[str, ...] = ()


def send_again(txn: Txn, row: UploadRow, reason: str, actor: Actor = SYSTEM) -> None:
    """Have a store asked again for an item, and sent the item where it lost it.

    Args:
        txn: the open transaction.
        row: the upload, in whatever state.
        reason: why, for the ledger.
        actor: who wants it.
    """
    values = {"attempts": 0, "due_ms": 0, "integrity_faults": 0, "first_failed_at": ""}
    uploads.advance(txn.conn, row, UploadEvent.REPEAT, **values)
    data = {"store": row.store, "reason": reason}
    txn.append("upload.repeated", f"item:{row.item_id}", data, actor=actor)


def retry_item(txn: Txn, row: ItemRow, stores: Collection[str], actor: Actor = SYSTEM) -> Retried:
    """Have everything about one item tried now, the refused too; what is confirmed is asked again.

    Args:
        txn: the open transaction.
        row: the item.
        stores: at these stores.
        actor: who wants it.
    """
    due, again = 0, []
    sendable = row.state in uploads.SENDABLE and bool(row.staged_path)
    for one in uploads.of_item(txn.conn, row.item_id):
        if one.store not in stores or one.state is UploadState.SENDING:
            continue
        if one.state is not UploadState.CONFIRMED:
            uploads.advance(txn.conn, one, UploadEvent.RETRY, due_ms=0)
            due += 1
        elif sendable:
            send_again(txn, one, BY_REQUEST, actor)
            again.append(one.store)
    storehealth.lift_pauses(txn, stores)
    return Retried(due, tuple(again))


def retry_all(txn: Txn, stores: Collection[str]) -> Retried:
    """Have everything that waits for these stores tried now, the refused too.

    Args:
        txn: the open transaction.
        stores: their names.
    """
    query = sa.select(upload.c.item_id, upload.c.store).where(
        upload.c.store.in_(list(stores)),
        upload.c.state.not_in([UploadState.CONFIRMED.value, UploadState.SENDING.value]),
    )
    found = txn.conn.execute(query).all()
    for key in found:
        row = uploads.get(txn.conn, key.item_id, key.store)
        uploads.advance(txn.conn, row, UploadEvent.RETRY, due_ms=0)
    txn.conn.execute(
        outbox.update()
        .where(outbox.c.store.in_(list(stores)), outbox.c.state != _OUTBOX_OPEN)
        .values(state=UploadState.QUEUED.value, due_ms=0)
    )
    storehealth.lift_pauses(txn, stores)
    return Retried(len(found))


# -- stores that came later ----------------------------------------------------------------------


def never_queued(conn: sa.Connection, store: str, *, limit: int) -> list[str]:
    """Items that staging still has and that were never queued for a store, oldest first.

    Args:
        conn: an open connection.
        store: the store.
        limit: at most so many.
    """
    return list(
        conn.execute(_never_queued(sa.select(item.c.item_id), store).limit(limit)).scalars()
    )


def _never_queued(query: sa.Select[str], store: str) -> sa.Select[str]:
    return (
        query.where(item.c.state.in_([state.value for state in uploads.SENDABLE]))
        .where(item.c.staged_path != "", item.c.sha256.is_not(None))
        .where(
            ~sa.exists()
            .where(upload.c.item_id == item.c.item_id, upload.c.store == store)
            .correlate(item)
        )
        .order_by(item.c.item_id)
    )


def backfill_page(txn: Txn, store: str, limit: int, actor: Actor = SYSTEM) -> int:
    """Queue some of what staging still has for a store that never got it, with its entry.

    Items that are queued nowhere at all are left to `StoreKeeper`, which can make them a key.

    Args:
        txn: the open transaction.
        store: the store.
        limit: looks at no more than so many items.
        actor: who wants it.

    Returns:
        How many were queued.
    """
    found = never_queued(txn.conn, store, limit=limit)
    if not found:
        return 0
    bare = queue_missing(txn, store, found)
    queued = len(found) - len(bare)
    if queued:
        note_backfill(txn, store, queued, actor)
    return queued


def note_backfill(txn: Txn, store: str, number: int, actor: Actor = SYSTEM) -> None:
    """Record that so many items were queued for a store that came later."""
    data = {"store": store, "items": number}
    txn.append("store.backfilled", f"store:{store}", data, actor=actor)


def queue_item(txn: Txn, row: ItemRow, stores: Collection[str]) -> int:
    """Queue one item for those of these stores that never got it; returns for how many."""
    if row.state not in uploads.SENDABLE or not row.staged_path:
        return 0
    known = {one.store for one in uploads.of_item(txn.conn, row.item_id)}
    missing = sorted(set(stores) - known) if known else []
    return sum(not queue_missing(txn, store, [row.item_id]) for store in missing)


def queue_missing(txn: Txn, store: str, item_ids: Sequence[str]) -> list[tuple[ItemRow, int]]:
    """Queue items for a store that came later: under the same key, with the same metadata.

    Args:
        txn: the open transaction.
        store: the store.
        item_ids: items that were never queued for it.

    Returns:
        Items that are queued for no store at all, each with its `item.verified` entry: for those
        key and metadata must be made anew.
    """
    required = store in txn.rows.store_set().required
    known: dict[str, list[UploadRow]] = {}
    for one in uploads.of_items(txn.conn, item_ids).values():
        known.setdefault(one.item_id, []).append(one)
    bare, fresh = [], []
    for row in items.by_ids(txn.conn, item_ids):
        digest = row.digests().sha256.hex()
        like = next(
            (up for up in known.get(row.item_id, []) if up.metadata.get("sha256") == digest),
            None,
        )
        if like is None:
            bare.append((row, _verified_seq(txn.conn, row.item_id)))
            continue
        fresh.append(
            {
                "item_id": row.item_id,
                "store": store,
                "required": required,
                "state": UploadState.QUEUED.value,
                "key": like.key,
                "metadata": json.dumps(dict(like.metadata), sort_keys=True),
            }
        )
    if fresh:
        txn.conn.execute(upload.insert(), fresh)
    return bare


def _verified_seq(conn: sa.Connection, item_id: str) -> int:
    found = conn.execute(
        sa.select(sa.func.max(ledger_entry.c.seq)).where(
            ledger_entry.c.subject == f"item:{item_id}",
            ledger_entry.c.type == ItemEvent.VERIFIED.value,
        )
    ).scalar()
    return int(found or 0)
