"""Rows of uploads: one for each item and store, with its own small state machine.

`advance` is the only place that changes `upload.state`; it asks the table in `lifecycle`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.db.schema import item, upload, upload_part
from bodycam_ingest.errors import UsageError
from bodycam_ingest.model.backoff import is_due
from bodycam_ingest.model.evidence import ProofKind
from bodycam_ingest.model.lifecycle import ItemState, UploadEvent, UploadState, advance_upload
from bodycam_ingest.model.store_set import Reached

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.model.store_set import StoreSet

_CHUNK: Final = 500
# An item in any other state has no copy that may be sent.
SENDABLE: Final = frozenset(
    {ItemState.VERIFIED, ItemState.STORED, ItemState.CONFIRMED, ItemState.RELEASED}
)
_OPEN: Final = tuple(
    state.value
    for state in (
        UploadState.QUEUED,
        UploadState.SENDING,
        UploadState.WAITING,
        UploadState.STORED,
    )
)


@dataclass(frozen=True, slots=True)
class UploadRow:
    """An upload as stored.

    Args:
        item_id: the item.
        store: where to.
        required: release waits for it.
        state: where it stands.
        key: its key.
        metadata: fixed when it was queued, because it tells our object from another's.
        upload_id: the store's id of a multipart upload, empty when none is open.
        completing: the call that completes it was begun.
        version_id: version that is ours, empty where the store has none.
        etag: the store's own tag.
        checksum: what the store told of the parts when it confirmed them; empty for other proofs.
        attempts: failed tries in a row.
        integrity_faults: times in a row that the store received other bytes than were sent.
        first_failed_at: RFC 3339, start of the present row of failures, empty when none.
        last_error: code of the last fault, empty when none.
    """

    item_id: str
    store: str
    required: bool
    state: UploadState
    key: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    upload_id: str = ""
    completing: bool = False
    version_id: str = ""
    etag: str = ""
    checksum: str = ""
    attempts: int = 0
    integrity_faults: int = 0
    first_failed_at: str = ""
    last_error: str = ""


def _row(row: Any) -> UploadRow:
    return UploadRow(
        item_id=row.item_id,
        store=row.store,
        required=row.required,
        state=UploadState(row.state),
        key=row.key,
        metadata=json.loads(row.metadata),
        upload_id=row.upload_id,
        completing=row.completing,
        version_id=row.version_id,
        etag=row.etag,
        checksum=row.checksum if row.proof == ProofKind.PART_CHECKSUMS else "",
        attempts=row.attempts,
        integrity_faults=row.integrity_faults,
        first_failed_at=row.first_failed_at,
        last_error=row.last_error,
    )


def _where(item_id: str, store: str) -> sa.ColumnElement[bool]:
    return sa.and_(upload.c.item_id == item_id, upload.c.store == store)


def get(conn: sa.Connection, item_id: str, store: str) -> UploadRow:
    """One upload; it must exist."""
    return _row(conn.execute(sa.select(upload).where(_where(item_id, store))).one())


def of_item(conn: sa.Connection, item_id: str) -> list[UploadRow]:
    """All uploads of an item, by store."""
    rows = conn.execute(
        sa.select(upload).where(upload.c.item_id == item_id).order_by(upload.c.store)
    )
    return [_row(row) for row in rows]


@dataclass(frozen=True, slots=True)
class ToQueue:
    """A verified item on its way to the stores.

    Args:
        item_id: the item.
        key: its key, the same in all stores.
        metadata: what the object shall carry; `item-id` and `sha256` decide whose it is.
    """

    item_id: str
    key: str
    metadata: Mapping[str, str]


def queue_items(txn: Txn, verified: Sequence[ToQueue], stores: Sequence[tuple[str, bool]]) -> None:
    """Queue verified items for every store.

    An item that was read off its camera a second time is queued again: what a store already holds
    of the same bytes is found there, and other bytes are never put over it.

    Args:
        txn: the open transaction.
        verified: the items.
        stores: every store's name and whether it is required.
    """
    known = of_items(txn.conn, [one.item_id for one in verified])
    fresh = [
        {
            "item_id": one.item_id,
            "store": store,
            "required": required,
            "state": UploadState.QUEUED.value,
            "key": one.key,
            "metadata": json.dumps(dict(one.metadata), sort_keys=True),
        }
        for one in verified
        for store, required in stores
        if (one.item_id, store) not in known
    ]
    if fresh:
        txn.conn.execute(upload.insert(), fresh)
    names = {store for store, _ in stores}
    for one in verified:
        for (item_id, store), row in known.items():
            if item_id == one.item_id and store in names:
                _queue_again(txn, row, one)


def of_items(conn: sa.Connection, item_ids: Sequence[str]) -> dict[tuple[str, str], UploadRow]:
    """Uploads of many items, by item and store."""
    found = {}
    for start in range(0, len(item_ids), 500):
        rows = conn.execute(
            sa.select(upload).where(upload.c.item_id.in_(item_ids[start : start + 500]))
        )
        found.update({(row.item_id, row.store): _row(row) for row in rows})
    return found


def _queue_again(txn: Txn, row: UploadRow, one: ToQueue) -> None:
    values: dict[str, Any] = {"attempts": 0, "due_ms": 0, "integrity_faults": 0}
    if row.metadata.get("sha256") != one.metadata["sha256"]:
        # Parts of other bytes: the store's side of them is found and aborted as an orphan.
        text = json.dumps(dict(one.metadata), sort_keys=True)
        values |= {"metadata": text, "upload_id": "", "completing": False}
        forget_parts(txn.conn, row.item_id, row.store)
    advance(txn.conn, row, UploadEvent.REPEAT, **values)


def advance(conn: sa.Connection, row: UploadRow, event: UploadEvent, **values: Any) -> UploadState:
    """Take an upload one step.

    Args:
        conn: the open transaction's connection.
        row: the upload as read by its only worker.
        event: what happened.
        values: further columns to set.

    Returns:
        The new state.

    Raises:
        IllegalTransitionError: the table has no such step.
    """
    state = advance_upload(row.state, event)
    conn.execute(
        upload.update().where(_where(row.item_id, row.store)).values(state=state.value, **values)
    )
    return state


def next_due(
    conn: sa.Connection,
    store: str,
    now_ms: int,
    in_hand: Collection[str],
    *,
    small_bytes: int,
    limit: int,
) -> list[UploadRow]:
    """The upload that has been due for longest; with it the small ones that come next.

    Args:
        conn: an open connection.
        store: whose.
        now_ms: the time, ms since 1970.
        in_hand: items that a worker of this process has in hand.
        small_bytes: items up to this size come in crowds.
        limit: at most so many.

    Returns:
        One row of any size, or a crowd of small ones; empty when none is due.
    """
    found = conn.execute(
        _open_uploads(sa.select(upload, item.c.size_bytes), store)
        .where(is_due(upload.c.due_ms, now_ms), upload.c.item_id.not_in(list(in_hand)))
        .order_by(upload.c.due_ms, upload.c.item_id)
        .limit(limit)
    ).all()
    if not found or found[0].size_bytes > small_bytes:
        return [_row(row) for row in found[:1]]
    return [_row(row) for row in found if row.size_bytes <= small_bytes]


def next_due_ms(conn: sa.Connection, store: str, in_hand: Collection[str]) -> int | None:
    """When the next upload of a store is due, ms since 1970; None when none waits."""
    due = conn.execute(
        _open_uploads(sa.select(sa.func.min(upload.c.due_ms)), store).where(
            upload.c.item_id.not_in(list(in_hand))
        )
    ).scalar()
    return None if due is None else int(due)


def _open_uploads(query: sa.Select[Any], store: str) -> sa.Select[Any]:
    sendable = [state.value for state in SENDABLE]
    return (
        query.select_from(upload.join(item, upload.c.item_id == item.c.item_id))
        .where(upload.c.store == store, upload.c.state.in_(_OPEN))
        .where(item.c.state.in_(sendable))
    )


def any_due(conn: sa.Connection, store: str, now_ms: int) -> bool:
    """Whether anything can be sent to a store now."""
    found = conn.execute(
        _open_uploads(sa.select(upload.c.item_id), store)
        .where(is_due(upload.c.due_ms, now_ms))
        .limit(1)
    ).first()
    return found is not None


def outstanding(
    conn: sa.Connection,
    stores: StoreSet,
    item_id: str,
    reached: Collection[UploadState],
    *,
    but: str = "",
) -> list[str]:
    """Stores that an item waits for, because its upload there has not got as far.

    Args:
        conn: an open connection.
        stores: the stores of now.
        item_id: the item.
        reached: states that count as having got there.
        but: a store left out, because it is getting there now.
    """
    return stores.missing(
        {
            row.store: Reached(there=row.state in reached, required=row.required)
            for row in of_item(conn, item_id)
        },
        but=but,
    )


def any_waits_on(conn: sa.Connection, store: str, code: str) -> bool:
    """Whether an upload to a store waits that met this fault last."""
    query = sa.select(upload.c.item_id).where(
        upload.c.store == store, upload.c.state.in_(_OPEN), upload.c.last_error == code
    )
    return conn.execute(query.limit(1)).first() is not None


def keys_of(conn: sa.Connection, item_ids: Sequence[str]) -> dict[str, str]:
    """Each item's key, the same in all stores; items that were never queued are left out."""
    found: dict[str, str] = {}
    for start in range(0, len(item_ids), _CHUNK):
        rows = conn.execute(
            sa.select(upload.c.item_id, upload.c.key)
            .where(upload.c.item_id.in_(item_ids[start : start + _CHUNK]))
            .distinct()
        )
        found.update({row.item_id: row.key for row in rows})
    return found


def forbid_if_sent(conn: sa.Connection, item_id: str) -> None:
    """Refuse to let an item be read anew once a store may hold some of it.

    Raises:
        UsageError: an upload of the item was begun.
    """
    for row in of_item(conn, item_id):
        if row.state is not UploadState.QUEUED or row.upload_id or row.attempts:
            raise UsageError(
                f"an upload of item {item_id} to {row.store} was begun",
                hint="`quarantine reinstate ITEM` sends the copy that was read; it stays one item.",
            )


# -- parts ---------------------------------------------------------------------------------------


def forget_parts(conn: sa.Connection, item_id: str, store: str) -> None:
    """Drop the tags of all parts of an upload."""
    conn.execute(
        upload_part.delete().where(upload_part.c.item_id == item_id, upload_part.c.store == store)
    )


def parts_of(conn: sa.Connection, item_id: str, store: str, upload_id: str) -> dict[int, str]:
    """Tags of the parts that were sent under an upload id, by number."""
    rows = conn.execute(
        sa.select(upload_part.c.number, upload_part.c.etag).where(
            upload_part.c.item_id == item_id,
            upload_part.c.store == store,
            upload_part.c.upload_id == upload_id,
        )
    )
    return {row.number: row.etag for row in rows}


def put_part(
    conn: sa.Connection, item_id: str, store: str, number: int, upload_id: str, etag: str
) -> None:
    """Keep a part's tag, instead of one that it had before."""
    conn.execute(
        upload_part.delete().where(
            upload_part.c.item_id == item_id,
            upload_part.c.store == store,
            upload_part.c.number == number,
        )
    )
    conn.execute(
        upload_part.insert().values(
            item_id=item_id, store=store, number=number, upload_id=upload_id, etag=etag
        )
    )


def update(conn: sa.Connection, item_id: str, store: str, **values: Any) -> None:
    """Set columns of one upload that are not its state."""
    conn.execute(upload.update().where(_where(item_id, store)).values(**values))
