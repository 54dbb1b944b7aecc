"""Rows of cameras, dockings and their inventories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.schema import camera, docking, inventory, item, ledger_entry
from bodycam_ingest.errors import UnknownSubjectError
from bodycam_ingest.model.evidence import EntryKind, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


# One a volume of a camera, and few cameras have more than one.
_ENTRIES_MAX: Final = 32


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


@dataclass(frozen=True, slots=True)
class DockingRow:
    """A docking as stored; times are RFC 3339 text."""

    docking_id: str
    camera: str
    bay: str
    volume: str
    mount_path: bytes
    started_at: str
    ended_at: str | None
    inventoried: bool
    complete: bool
    released_at: str | None


def note_camera(
    conn: sa.Connection, serial: str, *, now: str, assigned: bool, profile: str
) -> bool:
    """Make sure that the camera has a row and note that it was docked now.

    Args:
        conn: the open transaction.
        serial: the camera.
        now: time of docking, RFC 3339.
        assigned: a profile knows this camera.
        profile: that profile's name, empty when none.

    Returns:
        Whether this camera was never met before.
    """
    found = conn.execute(sa.select(camera.c.camera).where(camera.c.camera == serial)).first()
    if found is None:
        conn.execute(
            camera.insert().values(
                camera=serial,
                assigned=assigned,
                profile=profile,
                officer="",
                first_docked_at=now,
                last_docked_at=now,
            )
        )
        return True
    conn.execute(
        camera.update()
        .where(camera.c.camera == serial)
        .values(
            last_docked_at=now,
            profile=profile,
            assigned=sa.or_(camera.c.officer != "", sa.literal(assigned)),
        )
    )
    return False


def insert_docking(conn: sa.Connection, row: DockingRow) -> None:
    """Record a docking that begins."""
    conn.execute(
        docking.insert().values({f: getattr(row, f) for f in DockingRow.__dataclass_fields__})
    )


def update_docking(conn: sa.Connection, docking_id: str, **values: Any) -> None:
    """Change columns of one docking."""
    conn.execute(docking.update().where(docking.c.docking_id == docking_id).values(**values))


def docking_row(conn: sa.Connection, docking_id: str) -> DockingRow:
    """One docking; raises `sqlalchemy.exc.NoResultFound` when there is none."""
    row = conn.execute(sa.select(docking).where(docking.c.docking_id == docking_id)).one()
    return DockingRow(**row._mapping)  # noqa: SLF001 - the public name for a row as a mapping


def open_dockings(conn: sa.Connection) -> list[DockingRow]:
    """Dockings without an end, oldest first."""
    rows = conn.execute(
        sa.select(docking).where(docking.c.ended_at.is_(None)).order_by(docking.c.docking_id)
    )
    return [DockingRow(**row._mapping) for row in rows]  # noqa: SLF001 - see docking_row


def _newest() -> sa.Select[tuple[str]]:
    """Ids of the newest docking of each camera's volumes; ids ascend with time."""
    return sa.select(sa.func.max(docking.c.docking_id)).group_by(docking.c.camera, docking.c.volume)


def newest_of_volumes(conn: sa.Connection, serial: str) -> list[DockingRow]:
    """The newest docking of each volume of a camera."""
    newest = _newest().where(docking.c.camera == serial)
    rows = conn.execute(sa.select(docking).where(docking.c.docking_id.in_(newest)))
    return [DockingRow(**row._mapping) for row in rows]  # noqa: SLF001 - see docking_row


def ended_incomplete(conn: sa.Connection) -> list[DockingRow]:
    """Newest dockings of their camera's volume that ended before all of it was copied."""
    rows = conn.execute(
        sa.select(docking)
        .where(docking.c.docking_id.in_(_newest()))
        .where(docking.c.ended_at.is_not(None), docking.c.complete.is_(False))
        .order_by(docking.c.docking_id)
    )
    return [DockingRow(**row._mapping) for row in rows]  # noqa: SLF001 - see docking_row


def undocked_entries(conn: sa.Connection, serial: str) -> list[bytes]:
    """The newest ledger entries that say that a docking of a camera ended, newest first."""
    rows = conn.execute(
        sa.select(ledger_entry.c.body)
        .where(ledger_entry.c.log_id == LOG_ID, ledger_entry.c.subject == f"camera:{serial}")
        .where(ledger_entry.c.type == "camera.undocked")
        .order_by(ledger_entry.c.seq.desc())
        .limit(_ENTRIES_MAX)
    )
    return list(rows.scalars())


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
                item.c.last_error,
                item.c.size_bytes,
                item.c.docking_id,
            )
            .select_from(inventory.join(item, inventory.c.item_id == item.c.item_id))
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


def assign(conn: sa.Connection, serial: str, officer: str) -> None:
    """Set who carries a camera.

    Raises:
        UnknownSubjectError: no camera of that serial was ever docked.
    """
    changed = conn.execute(
        camera.update().where(camera.c.camera == serial).values(officer=officer, assigned=True)
    ).rowcount
    if changed != 1:
        raise UnknownSubjectError(
            f"no camera {serial!r}", hint="`bodycam-ingest cameras` lists them."
        )
