"""Findings: what a person has to know of, opened and closed together with their ledger entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from ulid import ULID

from bodycam_ingest.custody import entries
from bodycam_ingest.db.schema import docking, finding, item
from bodycam_ingest.errors import UnknownSubjectError
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects
from bodycam_ingest.model.subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Engine

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter, Txn


# A notice that stands until the camera brings the rest; `status` tells it.
LEFT_EARLY: Final = "left_early"


def alarm(
    txn: Txn,
    subject: Subject,
    code: str,
    detail: str,
    *,
    docking_id: str | None = None,
    item_id: str | None = None,
) -> None:
    """Open an alarm: it needs a person, and holds up the release of the docking or item it touches.

    Nothing where a finding with the same code and subject is open already; so `notice`.
    """
    _open(txn, subject, code, detail, "alarm", docking_id, item_id)


def alarm_item(
    txn: Txn, row: ItemRow, code: str, detail: str, *, subject: Subject | None = None
) -> None:
    """Open an alarm about an item, or about `subject` where that touches it; as `alarm`."""
    about = subject or subjects.item(row.item_id)
    alarm(txn, about, code, detail, docking_id=row.docking_id, item_id=row.item_id)


def notice(
    txn: Txn, subject: Subject, code: str, detail: str, *, docking_id: str | None = None
) -> None:
    """Open a notice, which holds up nothing; arguments as `alarm`."""
    _open(txn, subject, code, detail, "notice", docking_id, None)


def _open(
    txn: Txn,
    subject: Subject,
    code: str,
    detail: str,
    severity: str,
    docking_id: str | None,
    item_id: str | None,
) -> None:
    known = sa.select(finding.c.finding_id).where(
        finding.c.closed_at.is_(None), finding.c.code == code, finding.c.subject == subject
    )
    if txn.conn.execute(known).first() is not None:
        return
    raised = entries.finding_raised(
        str(ULID()),
        code=code,
        severity=severity,
        about=subject,
        detail=detail,
        docking_id=docking_id,
        item_id=item_id,
    )
    txn.add(raised)
    log.warning("finding.raised", code=code, severity=severity, subject=subject, detail=detail)


def hold(engine: Engine, ledger: LedgerWriter, wanted: Mapping[tuple[str, Subject], str]) -> None:
    """Open or close alarms so that they say what is so; writes nothing where they do already.

    By code and subject `wanted` says what is wrong, for people; empty where nothing is.
    """
    with engine.connect() as conn:
        known = open_pairs(conn, {code for code, _ in wanted})
    if all(bool(detail) == (pair in known) for pair, detail in wanted.items()):
        return
    with ledger.transaction() as txn:
        for (code, subject), detail in wanted.items():
            if detail:
                alarm(txn, subject, code, detail)
            else:
                close_finding(txn, code=code, subject=subject)


def close_finding(txn: Txn, *, code: str, subject: Subject) -> bool:
    """Close the open finding of a code and subject, its cause gone; returns whether one was."""
    return bool(_close_all(txn, subject, finding.c.code == code))


def open_pairs(conn: sa.Connection, codes: Iterable[str]) -> frozenset[tuple[str, Subject]]:
    """Code and subject of every open finding with one of these codes.

    Asked once before many items, it spares a question for each of them.
    """
    rows = conn.execute(
        sa.select(finding.c.code, finding.c.subject).where(
            finding.c.closed_at.is_(None), finding.c.code.in_(list(codes))
        )
    )
    return frozenset((row.code, Subject(row.subject)) for row in rows)


def open_about(conn: sa.Connection, subject: Subject) -> bool:
    """Whether a finding about a subject is open."""
    query = sa.select(finding.c.finding_id).where(
        finding.c.closed_at.is_(None), finding.c.subject == subject
    )
    return conn.execute(query.limit(1)).first() is not None


def docking_alarms(conn: sa.Connection, docking_id: str) -> list[str]:
    """Codes of open alarms that touch a docking: its own, its camera's, its items'."""
    item_here = (
        sa.exists()
        .where(item.c.item_id == finding.c.item_id, item.c.seen_docking_id == docking_id)
        .correlate(finding)
    )
    its_camera = sa.select(subjects.camera("") + docking.c.camera).where(
        docking.c.docking_id == docking_id
    )
    rows = conn.execute(
        sa.select(finding.c.code)
        .where(finding.c.closed_at.is_(None), finding.c.severity == "alarm")
        .where(
            sa.or_(
                finding.c.docking_id == docking_id,
                item_here,
                finding.c.subject.in_(its_camera),
            )
        )
        .distinct()
    )
    return list(rows.scalars())


def was_raised(conn: sa.Connection, code: str, docking_id: str) -> bool:
    """Whether there is or was a finding with that code about a docking."""
    query = sa.select(finding.c.finding_id).where(
        finding.c.code == code, finding.c.docking_id == docking_id
    )
    return conn.execute(query.limit(1)).first() is not None


def close_about(txn: Txn, *, subject: Subject) -> int:
    """Close all open findings about a subject, because all is well; returns how many were open."""
    return _close_all(txn, subject, sa.true())


def close_about_store(txn: Txn, store: str) -> None:
    """Close all open findings about a store, its uploads and the objects queued for it."""
    all_open = sa.select(finding.c.subject).where(finding.c.closed_at.is_(None)).distinct()
    for subject in txn.conn.execute(all_open).scalars().all():
        if subjects.store_of(subject) == store:
            close_about(txn, subject=Subject(subject))


def _close_all(txn: Txn, subject: Subject, which: sa.ColumnElement[bool]) -> int:
    rows = txn.conn.execute(
        sa.select(finding.c.finding_id, finding.c.code).where(
            finding.c.closed_at.is_(None), finding.c.subject == subject, which
        )
    ).all()
    for row in rows:
        txn.add(entries.finding_closed(row.finding_id, code=row.code, about=subject))
        log.info("finding.closed", code=row.code, subject=subject)
    return len(rows)


def close_by_id(txn: Txn, finding_id: str, *, reason: str, actor: Actor) -> None:
    """Close a finding that a person looked into.

    Raises:
        UnknownSubjectError: there is no such open finding.
    """
    row = txn.conn.execute(
        sa.select(finding.c.code, finding.c.subject).where(
            finding.c.finding_id == finding_id, finding.c.closed_at.is_(None)
        )
    ).first()
    if row is None:
        raise UnknownSubjectError(
            f"no open finding {finding_id!r}", hint="`bodycam-ingest findings` lists them."
        )
    closed = entries.finding_closed(
        finding_id, code=row.code, about=Subject(row.subject), reason=reason
    )
    txn.add(closed, actor=actor)
    log.info("finding.closed", code=row.code, subject=row.subject)
