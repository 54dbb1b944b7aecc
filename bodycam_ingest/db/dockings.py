"""Rows of cameras, dockings and their inventories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from bodycam_ingest.custody import entries
from bodycam_ingest.db.projected import chosen
from bodycam_ingest.db.schema import docking, inventory, item, item_work
from bodycam_ingest.errors import UnknownSubjectError
from bodycam_ingest.model import rows
from bodycam_ingest.model.evidence import EntryKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.ledger import Txn


@dataclass(frozen=True, slots=True)
class InventoryRow:
    """One inventory line of a docking.

    Args:
        path: path relative to the volume's root.
        kind: what it is.
        size_bytes: length of a file, None for everything else.
        mtime_ns: raw modification time of a file, None for everything else.
        verdict: what comparing it with the camera's history said.
        item_id: the item that it is, None for what is not ingested.
        detail: reason, for people.
    """

    path: bytes
    kind: EntryKind
    size_bytes: int | None
    mtime_ns: int | None
    verdict: Verdict
    item_id: str | None = None
    detail: str = ""


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
    """Paths of files in the last complete inventory of this camera's volume, empty when none."""
    last = conn.execute(
        sa.select(docking.c.docking_id)
        .where(docking.c.camera == serial, docking.c.volume == volume)
        .where(docking.c.inventoried, docking.c.ended_at.is_not(None))
        .order_by(docking.c.docking_id.desc())
        .limit(1)
    ).scalar()
    if last is None:
        return frozenset()
    rows = conn.execute(
        sa.select(inventory.c.path).where(
            inventory.c.docking_id == last,
            inventory.c.kind == EntryKind.FILE.value,
            inventory.c.verdict != Verdict.MISSING.value,
        )
    )
    return frozenset(rows.scalars())


def last_seen_mtimes(conn: sa.Connection, serial: str, volume: str) -> dict[str, int]:
    """The raw modification time that each item's file had when it was last listed, by item, ns."""
    rows = conn.execute(
        sa.select(inventory.c.item_id, inventory.c.mtime_ns)
        .select_from(docking.join(inventory, inventory.c.docking_id == docking.c.docking_id))
        .where(docking.c.camera == serial, docking.c.volume == volume)
        .where(inventory.c.item_id.is_not(None), inventory.c.verdict != Verdict.MISSING.value)
        .where(inventory.c.mtime_ns.is_not(None))
        .order_by(docking.c.docking_id)
    )
    # Ids ascend with time: what is listed last stands.
    return {row.item_id: row.mtime_ns for row in rows}


def put_inventory(conn: sa.Connection, docking_id: str, rows: Iterable[InventoryRow]) -> None:
    """Insert or replace inventory lines of a docking; the newest look at a path stands."""
    values = [
        {
            "docking_id": docking_id,
            "path": row.path,
            "kind": row.kind.value,
            "size_bytes": row.size_bytes,
            "mtime_ns": row.mtime_ns,
            "verdict": row.verdict.value,
            "item_id": row.item_id,
            "detail": row.detail,
        }
        for row in rows
    ]
    if not values:
        return
    conn.execute(
        inventory.delete().where(
            inventory.c.docking_id == docking_id, inventory.c.path == sa.bindparam("old_path")
        ),
        [{"old_path": value["path"]} for value in values],
    )
    conn.execute(inventory.insert(), values)


def inventory_rows(conn: sa.Connection, docking_id: str) -> list[InventoryRow]:
    """A docking's inventory in the order of the paths' bytes."""
    rows = conn.execute(
        sa.select(inventory).where(inventory.c.docking_id == docking_id).order_by(inventory.c.path)
    )
    return [
        InventoryRow(
            path=row.path,
            kind=EntryKind(row.kind),
            size_bytes=row.size_bytes,
            mtime_ns=row.mtime_ns,
            verdict=Verdict(row.verdict),
            item_id=row.item_id,
            detail=row.detail,
        )
        for row in rows
    ]


def inventory_items(conn: sa.Connection, docking_id: str) -> Sequence[sa.RowMapping]:
    """The items that a docking's inventory names, with their state; missing files do not count."""
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
            .select_from(
                inventory.join(item, inventory.c.item_id == item.c.item_id).outerjoin(
                    item_work, item_work.c.item_id == item.c.item_id
                )
            )
            .where(inventory.c.docking_id == docking_id)
            .where(
                sa.or_(
                    inventory.c.verdict != Verdict.MISSING.value,
                    item.c.state.in_(["discovered", "vanished"]),
                )
            )
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
