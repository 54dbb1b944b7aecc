"""Recordings that were seen, never read, and are gone: items one by one, one finding a docking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.db import findings, items
from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.schema import docking, finding, item, ledger_entry
from bodycam_ingest.model.evidence import printable_path
from bodycam_ingest.model.lifecycle import ItemEvent, ItemState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn

CODE: Final = "item_vanished"


def tell(txn: Txn, camera: str, docking_id: str, rows: Sequence[ItemRow]) -> None:
    """Have the docking's finding say how many are gone by now, before they take the step.

    Args:
        txn: the open transaction.
        camera: serial of the camera.
        docking_id: the docking in which they are missed.
        rows: those that are missed now.
    """
    subject = f"docking:{docking_id}"
    before = txn.conn.execute(
        sa.select(sa.func.count()).select_from(_missed(camera, docking_id).subquery())
    ).scalar_one()
    # A finding's text stands: more that go are told by another one in its place.
    findings.close_finding(txn, code=CODE, subject=subject)
    findings.raise_finding(
        txn,
        code=CODE,
        severity="alarm",
        subject=subject,
        detail=_detail(before + len(rows), printable_path(rows[0].path)),
        docking_id=docking_id,
    )


def _detail(count: int, such_as: str) -> str:
    if count == 1:
        return f"{such_as} was seen and never read, and is gone"
    return f"{count:,} recordings were seen and never read, and are gone, such as {such_as}"


def record(txn: Txn, docking_id: str, item_ids: Sequence[str]) -> None:
    """Take items the step to `vanished`; one that somebody moved meanwhile stays as it is."""
    data = {"docking_id": docking_id}
    items.record_many(
        txn,
        ItemEvent.VANISHED,
        [
            items.Step(row, data, {})
            for row in items.by_ids(txn.conn, item_ids)
            if row.state is ItemState.DISCOVERED
        ],
    )


def came_back(txn: Txn, camera: str, item_ids: Sequence[str]) -> None:
    """Close what items that are there again have healed; their step was recorded before.

    Args:
        txn: the open transaction.
        camera: serial of their camera.
        item_ids: the items; without any, nothing is asked.
    """
    if not item_ids:
        return
    open_now = txn.conn.execute(
        sa.select(finding.c.subject, finding.c.docking_id)
        .select_from(finding.join(docking, finding.c.docking_id == docking.c.docking_id))
        .where(finding.c.closed_at.is_(None), finding.c.code == CODE, docking.c.camera == camera)
    ).all()
    # Docks of an earlier version had a finding for each item.
    theirs = {f"item:{item_id}" for item_id in item_ids}
    for row in open_now:
        whole = row.subject == f"docking:{row.docking_id}"
        if whole and txn.conn.execute(_missed(camera, row.docking_id).limit(1)).first():
            continue
        if whole or row.subject in theirs:
            findings.close_finding(txn, code=CODE, subject=row.subject)


def _missed(camera: str, docking_id: str) -> sa.Select[tuple[str]]:
    """Ids of the items that were missed in a docking and are gone still."""
    # The entry alone tells in which docking an item was missed.
    here = (
        sa.exists()
        .where(ledger_entry.c.log_id == LOG_ID)
        .where(ledger_entry.c.subject == sa.literal("item:") + item.c.item_id)
        .where(ledger_entry.c.type == ItemEvent.VANISHED.value)
        .where(sa.func.instr(ledger_entry.c.body, docking_id.encode()) > 0)
        .correlate(item)
    )
    return sa.select(item.c.item_id).where(
        item.c.camera == camera, item.c.state == ItemState.VANISHED.value, here
    )
