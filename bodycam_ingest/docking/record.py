"""Everything that a docking writes: rows and ledger entries, each step in one transaction."""

from __future__ import annotations

import collections
import dataclasses
import os
from typing import TYPE_CHECKING, Final, Self

import structlog
from ulid import ULID

from bodycam_ingest.custody import entries, item_entries
from bodycam_ingest.db import dockings, findings, items, vanishing
from bodycam_ingest.db.dockings import InventoryRow
from bodycam_ingest.docking import left_early
from bodycam_ingest.docking.manifest import inventory_sha256
from bodycam_ingest.docking.undock import end_docking
from bodycam_ingest.linux import clock
from bodycam_ingest.model.evidence import EntryKind, FileStamp, Verdict, printable_path
from bodycam_ingest.model.lifecycle import COPIED, ItemState
from bodycam_ingest.model.rows import Camera

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bodycam_ingest.camera import ItemFacts, MountedVolume
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.docking.undock import Dock
    from bodycam_ingest.model.evidence import InventoryEntry
    from bodycam_ingest.model.rows import Docking

log = structlog.get_logger(__name__)

_CHUNK: Final = 1000
# A camera that still has what the dock lost: the item is read again.
_LOST_HERE: Final = frozenset({"local_copy_damaged", "staging_missing"})


@dataclasses.dataclass(frozen=True, slots=True)
class Compared:
    """What an inventory entry turned out to be.

    Args:
        entry: the entry as listed.
        verdict: what it is.
        item_id: the known item that it is; None for a new one or what is not ingested.
        reason: why, for people.
    """

    entry: InventoryEntry
    verdict: Verdict
    item_id: str | None = None
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Copied:
    """What a docking brought, once all of it is on the dock.

    Args:
        items: recordings on the camera.
        size_bytes: bytes of them.
        new_items: those that no earlier docking brought.
        new_bytes: bytes of these.
    """

    items: int
    size_bytes: int
    new_items: int
    new_bytes: int


class DockingRecord:
    """Writes one docking.

    Args:
        dock: where it happens.
        row: the docking as it began.
    """

    def __init__(self, dock: Dock, row: Docking) -> None:
        self._dock = dock
        self._ledger = dock.ledger
        self.row = row
        # Items that are there again, until what that heals is recorded as well.
        self._returned: list[str] = []

    @classmethod
    def begin(
        cls, dock: Dock, mounted: MountedVolume, camera: str, *, profile: str, reason: str = ""
    ) -> Self:
        """Record that a camera was docked.

        Args:
            dock: where it happens.
            mounted: its volume.
            camera: its name in ledger and stores.
            profile: name of the profile that knows it, empty when none does.
            reason: why it is docked, where that is not a camera in a bay.
        """
        docking_id = str(ULID())
        with dock.ledger.transaction() as txn:
            txn.add(
                entries.camera_docked(
                    camera,
                    docking_id=docking_id,
                    bay=mounted.bay,
                    volume=mounted.volume,
                    mount_path=os.fsencode(mounted.mount_path),
                    first_seen=txn.rows.get(Camera, camera) is None,
                    profile=profile,
                    serial_told=mounted.camera,
                    properties=mounted.properties,
                    ntp_synchronised=clock.synchronised(),
                    reason=reason,
                )
            )
            row = dockings.get(txn.conn, docking_id)
            # A new docking is a new chance for everything that could not be read before.
            unread = items.unread_of_camera(txn.conn, camera, mounted.volume)
            items.make_due(txn, [item.item_id for item in unread])
        log.info(
            "camera.docked",
            camera=camera,
            docking_id=docking_id,
            bay=row.bay,
            mount_path=printable_path(row.mount_path),
        )
        return cls(dock, row)

    def known_items(self) -> list[ItemRow]:
        """Every item ever seen on this camera's volume, oldest first."""
        with self._dock.engine.connect() as conn:
            return items.of_camera(conn, self.row.camera, self.row.volume)

    def unread_items(self) -> list[ItemRow]:
        """Items of this camera's volume that were discovered and not read yet, oldest first."""
        with self._dock.engine.connect() as conn:
            return items.unread_of_camera(conn, self.row.camera, self.row.volume)

    def copied(self) -> Copied | None:
        """What is on the camera, when every recording of it was read and verified; else None."""
        docking_id = self.row.docking_id
        with self._dock.engine.connect() as conn:
            if not dockings.get(conn, docking_id).inventoried:
                return None
            rows = dockings.inventory_items(conn, docking_id)
        if any(ItemState(row["state"]) not in COPIED for row in rows):
            return None
        new = [row["size_bytes"] for row in rows if row["docking_id"] == docking_id]
        return Copied(len(rows), sum(row["size_bytes"] for row in rows), len(new), sum(new))

    def last_seen_mtimes(self) -> dict[str, int]:
        """Raw modification time of each item's file when it was last listed, by item, ns."""
        with self._dock.engine.connect() as conn:
            return dockings.last_seen_mtimes(conn, self.row.camera, self.row.volume)

    def last_inventory(self) -> frozenset[bytes]:
        """Paths of the files in the last complete inventory of this camera's volume."""
        with self._dock.engine.connect() as conn:
            return dockings.last_inventory_paths(conn, self.row.camera, self.row.volume)

    def plan(
        self, compared: Sequence[Compared], facts_of: Callable[[bytes], ItemFacts]
    ) -> dict[bytes, str]:
        """Write inventory lines, and items for what is new.

        Args:
            compared: entries with their verdicts.
            facts_of: what the camera's profile reads from a path.

        Returns:
            The item of each file, by path.
        """
        found: dict[bytes, str] = {}
        for start in range(0, len(compared), _CHUNK):
            with self._ledger.transaction() as txn:
                lines = []
                for one in compared[start : start + _CHUNK]:
                    item_id = self._item_of(txn, one, facts_of)
                    if item_id is not None:
                        found[one.entry.path] = item_id
                    lines.append(_inventory_row(one, item_id))
                dockings.put_inventory(txn.conn, self.row.docking_id, lines)
                vanishing.came_back(txn, self.row.camera, self._returned)
                self._returned.clear()
        for one in compared:
            if one.verdict in {Verdict.NEW, Verdict.CHANGED}:
                log.debug(
                    "item.discovered",
                    item_id=found[one.entry.path],
                    docking_id=self.row.docking_id,
                    camera=self.row.camera,
                    path=printable_path(one.entry.path),
                    verdict=one.verdict.value,
                    reason=one.reason,
                )
        return found

    def _item_of(
        self, txn: Txn, one: Compared, facts_of: Callable[[bytes], ItemFacts]
    ) -> str | None:
        if one.verdict is Verdict.SAME and one.item_id is not None:
            self._met_again(txn, items.get(txn.conn, one.item_id))
            return one.item_id
        if one.verdict not in {Verdict.NEW, Verdict.CHANGED} or one.entry.stamp is None:
            return None
        facts, item_id = facts_of(one.entry.path), str(ULID())
        txn.add(
            item_entries.discovered(
                item_id,
                self.row,
                one.entry,
                recorded_at=facts.recorded_at,
                officer=facts.officer,
                verdict=one.verdict.value,
                reason=one.reason,
            )
        )
        return item_id

    def _met_again(self, txn: Txn, row: ItemRow) -> None:
        if row.state is ItemState.VANISHED:
            items.step(txn, row, item_entries.reappeared(row.item_id, self.row.docking_id))
            items.make_due(txn, [row.item_id])
            self._returned.append(row.item_id)
        elif row.state is ItemState.QUARANTINED and row.quarantine_reason in _LOST_HERE:
            draft = item_entries.requeued(
                row.item_id,
                reason="the camera still has it",
                docking_id=self.row.docking_id,
            )
            items.step(txn, row, draft)

    def changed(self, row: ItemRow, stamp: FileStamp) -> None:
        """Record that a file which was not read yet has grown or was written again."""
        with self._ledger.transaction() as txn:
            items.step(txn, row, item_entries.changed(row.item_id, stamp))
            dockings.put_inventory(
                txn.conn,
                self.row.docking_id,
                [
                    InventoryRow(
                        path=row.path,
                        kind=EntryKind.FILE,
                        size_bytes=stamp.size_bytes,
                        mtime_ns=stamp.mtime_ns,
                        verdict=Verdict.NEW,
                        item_id=row.item_id,
                    )
                ],
            )

    def vanished(self, rows: Sequence[ItemRow]) -> None:
        """Record items that were seen, never read, and are gone from a camera that is there.

        A formatted card has thousands: they are recorded in several transactions, the first of
        which tells of all. What a crash leaves is missed again by the next docking.
        """
        docking_id = self.row.docking_id
        for start in range(0, len(rows), _CHUNK):
            with self._ledger.transaction() as txn:
                if start == 0:
                    vanishing.tell(txn, self.row.camera, docking_id, rows)
                chunk = rows[start : start + _CHUNK]
                vanishing.record(txn, docking_id, [row.item_id for row in chunk])
        log.error(
            "item.vanished",
            camera=self.row.camera,
            docking_id=docking_id,
            items=len(rows),
            path=printable_path(rows[0].path),
        )

    def missing(self, known: Mapping[bytes, ItemRow]) -> None:
        """Note files of the last inventory that are gone from the card; they were read before."""
        lines = [
            InventoryRow(
                path=path,
                kind=EntryKind.FILE,
                size_bytes=row.size_bytes,
                mtime_ns=row.mtime_ns,
                verdict=Verdict.MISSING,
                item_id=row.item_id,
                detail="in the last inventory, no longer on the card",
            )
            for path, row in known.items()
        ]
        for start in range(0, len(lines), _CHUNK):
            with self._ledger.transaction() as txn:
                dockings.put_inventory(txn.conn, self.row.docking_id, lines[start : start + _CHUNK])

    def inventoried(self, *, complete: bool, final: bool, hour_shift: int = 0) -> None:
        """Record the inventory as it stands.

        Args:
            complete: it was listed to its end without a fault, and the camera was there after.
            final: a second complete listing agreed, so that what is missing is known as well.
            hour_shift: whole hours by which all time stamps differ from the last docking.
        """
        with self._ledger.transaction() as txn:
            rows = dockings.inventory_rows(txn.conn, self.row.docking_id)
            verdicts = collections.Counter(row.verdict.value for row in rows)
            files = [r for r in rows if r.kind is EntryKind.FILE and r.verdict != Verdict.MISSING]
            newest_ns = max((r.mtime_ns or 0 for r in files), default=0)
            txn.add(
                entries.camera_inventoried(
                    self.row.camera,
                    docking_id=self.row.docking_id,
                    entries=len(rows),
                    files=len(files),
                    size_bytes=sum(r.size_bytes or 0 for r in files),
                    newest_mtime_ns=newest_ns,
                    verdicts=verdicts,
                    inventory_sha256=inventory_sha256(rows),
                    complete=complete,
                    final=final,
                    hour_shift=hour_shift,
                )
            )
        log.info(
            "camera.inventoried",
            camera=self.row.camera,
            docking_id=self.row.docking_id,
            files=len(files),
            complete=complete,
            verdicts=dict(verdicts),
        )

    def raise_finding(self, code: str, detail: str, *, severity: str = "alarm") -> None:
        """Raise a finding about this docking."""
        with self._ledger.transaction() as txn:
            findings.raise_finding(
                txn,
                code=code,
                severity=severity,
                subject=f"docking:{self.row.docking_id}",
                detail=detail,
                docking_id=self.row.docking_id,
            )

    def close_finding(self, code: str) -> None:
        """Close this docking's finding of that code, if one is open."""
        with self._ledger.transaction() as txn:
            findings.close_finding(txn, code=code, subject=f"docking:{self.row.docking_id}")

    def all_copied(self) -> None:
        """Note that everything on the camera is on the dock: it brought what it owed."""
        left_early.all_copied(self._dock.engine, self._ledger, self.row)

    def end(self, reason: str) -> None:
        """Record the docking's end and queue its manifest."""
        end_docking(self._dock, self.row.docking_id, reason)


def _inventory_row(one: Compared, item_id: str | None) -> InventoryRow:
    stamp = one.entry.stamp
    return InventoryRow(
        path=one.entry.path,
        kind=one.entry.kind,
        size_bytes=stamp.size_bytes if stamp else None,
        mtime_ns=stamp.mtime_ns if stamp else None,
        verdict=one.verdict,
        item_id=item_id,
        detail=one.reason or one.entry.detail,
    )
