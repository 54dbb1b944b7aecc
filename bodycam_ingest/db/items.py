"""Rows of items, and every step of an item's state with its ledger entry.

`record` is the only place that changes `item.state`: it asks the table in `lifecycle`, writes the
entry and the row, all in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.db.schema import item
from bodycam_ingest.errors import ItemMovedError, UnknownSubjectError, UsageError
from bodycam_ingest.model.evidence import Digests
from bodycam_ingest.model.lifecycle import ItemEvent, ItemState, advance_item

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.ledger import Txn


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item as stored.

    Args:
        item_id: ULID.
        camera: serial of its camera.
        docking_id: docking in which it was discovered.
        volume: the camera's volume that it lay on.
        path: path relative to that volume's root.
        size_bytes: length as listed, then as read.
        mtime_ns: raw modification time as listed.
        state: where it stands.
        discovered_at: RFC 3339.
        recorded_at: when the camera says that it was recorded, as far as a profile can tell.
        sha256: digest taken while it was read, None before.
        sample_sha256: sample digest taken while it was read, None before.
        part_size_bytes: upload part size, None before it was read.
        part_sha256s: kept by earlier versions; nothing reads it.
        staged_path: relative to staging.dir; empty while there is no copy.
        confirmed_seq: ledger entry of the last required confirmation.
        released_at: RFC 3339, None before.
        released_dock_ms: the dock's own time then, ms (`db.docktime`); None before.
        purging_seq: ledger entry of the intent to purge the staged copy, None before.
        quarantine_reason: why it is set apart, empty when not.
        attempts: failed readings in a row.
        due_ms: not read again before, ms since 1970.
        last_error: code of the last fault while reading, empty when none.
    """

    item_id: str
    camera: str
    docking_id: str
    volume: str
    path: bytes
    size_bytes: int
    mtime_ns: int
    state: ItemState
    discovered_at: str
    recorded_at: str = ""
    sha256: bytes | None = None
    sample_sha256: bytes | None = None
    part_size_bytes: int | None = None
    part_sha256s: bytes | None = None
    staged_path: str = ""
    confirmed_seq: int | None = None
    released_at: str | None = None
    released_dock_ms: int | None = None
    purging_seq: int | None = None
    quarantine_reason: str = ""
    attempts: int = 0
    due_ms: int = 0
    last_error: str = ""

    def digests(self) -> Digests:
        """What its one reading yielded; only for items that were acquired."""
        if self.sha256 is None or self.sample_sha256 is None or self.part_size_bytes is None:
            raise UsageError(f"item {self.item_id} was never read")
        return Digests(
            size_bytes=self.size_bytes,
            sha256=self.sha256,
            part_size_bytes=self.part_size_bytes,
            sample_sha256=self.sample_sha256,
        )


def _row(mapping: Mapping[str, Any]) -> ItemRow:
    return ItemRow(**{**mapping, "state": ItemState(mapping["state"])})


def get(conn: sa.Connection, item_id: str) -> ItemRow:
    """One item.

    Raises:
        UnknownSubjectError: there is no such item.
    """
    row = conn.execute(sa.select(item).where(item.c.item_id == item_id)).mappings().first()
    if row is None:
        raise UnknownSubjectError(f"no item {item_id!r}", hint="`bodycam-ingest items` lists them.")
    return _row(dict(row))


def of_camera(conn: sa.Connection, camera: str, volume: str) -> list[ItemRow]:
    """All items ever seen on a camera's volume, oldest first."""
    rows = conn.execute(
        sa.select(item)
        .where(item.c.camera == camera, item.c.volume == volume)
        .order_by(item.c.item_id)
    ).mappings()
    return [_row(dict(row)) for row in rows]


def unread_of_camera(conn: sa.Connection, camera: str, volume: str) -> list[ItemRow]:
    """Items of a camera's volume in state `discovered`, oldest first."""
    rows = conn.execute(
        sa.select(item)
        .where(item.c.camera == camera, item.c.volume == volume)
        .where(item.c.state == ItemState.DISCOVERED.value)
        .order_by(item.c.item_id)
    ).mappings()
    return [_row(dict(row)) for row in rows]


def in_states(conn: sa.Connection, states: Iterable[ItemState]) -> list[ItemRow]:
    """All items in one of `states`, oldest first."""
    rows = conn.execute(
        sa.select(item)
        .where(item.c.state.in_([state.value for state in states]))
        .order_by(item.c.item_id)
    ).mappings()
    return [_row(dict(row)) for row in rows]


def by_ids(conn: sa.Connection, item_ids: Sequence[str]) -> list[ItemRow]:
    """The items with these ids, oldest first; unknown ids are left out."""
    found: list[ItemRow] = []
    for start in range(0, len(item_ids), 500):
        rows = conn.execute(
            sa.select(item)
            .where(item.c.item_id.in_(item_ids[start : start + 500]))
            .order_by(item.c.item_id)
        ).mappings()
        found.extend(_row(dict(row)) for row in rows)
    return found


def discover(
    txn: Txn, row: ItemRow, data: Mapping[str, Any], *, sealed: Mapping[str, str] | None = None
) -> int:
    """Record a new item: its row and its `item.discovered` entry.

    Args:
        txn: the open transaction.
        row: the item, in state `discovered`.
        data: the entry's data.
        sealed: personal values (officer) that the ledger holds as commitments only.

    Returns:
        The entry's sequence number.
    """
    advance_item(None, ItemEvent.DISCOVERED)
    values = {f: getattr(row, f) for f in ItemRow.__dataclass_fields__}
    txn.conn.execute(item.insert().values(**{**values, "state": row.state.value}))
    return txn.append(ItemEvent.DISCOVERED.value, f"item:{row.item_id}", data, sealed=sealed)


def record(
    txn: Txn,
    row: ItemRow,
    event: ItemEvent,
    data: Mapping[str, Any],
    *,
    actor: Actor | None = None,
    **values: Any,
) -> int:
    """Take an item one step: entry, state and columns in the caller's transaction.

    Args:
        txn: the open transaction.
        row: the item as read inside this transaction or by its only writer.
        event: what happened.
        data: the entry's data.
        actor: who did it; the daemon when None.
        values: further columns to set.

    Returns:
        The entry's sequence number.

    Raises:
        IllegalTransitionError: the item was not in a state from which this can happen.
        ItemMovedError: another thread moved it first; look again.
    """
    state = advance_item(row.state, event)
    changed = txn.conn.execute(
        item.update()
        .where(item.c.item_id == row.item_id, item.c.state == row.state.value)
        .values(state=state.value, **values)
    ).rowcount
    if changed != 1:
        # Whatever it moved to: what was to be recorded is about a row that is no more.
        now = get(txn.conn, row.item_id)
        raise ItemMovedError(
            f"item {row.item_id} moved from {row.state.value} to {now.state.value} meanwhile"
        )
    subject = f"item:{row.item_id}"
    if actor is None:
        return txn.append(event.value, subject, data)
    return txn.append(event.value, subject, data, actor=actor)


@dataclass(frozen=True, slots=True)
class Step:
    """One item's step in a crowd.

    Args:
        row: the item.
        data: the entry's data.
        values: columns to set; every step of a crowd sets the same ones.
    """

    row: ItemRow
    data: Mapping[str, Any]
    values: Mapping[str, Any]


def record_many(txn: Txn, event: ItemEvent, steps: Sequence[Step]) -> list[int]:
    """Take many items the same step; as `record` for each, with one statement for all rows.

    Args:
        txn: the open transaction.
        event: what happened to each.
        steps: the items with their data and columns.

    Returns:
        The entries' sequence numbers, in order.

    Raises:
        IllegalTransitionError: an item was in no state from which this can happen.
        ItemMovedError: another thread moved one of them first; look again.
    """
    if not steps:
        return []
    states = [advance_item(step.row.state, event) for step in steps]
    columns: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in steps[0].values}
    changed = txn.conn.execute(
        item.update()
        .where(
            item.c.item_id == sa.bindparam("old_item_id"),
            item.c.state == sa.bindparam("old_state"),
        )
        .values(state=sa.bindparam("new_state"), **columns),
        [
            {
                "old_item_id": step.row.item_id,
                "old_state": step.row.state.value,
                "new_state": state.value,
                **{f"new_{name}": value for name, value in step.values.items()},
            }
            for step, state in zip(steps, states, strict=True)
        ],
    ).rowcount
    if changed != len(steps):
        raise ItemMovedError(f"{len(steps) - changed} of {len(steps)} items moved meanwhile")
    return [txn.append(event.value, f"item:{step.row.item_id}", step.data) for step in steps]


def postpone(txn: Txn, item_id: str, *, attempts: int, due_ms: int, error: str) -> None:
    """Persist when an item that could not be read is tried again."""
    txn.conn.execute(
        item.update()
        .where(item.c.item_id == item_id)
        .values(attempts=attempts, due_ms=due_ms, last_error=error)
    )


def postpone_crowd(txn: Txn, item_ids: Sequence[str], *, due_ms: int, error: str) -> None:
    """Persist that items wait together for one cause that is none of theirs."""
    for start in range(0, len(item_ids), 500):
        txn.conn.execute(
            item.update()
            .where(item.c.item_id.in_(item_ids[start : start + 500]))
            .values(attempts=item.c.attempts + 1, due_ms=due_ms, last_error=error)
        )


def waiting_on(conn: sa.Connection, codes: Iterable[str]) -> list[tuple[str, int]]:
    """Id and length in bytes of every item that waits on one of these faults before it is verified.

    Args:
        conn: an open connection.
        codes: codes of faults.
    """
    rows = conn.execute(
        sa.select(item.c.item_id, item.c.size_bytes)
        .where(item.c.state.in_([ItemState.DISCOVERED.value, ItemState.ACQUIRED.value]))
        .where(item.c.last_error.in_(list(codes)))
        .order_by(item.c.item_id)
    )
    return [(row.item_id, row.size_bytes) for row in rows]


def make_due(txn: Txn, item_ids: Sequence[str]) -> None:
    """Have items tried at once."""
    for start in range(0, len(item_ids), 500):
        txn.conn.execute(
            item.update().where(item.c.item_id.in_(item_ids[start : start + 500])).values(due_ms=0)
        )


def set_confirmed_seq(txn: Txn, item_id: str, seq: int) -> None:
    """Keep which entry says that the last required store confirmed an item."""
    txn.conn.execute(item.update().where(item.c.item_id == item_id).values(confirmed_seq=seq))
