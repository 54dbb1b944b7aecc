"""Findings: what a person has to know of, opened and closed together with their ledger entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa
from ulid import ULID

from bodycam_ingest.custody import entries
from bodycam_ingest.db.schema import docking, finding, item
from bodycam_ingest.errors import UnknownSubjectError
from bodycam_ingest.log import log

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.ledger import Txn


STAGING_SUBJECT: Final = "dock:staging"


def raise_finding(
    txn: Txn,
    *,
    code: str,
    severity: str,
    subject: str,
    detail: str,
    docking_id: str | None = None,
    item_id: str | None = None,
) -> str:
    """Open a finding, unless one with the same code and subject is open already.

    Args:
        txn: the open transaction.
        code: what is wrong, a constant word.
        severity: `alarm` needs a person and holds up the release it touches; `notice` does not.
        subject: whom it is about, such as `item:<ulid>` or `store:<name>`.
        detail: for people.
        docking_id: the docking that it touches.
        item_id: the item that it touches.

    Returns:
        The id of the open finding.
    """
    known = txn.conn.execute(
        sa.select(finding.c.finding_id).where(
            finding.c.closed_at.is_(None), finding.c.code == code, finding.c.subject == subject
        )
    ).scalar()
    if known is not None:
        return str(known)
    finding_id = str(ULID())
    txn.add(
        entries.finding_raised(
            finding_id,
            code=code,
            severity=severity,
            about=subject,
            detail=detail,
            docking_id=docking_id,
            item_id=item_id,
        )
    )
    log.warning("finding.raised", code=code, severity=severity, subject=subject, detail=detail)
    return finding_id


def close_finding(txn: Txn, *, code: str, subject: str) -> bool:
    """Close the open finding with that code and subject, because its cause is gone.

    Args:
        txn: the open transaction.
        code: its code.
        subject: its subject.

    Returns:
        Whether one was open.
    """
    return bool(_close_all(txn, subject, finding.c.code == code))


def open_pairs(conn: sa.Connection, codes: Iterable[str]) -> frozenset[tuple[str, str]]:
    """Code and subject of every open finding with one of these codes.

    Asked once before many items, it spares a question for each of them.
    """
    rows = conn.execute(
        sa.select(finding.c.code, finding.c.subject).where(
            finding.c.closed_at.is_(None), finding.c.code.in_(list(codes))
        )
    )
    return frozenset((row.code, row.subject) for row in rows)


def open_about(conn: sa.Connection, subject: str) -> bool:
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
    serial = sa.select("camera:" + docking.c.camera).where(docking.c.docking_id == docking_id)
    rows = conn.execute(
        sa.select(finding.c.code)
        .where(finding.c.closed_at.is_(None), finding.c.severity == "alarm")
        .where(
            sa.or_(
                finding.c.docking_id == docking_id,
                item_here,
                finding.c.subject.in_(serial),
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


def close_about(txn: Txn, *, subject: str) -> int:
    """Close all open findings about a subject, because all is well with it.

    Args:
        txn: the open transaction.
        subject: whom they are about.

    Returns:
        How many were open.
    """
    return _close_all(txn, subject, sa.true())


def _close_all(txn: Txn, subject: str, which: sa.ColumnElement[bool]) -> int:
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

    Args:
        txn: the open transaction.
        finding_id: the finding.
        reason: what the person says of it.
        actor: who.

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
    closed = entries.finding_closed(finding_id, code=row.code, about=row.subject, reason=reason)
    txn.add(closed, actor=actor)
    log.info("finding.closed", code=row.code, subject=row.subject)
