"""Lists for people and scripts: chosen, sorted, cut, and how many there are in all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.db import views
from bodycam_ingest.db.figures import UPLOADS, Amount, amount, amounts
from bodycam_ingest.db.schema import docking, finding, item, upload
from bodycam_ingest.model import subjects
from bodycam_ingest.model.lifecycle import OPEN_UPLOADS, UploadState

if TYPE_CHECKING:
    from collections.abc import Iterable

ITEM_ORDERS: Final = {
    "discovered": item.c.item_id,
    "recorded": item.c.recorded_at,
    "size": item.c.size_bytes,
    "camera": item.c.camera,
    "path": item.c.path,
    "state": item.c.state,
}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is wanted; empty text wants everything. Each list takes what it knows of.

    A store is one that an item was to be sent to, `not_in` one that is not proven to have it.
    `since` and `until` (RFC 3339 in UTC) want what began from that moment on, and before that one;
    `incomplete` only dockings that ended before all of it was copied; `closed` closed findings too.
    """

    camera: str = ""
    state: str = ""
    docking: str = ""
    bay: str = ""
    store: str = ""
    not_in: str = ""
    since: str = ""
    until: str = ""
    incomplete: bool = False
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """JSON-ready rows of what was chosen, how many were, and how many rows a limit left.

    Rows of items are read as they are asked for.
    """

    rows: Iterable[dict[str, Any]]
    total: int
    shown: int


def items(
    conn: sa.Connection, choice: Choice, *, order: str = "discovered", limit: int = 0
) -> Listing:
    """Items in ascending order of a key of `ITEM_ORDERS`.

    A limit keeps the end of it: the newest, the largest; 0 sets none.
    """
    where = _during(item.c.discovered_at, choice)
    for column, value in ((item.c.camera, choice.camera), (item.c.state, choice.state)):
        if value:
            where.append(column == value)
    if choice.docking:
        where.append(item.c.docking_id == choice.docking)
    if choice.bay:
        there = sa.select(docking.c.docking_id).where(docking.c.bay == choice.bay)
        where.append(item.c.docking_id.in_(there))
    if choice.store:
        where.append(item.c.item_id.in_(_sent_to(choice.store)))
    if choice.not_in:
        proven = _sent_to(choice.not_in).where(upload.c.state == UploadState.CONFIRMED.value)
        where.append(item.c.item_id.not_in(proven))
    rows = views.list_items(conn, where=where, order=ITEM_ORDERS[order], limit=limit)
    return _listing(rows, _total(conn, item, where), limit)


def dockings(conn: sa.Connection, choice: Choice, *, limit: int = 0) -> Listing:
    """Dockings, newest last, with what came of them; at most `limit` of the newest, all when 0."""
    where = _during(docking.c.started_at, choice)
    for column, value in ((docking.c.camera, choice.camera), (docking.c.bay, choice.bay)):
        if value:
            where.append(column == value)
    if choice.incomplete:
        where += [docking.c.ended_at.is_not(None), docking.c.complete.is_(False)]
    query = sa.select(docking).where(*where).order_by(docking.c.docking_id.desc())
    if limit:
        query = query.limit(limit)
    rows = [dict(row) for row in conn.execute(query).mappings()][::-1]
    here = item.c.docking_id.in_(sa.select(query.subquery().c.docking_id))
    taken = amounts(conn, here, by=(item.c.docking_id, item.c.state))
    by_docking: dict[str, dict[str, Amount]] = {row["docking_id"]: {} for row in rows}
    for (docking_id, state), some in taken.items():
        by_docking[docking_id][state] = some
    for row in rows:
        counts = by_docking[row["docking_id"]]
        row["items"] = {state: some.items for state, some in counts.items()}
        row["size_bytes"] = sum(some.size_bytes for some in counts.values())
    return _listing(rows, _total(conn, docking, where), limit)


def _listing(rows: Iterable[dict[str, Any]], total: int, limit: int) -> Listing:
    return Listing(rows, total, min(total, limit or total))


def findings(conn: sa.Connection, choice: Choice) -> list[dict[str, Any]]:
    """Findings, oldest first; those of a camera are its own, its dockings' and its items'."""
    where = _during(finding.c.opened_at, choice)
    if not choice.closed:
        where.append(finding.c.closed_at.is_(None))
    if choice.docking:
        where.append(finding.c.docking_id == choice.docking)
    if choice.store:
        where.append(finding.c.subject == subjects.store(choice.store))
    if choice.camera:
        here = sa.select(docking.c.docking_id).where(docking.c.camera == choice.camera)
        its = sa.select(item.c.item_id).where(item.c.camera == choice.camera)
        where.append(
            sa.or_(
                finding.c.subject == subjects.camera(choice.camera),
                finding.c.docking_id.in_(here),
                finding.c.item_id.in_(its),
            )
        )
    query = sa.select(finding).where(*where).order_by(finding.c.finding_id)
    found = [dict(row) for row in conn.execute(query).mappings()]
    waiting = _waiting(conn) if any(_is_stores(row) for row in found) else {}
    for row in found:
        # Counted when it is read: a finding that counted along would be a commit a recording.
        store = subjects.store_of(row["subject"])
        row["waiting"] = waiting.get(store, 0) if _is_stores(row) else None
    return found


def _is_stores(row: dict[str, Any]) -> bool:
    return row["closed_at"] is None and subjects.split(row["subject"])[0] == "store"


def _waiting(conn: sa.Connection) -> dict[str, int]:
    """How many recordings wait for each store."""
    rows = conn.execute(
        sa.select(upload.c.store, sa.func.count().label("waiting"))
        .where(upload.c.state.in_(OPEN_UPLOADS))
        .group_by(upload.c.store)
    )
    return {row.store: row.waiting for row in rows}


def kept_bytes(conn: sa.Connection, *, files: bool, stores: bool) -> int:
    """How many bytes lie in staging, and in stores as proven copies, as far as is asked for."""
    total = 0
    if files:
        total += amount(conn, item.c.staged_path != "").size_bytes
    if stores:
        confirmed = upload.c.state == UploadState.CONFIRMED.value
        total += amount(conn, confirmed, among=UPLOADS).size_bytes
    return total


def _sent_to(store: str) -> sa.Select[tuple[str]]:
    return sa.select(upload.c.item_id).where(upload.c.store == store)


def _during(column: sa.Column[str], choice: Choice) -> list[sa.ColumnElement[bool]]:
    # RFC 3339 in UTC with milliseconds sorts as it was.
    where: list[sa.ColumnElement[bool]] = []
    if choice.since:
        where.append(column >= choice.since)
    if choice.until:
        where.append(column < choice.until)
    return where


def _total(conn: sa.Connection, table: sa.Table, where: list[sa.ColumnElement[bool]]) -> int:
    query = sa.select(sa.func.count()).select_from(table).where(*where)
    return int(conn.execute(query).scalar_one())
