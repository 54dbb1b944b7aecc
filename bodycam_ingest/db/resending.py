"""What is sent once more, or to a store that came later, and what a change of the stores completes.

A store that confirmed an item may have lost it, and a store may be younger than the item. In both
cases the dock's own copy goes out again as long as there is one; a store looks first, so what it
does hold is proven again and never sent twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.custody import item_entries
from bodycam_ingest.custody.entry import SYSTEM
from bodycam_ingest.custody.projection import waits_for
from bodycam_ingest.db import known_stores, own_objects, store_health, uploads
from bodycam_ingest.db.schema import item, upload
from bodycam_ingest.model import rows
from bodycam_ingest.model.evidence import Confirmation, ProofKind, StoredObject
from bodycam_ingest.model.lifecycle import HELD_UP, SENT_FROM, UPLOAD_PROVEN, UploadState

if TYPE_CHECKING:
    from collections.abc import Collection

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn

STORE_LOST: Final = "store_lost"
BY_REQUEST: Final = "by_request"
STORES_CHANGED: Final = "stores_changed"
# An entry that names so many items stays well below its largest size.
PAGE_ITEMS: Final = 1000


@dataclass(frozen=True, slots=True)
class Retried:
    """How many uploads are due now, and the stores that confirmed the item and are asked again."""

    due: int = 0
    again: tuple[str, ...] = ()


def retry_item(txn: Txn, row: ItemRow, stores: Collection[str], actor: Actor = SYSTEM) -> Retried:
    """Have all about one item tried now, the refused too; what is confirmed is asked again."""
    due, again = 0, []
    sendable = row.state in SENT_FROM and bool(row.staged_path)
    for one in uploads.of_item(txn.conn, row.item_id):
        if one.store not in stores:
            continue
        if one.state is UploadState.CONFIRMED:
            if sendable:
                txn.add(
                    item_entries.upload_repeated(row.item_id, one.store, BY_REQUEST), actor=actor
                )
                again.append(one.store)
            continue
        if one.state is UploadState.REFUSED:
            txn.add(item_entries.upload_repeated(row.item_id, one.store, BY_REQUEST), actor=actor)
        else:
            uploads.update_work(txn.conn, row.item_id, one.store, due_ms=0)
        due += 1
    store_health.lift_pauses(txn, stores)
    return Retried(due, tuple(again))


def retry_all(txn: Txn, stores: Collection[str], actor: Actor = SYSTEM) -> Retried:
    """Have everything that waits for these stores tried now, the refused too."""
    uploads.restore_work(txn.conn)
    due = uploads.make_due(txn.conn, stores)
    refused = txn.conn.execute(
        sa.select(upload.c.item_id, upload.c.store).where(
            upload.c.store.in_(list(stores)), upload.c.state == UploadState.REFUSED.value
        )
    ).all()
    for row in refused:
        txn.add(item_entries.upload_repeated(row.item_id, row.store, BY_REQUEST), actor=actor)
    own_objects.retry(txn, stores)
    store_health.lift_pauses(txn, stores)
    return Retried(due + len(refused))


# -- stores that came later ----------------------------------------------------------------------


def never_queued(conn: sa.Connection, store: str, *, limit: int) -> list[str]:
    """Items that staging still has and that were never queued for a store, oldest first."""
    found = conn.execute(
        sa.select(item.c.item_id)
        .where(item.c.state.in_(SENT_FROM))
        .where(item.c.staged_path != "", ~known_stores.queued_for(store))
        .order_by(item.c.item_id)
        .limit(limit)
    )
    return list(found.scalars())


def backfill_page(txn: Txn, store: str, actor: Actor = SYSTEM) -> int:
    """Queue some of what staging still has for a store that never got it.

    Returns how many were queued; fewer than `PAGE_ITEMS` when none is left.
    """
    found = never_queued(txn.conn, store, limit=PAGE_ITEMS)
    if found:
        txn.rows.prefetch(rows.Item, found)
        txn.add(item_entries.backfilled(store, found), actor=actor)
    return len(found)


def queue_item(txn: Txn, row: ItemRow, stores: Collection[str], actor: Actor = SYSTEM) -> int:
    """Queue one item for those of these stores that never got it; returns for how many."""
    if row.state not in SENT_FROM or not row.staged_path:
        return 0
    missing = set(stores) - {one.store for one in uploads.of_item(txn.conn, row.item_id)}
    for store in sorted(missing):
        txn.add(item_entries.backfilled(store, [row.item_id]), actor=actor)
    return len(missing)


# -- stores that are waited for no more ----------------------------------------------------------


def settle_page(txn: Txn, after: str, limit: int) -> tuple[int, str]:
    """Complete items that wait for no store any more, because the set of stores changed.

    The confirmation of a store that holds the item is recorded once more, with nothing outstanding,
    so that the entries alone still tell each item's state.

    Returns how many of the `limit` items after that id were completed, and the id of the last one
    looked at, empty at the end.
    """
    ids = list(
        txn.conn.execute(
            sa.select(item.c.item_id)
            .where(item.c.state.in_(HELD_UP), item.c.item_id > after)
            .order_by(item.c.item_id)
            .limit(limit)
        ).scalars()
    )
    txn.rows.prefetch(rows.Item, ids)
    txn.rows.prefetch(rows.Upload, ids)
    done = sum(_settle(txn, item_id) for item_id in ids)
    return done, ids[-1] if len(ids) == limit else ""


def _settle(txn: Txn, item_id: str) -> bool:
    row = txn.rows.get(rows.Item, item_id)
    if row is None or row.sha256 is None:
        return False
    for store in sorted(txn.rows.store_set().required):
        held = txn.rows.get(rows.Upload, item_id, store)
        if held is None or held.state is not UploadState.CONFIRMED:
            return False
        waits = waits_for(txn.rows, item_id, store, UPLOAD_PROVEN)
        if waits[1]:
            return False
        proof = Confirmation(
            StoredObject(rows.key_of(row), held.version_id, held.etag),
            ProofKind(held.proof),
            held.checksum,
        )
        txn.add(
            item_entries.confirmed(
                item_id, store, proof, sha256=row.sha256, waits=waits, because=STORES_CHANGED
            )
        )
        return True
    return False
