"""Everything that a docking writes: rows and ledger entries, each step in one transaction."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Self

from ulid import ULID

from bodycam_ingest.custody import entries, inventory, item_entries
from bodycam_ingest.custody.inventory import Line
from bodycam_ingest.db import dockings, findings, items, vanishing
from bodycam_ingest.docking.undock import all_copied, end_docking
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects
from bodycam_ingest.model.evidence import EntryKind, StatSignature, Verdict, printable_path
from bodycam_ingest.model.lifecycle import COPIED, ItemState
from bodycam_ingest.model.rows import Camera

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bodycam_ingest.camera import ItemFacts, MountedVolume
    from bodycam_ingest.db.dockings import Tally
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.docking.comparison import Compared
    from bodycam_ingest.docking.undock import DockContext
    from bodycam_ingest.model.evidence import KnownItem
    from bodycam_ingest.model.rows import Docking


_CHUNK: Final = 1000
# A camera that still has what the dock lost: the item is read again.
_LOST_HERE: Final = frozenset({"local_copy_damaged", "staging_missing"})


class DockingRecord:
    """Writes one docking.

    Its inventory is kept here and written, as a document, with each entry that names it: a docking
    that a crash cuts off has the inventory of its last `camera.inventoried`, or none.
    """

    def __init__(self, dock: DockContext, row: Docking) -> None:
        self._dock = dock
        self._ledger = dock.ledger
        self.row = row
        self._lines: dict[bytes, Line] = {}
        # Digest of the lines as an entry names it, empty where none does.
        self._sha256 = ""
        self._hour_shift = 0

    @classmethod
    def begin(
        cls,
        dock: DockContext,
        mounted: MountedVolume,
        camera: str,
        *,
        profile: str,
        reason: str = "",
    ) -> Self:
        """Record that a camera was docked; `profile` is empty where none knows it.

        `reason` is why it is docked, where that is not a camera in a bay.
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

    def history(self) -> list[KnownItem]:
        """Every item ever seen on this camera's volume, oldest first."""
        with self._dock.engine.connect() as conn:
            return dockings.history(conn, self.row.camera, self.row.volume)

    def unread_items(self) -> list[ItemRow]:
        """Items of this camera's volume that were discovered and not read yet, oldest first."""
        with self._dock.engine.connect() as conn:
            return items.unread_of_camera(conn, self.row.camera, self.row.volume)

    def copied(self) -> Tally | None:
        """What is on the camera, when every recording of it was read and verified; else None."""
        docking_id = self.row.docking_id
        with self._dock.engine.connect() as conn:
            here = dockings.tally(conn, docking_id)
            inventoried = dockings.get(conn, docking_id).inventoried
        return here if inventoried and here.states.keys() <= COPIED else None

    def last_inventory(self) -> frozenset[bytes]:
        """Paths of the files in the last complete inventory of this camera's volume."""
        with self._dock.engine.connect() as conn:
            return dockings.last_inventory_paths(conn, self.row.camera, self.row.volume)

    def classify(
        self, compared: Sequence[Compared], facts_of: Callable[[bytes], ItemFacts]
    ) -> dict[bytes, str]:
        """Take entries into the inventory, and record the items that are new or back again.

        Returns the item of each file, by path.
        """
        found = {one.entry.path: one.item_id for one in compared if one.item_id is not None}
        fresh = self._new_lines(compared)
        for start in range(0, len(fresh), _CHUNK):
            with self._ledger.transaction() as txn:
                returned: list[str] = []
                for one in fresh[start : start + _CHUNK]:
                    if one.item_id is None:
                        found[one.entry.path] = self._discover(txn, one, facts_of)
                    elif self._met_again(txn, items.get(txn.conn, one.item_id)):
                        returned.append(one.item_id)
                vanishing.came_back(txn, self.row.camera, returned)
        self._take(_line(one, found.get(one.entry.path)) for one in compared)
        for one in fresh:
            if one.item_id is None:
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

    def _new_lines(self, compared: Sequence[Compared]) -> list[Compared]:
        """What is to be recorded: nothing of a file whose item stands where it stood."""
        with self._dock.engine.connect() as conn:
            away = dockings.items_away(conn, self.row.camera, self.row.volume)
        return [
            one
            for one in compared
            if one.item_id in away or one.verdict in {Verdict.NEW, Verdict.CHANGED}
        ]

    def _take(self, lines: Iterable[Line]) -> None:
        self._lines.update((line.path, line) for line in lines)
        self._sha256 = ""

    def _discover(self, txn: Txn, one: Compared, facts_of: Callable[[bytes], ItemFacts]) -> str:
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

    def _met_again(self, txn: Txn, row: ItemRow) -> bool:
        """Record that an item's file is there, where that helps it; returns whether it was gone."""
        if row.state is ItemState.VANISHED:
            items.step(txn, row, item_entries.reappeared(row.item_id, self.row.docking_id))
            items.make_due(txn, [row.item_id])
            return True
        if row.state is ItemState.QUARANTINED and row.quarantine_reason in _LOST_HERE:
            draft = item_entries.requeued(
                row.item_id,
                reason="the camera still has it",
                docking_id=self.row.docking_id,
            )
            items.step(txn, row, draft)
        return False

    def changed(self, row: ItemRow, signature: StatSignature) -> None:
        """Record that a file which was not read yet has grown or was written again."""
        with self._ledger.transaction() as txn:
            items.step(txn, row, item_entries.changed(row.item_id, signature))
        size_bytes, mtime_ns, new = signature.size_bytes, signature.mtime_ns, Verdict.NEW
        self._take([Line(row.path, EntryKind.FILE, size_bytes, mtime_ns, new, row.item_id)])

    def vanished(self, rows: Sequence[ItemRow]) -> None:
        """Record items that were seen, never read, and are gone from a camera that is there.

        A formatted card has thousands: they are recorded in several transactions, the first of
        which has the finding for all. What a crash leaves is missed again by the next docking.
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

    def missing(self, items: Iterable[KnownItem]) -> None:
        """Note files of the last inventory that are gone from the card; they were read before."""
        reason = "in the last inventory, no longer on the card"
        kind, gone = EntryKind.FILE, Verdict.MISSING
        self._take(
            Line(one.path, kind, one.size_bytes, one.mtime_ns, gone, one.item_id, reason)
            for one in items
        )

    def inventoried(self, *, complete: bool, final: bool, hour_shift: int = 0) -> None:
        """Record the inventory as it stands.

        Args:
            complete: it was listed to its end without a fault, and the camera was present after.
            final: a second complete listing agreed, so that what is missing is known as well.
            hour_shift: whole hours by which all times differ from the last docking.
        """
        lines = self._lines.values()
        body = b"" if self._sha256 else inventory.document(lines)
        with self._ledger.transaction() as txn:
            sha256 = self._sha256 or txn.rows.keep_document(body)
            inventoried = entries.camera_inventoried(
                self.row.camera,
                docking_id=self.row.docking_id,
                lines=lines,
                inventory_sha256=sha256,
                complete=complete,
                final=final,
                hour_shift=hour_shift,
            )
            txn.add(inventoried)
        self._sha256, self._hour_shift = sha256, hour_shift
        log.info(
            "camera.inventoried",
            camera=self.row.camera,
            docking_id=self.row.docking_id,
            files=inventoried.data["files"],
            complete=complete,
            verdicts=inventoried.data["verdicts"],
        )

    def alarm(self, code: str, detail: str) -> None:
        """Open an alarm about this docking."""
        docking_id = self.row.docking_id
        with self._ledger.transaction() as txn:
            findings.alarm(txn, subjects.docking(docking_id), code, detail, docking_id=docking_id)

    def notice(self, code: str, detail: str) -> None:
        """Open a notice about this docking."""
        docking_id = self.row.docking_id
        with self._ledger.transaction() as txn:
            findings.notice(txn, subjects.docking(docking_id), code, detail, docking_id=docking_id)

    def close_finding(self, code: str) -> None:
        """Close this docking's finding of that code, if one is open."""
        with self._ledger.transaction() as txn:
            findings.close_finding(txn, code=code, subject=subjects.docking(self.row.docking_id))

    def all_copied(self) -> None:
        """Close the camera's notice of having left early: everything on it is on the dock."""
        all_copied(self._dock.engine, self._ledger, self.row)

    def end(self, reason: str) -> None:
        """Record the docking's end and queue its manifest."""
        if self._lines and not self._sha256:
            self.inventoried(complete=False, final=False, hour_shift=self._hour_shift)
        end_docking(self._dock, self.row.docking_id, reason)


def _line(one: Compared, item_id: str | None) -> Line:
    signature = one.entry.signature
    return Line(
        path=one.entry.path,
        kind=one.entry.kind,
        size_bytes=signature.size_bytes if signature else None,
        mtime_ns=signature.mtime_ns if signature else None,
        verdict=one.verdict,
        item_id=item_id,
        detail=one.reason or one.entry.detail,
    )
