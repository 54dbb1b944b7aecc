"""How a docking ends on record, watched or not: entry and manifest in one transaction."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from bodycam_ingest.custody import entries
from bodycam_ingest.custody.inventory import lines_of
from bodycam_ingest.db import dockings, findings, own_objects
from bodycam_ingest.docking import left_early
from bodycam_ingest.docking.camera_findings import INCOMPLETE, UNLISTABLE
from bodycam_ingest.docking.manifest import build_manifest
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects
from bodycam_ingest.model.lifecycle import COPIED
from bodycam_ingest.model.rows import Item

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.db.ledger import LedgerWriter


# A docking's own findings, which end with it.
_OWN: Final = (UNLISTABLE, INCOMPLETE)


@dataclasses.dataclass(frozen=True, slots=True)
class DockContext:
    """The dock as its dockings need it; `stores` are all, with whether each is required."""

    dock_id: str
    engine: Engine
    ledger: LedgerWriter
    stores: Sequence[tuple[str, bool]]


def end_docking(dock: DockContext, docking_id: str, reason: str) -> None:
    """Record a docking's end: entry, findings of its own, the manifest.

    `reason` is `removed`, or `daemon_restarted` where nobody watched it end.
    """
    with dock.ledger.transaction() as txn:
        row = dockings.get(txn.conn, docking_id)
        here = dockings.tally(txn.conn, docking_id).states
        states = {state.value: number for state, number in here.items()}
        closed = [
            findings.close_finding(txn, code=code, subject=subjects.docking(docking_id))
            for code in _OWN
        ]
        # What could not be listed at the end is not known, whatever was listed before.
        whole = row.inventoried and not any(closed)
        complete = whole and here.keys() <= COPIED
        lines = lines_of(dockings.inventory(txn.conn, row))
        named = [line["item_id"] for line in lines if line["item_id"]]
        txn.rows.prefetch(Item, named)
        body = build_manifest(
            dock=dock.dock_id,
            origin=dock.ledger.origin,
            docking=row._replace(ended_at=clock.now_text(), complete=complete),
            ledger_entry=txn.size,
            lines=lines,
            items={item_id: txn.rows.get(Item, item_id) for item_id in named},
        )
        undocked = entries.camera_undocked(
            row.camera,
            docking_id=docking_id,
            reason=reason,
            complete=complete,
            items=states,
            manifest_sha256=txn.rows.keep_document(body),
        )
        txn.add(undocked)
        own_objects.restore_work(txn.conn)
        row = dockings.get(txn.conn, docking_id)
        left_early.settle(txn, row._replace(inventoried=whole))
    level = log.info if complete else log.warning
    level(
        "camera.undocked",
        camera=row.camera,
        docking_id=docking_id,
        reason=reason,
        complete=complete,
        items=dict(states),
    )
