"""Cameras, dockings and their inventories."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from bodycam_ingest.custody import entries
from bodycam_ingest.custody.inventory import lines_of
from bodycam_ingest.db.figures import Amount, amounts
from bodycam_ingest.db.projected import chosen, read_document
from bodycam_ingest.db.schema import docking, item, item_work
from bodycam_ingest.errors import DatabaseDamagedError, UnknownSubjectError
from bodycam_ingest.model import rows
from bodycam_ingest.model.evidence import KnownItem
from bodycam_ingest.model.lifecycle import APART, ItemState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.ledger import Txn


def get(conn: sa.Connection, docking_id: str) -> rows.Docking:
    """One docking; raises `ValueError` when there is none."""
    (row,) = chosen(conn, rows.Docking, docking.c.docking_id == docking_id)
    return row


def open_dockings(conn: sa.Connection) -> list[rows.Docking]:
    """Dockings without an end, oldest first."""
    return chosen(conn, rows.Docking, docking.c.ended_at.is_(None))


def _newest() -> sa.Select[tuple[str]]:
    """Ids of the newest docking of each camera's volumes; ids ascend with time."""
    return sa.select(sa.func.max(docking.c.docking_id)).group_by(docking.c.camera, docking.c.volume)


def newest_of_volumes(conn: sa.Connection, serial: str) -> list[rows.Docking]:
    """The newest docking of each volume of a camera."""
    newest = _newest().where(docking.c.camera == serial)
    return chosen(conn, rows.Docking, docking.c.docking_id.in_(newest))


def ended_incomplete(conn: sa.Connection) -> list[rows.Docking]:
    """Newest dockings of their camera's volume that ended before all of it was copied."""
    return chosen(
        conn,
        rows.Docking,
        docking.c.docking_id.in_(_newest()),
        docking.c.ended_at.is_not(None),
        docking.c.complete.is_(False),
    )


def last_inventory_paths(conn: sa.Connection, serial: str, volume: str) -> frozenset[bytes]:
    """Paths of the recordings seen in or since a camera's last complete inventory of this volume.

    Those that were missed since are left out; empty where there was no complete inventory.
    """
    last = (
        sa.select(sa.func.max(docking.c.docking_id))
        .where(docking.c.camera == serial, docking.c.volume == volume)
        .where(docking.c.inventoried, docking.c.ended_at.is_not(None))
        .scalar_subquery()
    )
    found = conn.execute(
        sa.select(item.c.path)
        .where(item.c.camera == serial, item.c.volume == volume)
        .where(item.c.seen_docking_id >= last, item.c.state != ItemState.VANISHED.value)
    )
    return frozenset(found.scalars())


def history(conn: sa.Connection, serial: str, volume: str) -> list[KnownItem]:
    """Every item ever seen on a camera's volume, oldest first."""
    found = conn.execute(
        sa.select(
            item.c.item_id,
            item.c.path,
            item.c.size_bytes,
            item.c.seen_mtime_ns,
            item.c.state,
            item.c.sample_sha256,
        )
        .where(item.c.camera == serial, item.c.volume == volume)
        .order_by(item.c.item_id)
    )
    return [
        KnownItem(item_id, path, size_bytes, mtime_ns, ItemState(state), sample)
        for item_id, path, size_bytes, mtime_ns, state, sample in found.all()
    ]


def items_away(conn: sa.Connection, serial: str, volume: str) -> frozenset[str]:
    """Ids of a camera's items that are gone or quarantined: where their files lie again is news."""
    found = conn.execute(
        sa.select(item.c.item_id)
        .where(item.c.camera == serial, item.c.volume == volume)
        .where(item.c.state.in_(APART))
    )
    return frozenset(found.scalars())


def inventory(conn: sa.Connection, row: rows.Docking) -> bytes:
    """A docking's newest inventory, a document; empty before its first.

    Raises:
        DatabaseDamagedError: it is gone or altered.
    """
    if not row.inventory_sha256:
        return b""
    body = read_document(conn, row.inventory_sha256)
    if body is None:
        raise DatabaseDamagedError(f"the inventory of docking {row.docking_id} is gone or altered")
    return body


def sightings(conn: sa.Connection, serial: str, item_id: str) -> list[dict[str, str]]:
    """The dockings of a camera whose inventory names an item, oldest first, with their verdict."""
    return [
        {"docking_id": row.docking_id, "verdict": line["verdict"], "started_at": row.started_at}
        for row in chosen(conn, rows.Docking, docking.c.camera == serial)
        # Few documents name it; looking for its id is quicker than reading them all.
        if item_id.encode() in (body := read_document(conn, row.inventory_sha256) or b"")
        for line in lines_of(body)
        if line["item_id"] == item_id
    ]


class Tally(NamedTuple):
    """The items that a docking saw last, or found to be gone unread, counted.

    Those are `new` that no earlier docking saw.
    """

    states: collections.Counter[ItemState]
    size_bytes: int
    new: int
    new_bytes: int


def tally(conn: sa.Connection, docking_id: str) -> Tally:
    """Count the items of a docking."""
    first_here = (item.c.docking_id == docking_id).label("new")
    states = collections.Counter[ItemState]()
    every, fresh = Amount(), Amount()
    found = amounts(conn, item.c.seen_docking_id == docking_id, by=(item.c.state, first_here))
    for (state, new), some in found.items():
        states[ItemState(state)] += some.items
        every += some
        fresh += some if new else Amount()
    return Tally(states, every.size_bytes, fresh.items, fresh.size_bytes)


def inventory_items(conn: sa.Connection, docking_id: str) -> Sequence[sa.RowMapping]:
    """The items that a docking saw last, or found to be gone unread, with their state."""
    return (
        conn.execute(
            sa.select(
                item.c.item_id,
                item.c.state,
                item.c.confirmed_seq,
                sa.func.coalesce(item_work.c.last_error, "").label("last_error"),
                item.c.size_bytes,
                item.c.docking_id,
            )
            .select_from(item.outerjoin(item_work, item_work.c.item_id == item.c.item_id))
            .where(item.c.seen_docking_id == docking_id)
        )
        .mappings()
        .all()
    )


def assign(txn: Txn, serial: str, officer: str, actor: Actor) -> None:
    """Record who carries a camera.

    Raises:
        UnknownSubjectError: no camera of that serial was ever docked.
    """
    if txn.rows.get(rows.Camera, serial) is None:
        raise UnknownSubjectError(
            f"no camera {serial!r}", hint="`bodycam-ingest cameras` lists them."
        )
    txn.add(entries.camera_assigned(serial, officer), actor=actor)
