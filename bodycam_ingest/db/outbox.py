"""Small objects that the daemon itself makes, queued for every store: manifests, checkpoints."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.db.schema import outbox
from bodycam_ingest.errors import UsageError
from bodycam_ingest.model.backoff import is_due
from bodycam_ingest.model.lifecycle import UploadState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from bodycam_ingest.db.ledger import Txn

_OPEN = (UploadState.QUEUED.value, UploadState.WAITING.value)


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An object that waits to be sent.

    Args:
        store: where to.
        key: its key.
        kind: `manifest` or `checkpoint`.
        body: its bytes.
        sha256: their digest.
        required: release waits for it.
        attempts: failed tries in a row.
        last_error: code of the last fault, empty when none.
    """

    store: str
    key: str
    kind: str
    body: bytes
    sha256: bytes
    required: bool
    attempts: int
    last_error: str


def queue_object(
    txn: Txn,
    now: str,
    stores: Sequence[tuple[str, bool]],
    key: str,
    kind: str,
    body: bytes,
    ledger_size: int | None = None,
) -> None:
    """Queue an object for every store; the same object queued again changes nothing.

    Args:
        txn: the open transaction.
        now: RFC 3339.
        stores: every store's name and whether it is required.
        key: its key, the same in all.
        kind: `manifest` or `checkpoint`.
        body: its bytes.
        ledger_size: entries that a checkpoint covers, None for everything else.

    Raises:
        UsageError: other bytes are queued or stored under this key already.
    """
    digest = hashlib.sha256(body).digest()
    for store, required in stores:
        there = txn.conn.execute(
            sa.select(outbox.c.sha256).where(outbox.c.store == store, outbox.c.key == key)
        ).scalar()
        if there is not None:
            if there != digest:
                raise UsageError(f"other bytes are queued under {key}")
            continue
        txn.conn.execute(
            outbox.insert().values(
                store=store,
                key=key,
                kind=kind,
                body=body,
                sha256=digest,
                required=required,
                ledger_size=ledger_size,
                state=UploadState.QUEUED.value,
                created_at=now,
            )
        )


def anchored_size(conn: sa.Connection, required: Sequence[str]) -> int:
    """The ledger size up to which a checkpoint stands in every required store.

    Args:
        conn: an open connection.
        required: names of the required stores.

    Returns:
        Entries under a checkpoint that each of them confirmed, 0 when there is none.
    """
    sizes = []
    for store in required:
        size = conn.execute(
            sa.select(sa.func.max(outbox.c.ledger_size)).where(
                outbox.c.store == store, outbox.c.state == UploadState.CONFIRMED.value
            )
        ).scalar()
        sizes.append(int(size or 0))
    return min(sizes, default=0)


def next_due(
    conn: sa.Connection, store: str, now_ms: int, in_hand: Collection[str]
) -> OutboxRow | None:
    """The object of a store that has been due for longest.

    Args:
        conn: an open connection.
        store: whose.
        now_ms: the time, ms since 1970.
        in_hand: keys that a worker of this process has in hand.

    Returns:
        The row, None when none is due.
    """
    row = conn.execute(
        sa.select(outbox)
        .where(outbox.c.store == store, outbox.c.state.in_(_OPEN))
        .where(is_due(outbox.c.due_ms, now_ms), outbox.c.key.not_in(list(in_hand)))
        .order_by(outbox.c.due_ms, outbox.c.created_at, outbox.c.key)
        .limit(1)
    ).first()
    if row is None:
        return None
    return OutboxRow(
        row.store,
        row.key,
        row.kind,
        row.body,
        row.sha256,
        row.required,
        row.attempts,
        row.last_error,
    )


def next_due_ms(conn: sa.Connection, store: str, in_hand: Collection[str]) -> int | None:
    """When the next object of a store is due, ms since 1970; None when none waits."""
    due = conn.execute(
        sa.select(sa.func.min(outbox.c.due_ms)).where(
            outbox.c.store == store,
            outbox.c.state.in_(_OPEN),
            outbox.c.key.not_in(list(in_hand)),
        )
    ).scalar()
    return None if due is None else int(due)


def confirm(conn: sa.Connection, row: OutboxRow) -> None:
    """Mark an object as proven by its store; from then on its digest stands for its bytes."""
    update(
        conn,
        row,
        state=UploadState.CONFIRMED.value,
        body=b"",
        attempts=0,
        last_error="",
        last_message="",
    )


def update(conn: sa.Connection, row: OutboxRow, **values: Any) -> None:
    """Set columns of one object's row."""
    conn.execute(
        outbox.update().where(outbox.c.store == row.store, outbox.c.key == row.key).values(**values)
    )
