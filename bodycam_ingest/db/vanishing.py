"""Recordings that were seen, never read, and are gone: items one by one, one finding a docking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.custody import item_entries
from bodycam_ingest.db import findings, items
from bodycam_ingest.db.schema import docking, finding, item
from bodycam_ingest.model import subjects
from bodycam_ingest.model.evidence import printable_path
from bodycam_ingest.model.lifecycle import ItemState
from bodycam_ingest.model.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import Txn

CODE: Final = "item_vanished"


def tell(txn: Txn, camera: str, docking_id: str, rows: Sequence[ItemRow]) -> None:
    """Have the docking's finding say how many are gone by now, before they take the step."""
    subject = subjects.docking(docking_id)
    before = txn.conn.execute(
        sa.select(sa.func.count()).select_from(_missed(camera, docking_id).subquery())
    ).scalar_one()
    # A finding's text stands: more that go are told by another one in its place.
    findings.close_finding(txn, code=CODE, subject=subject)
    detail = _detail(before + len(rows), printable_path(rows[0].path))
    findings.alarm(txn, subject, CODE, detail, docking_id=docking_id)


def _detail(count: int, such_as: str) -> str:
    if count == 1:
        return f"{such_as} was seen and never read, and is gone"
    return f"{count:,} recordings were seen and never read, and are gone, such as {such_as}"


def record(txn: Txn, docking_id: str, item_ids: Sequence[str]) -> None:
    """Take items the step to `vanished`; one that somebody moved meanwhile stays as it is."""
    items.steps(
        txn,
        [
            (row, item_entries.vanished(row.item_id, docking_id))
            for row in items.by_ids(txn.conn, item_ids)
            if row.state is ItemState.DISCOVERED
        ],
    )


def came_back(txn: Txn, camera: str, item_ids: Sequence[str]) -> None:
    """Close what a camera's items that are there again heal; their step was recorded before."""
    if not item_ids:
        return
    open_now = txn.conn.execute(
        sa.select(finding.c.subject, finding.c.docking_id)
        .select_from(finding.join(docking, finding.c.docking_id == docking.c.docking_id))
        .where(finding.c.closed_at.is_(None), finding.c.code == CODE, docking.c.camera == camera)
    ).all()
    for row in open_now:
        if not txn.conn.execute(_missed(camera, row.docking_id).limit(1)).first():
            findings.close_finding(txn, code=CODE, subject=Subject(row.subject))


def _missed(camera: str, docking_id: str) -> sa.Select[tuple[str]]:
    """Ids of the items that were missed in a docking and are gone still."""
    return sa.select(item.c.item_id).where(
        item.c.camera == camera,
        item.c.state == ItemState.VANISHED.value,
        item.c.seen_docking_id == docking_id,
    )
