"""What the ledger's tables say of its tree and its subjects; reads only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.custody.merkle import Peaks, peaks_of
from bodycam_ingest.db.schema import ledger_entry, ledger_node
from bodycam_ingest.errors import LedgerForkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LOG_ID: Final = 1
# Roots of full subtrees of 256, 65,536 and 16,777,216 leaves are kept: proofs need no full scan.
NODE_LEVELS: Final = (8, 16, 24)
_STEP: Final = 8
# SQLite takes 32,766 parameters at most, older ones 999.
_ASKED_AT_ONCE: Final = 500


def leaves(conn: sa.Connection, start: int, end: int) -> Sequence[bytes]:
    """The leaf hashes that the entries' rows hold, from `start` up to, not including, `end`."""
    return (
        conn.execute(
            sa.select(ledger_entry.c.leaf_hash)
            .where(ledger_entry.c.log_id == LOG_ID)
            .where(ledger_entry.c.seq >= start, ledger_entry.c.seq < end)
            .order_by(ledger_entry.c.seq)
        )
        .scalars()
        .all()
    )


def nodes(conn: sa.Connection, level: int, start: int, end: int) -> Sequence[bytes]:
    """Kept subtree roots of one level, from index `start` up to, not including, `end`."""
    return (
        conn.execute(
            sa.select(ledger_node.c.hash)
            .where(ledger_node.c.log_id == LOG_ID, ledger_node.c.level == level)
            .where(ledger_node.c.idx >= start, ledger_node.c.idx < end)
            .order_by(ledger_node.c.idx)
        )
        .scalars()
        .all()
    )


def subtree(conn: sa.Connection, level: int, index: int) -> bytes:
    """Root of a full subtree, from the level below that is kept."""
    start, end = index << _STEP, (index + 1) << _STEP
    below = level - _STEP
    hashes = leaves(conn, start, end) if below == 0 else nodes(conn, below, start, end)
    return peaks_of(hashes).root()


def peaks_at(conn: sa.Connection, size: int) -> Peaks | None:
    """The tree over the first entries, from the largest subtrees that are kept.

    Args:
        conn: an open connection.
        size: how many entries.

    Returns:
        The tree; None when rows that it needs are missing.
    """
    peaks = Peaks()
    for level in (*reversed(NODE_LEVELS), 0):
        start, end = peaks.size >> level, size >> level
        found = nodes(conn, level, start, end) if level else leaves(conn, start, end)
        if len(found) != end - start:
            return None
        for value in found:
            peaks = peaks.grow(value, level)[0]
    return peaks


def _ordinal(seq: int, body: bytes) -> int:
    try:
        return int(json.loads(body)["subj"]["n"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        # This program wrote none like it: what it would say next must not rest on it.
        raise LedgerForkError(f"entry {seq} of the ledger was altered: {error!r:.200}") from error


def last_of_subjects(conn: sa.Connection, subjects: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Where subjects' histories stand.

    Args:
        conn: an open connection.
        subjects: whose.

    Returns:
        Ordinal and sequence number of the last entry, for each subject that has one.

    Raises:
        LedgerForkError: an entry is none that this program wrote.
    """
    wanted = list(subjects)
    found: dict[str, tuple[int, int]] = {}
    for cut in range(0, len(wanted), _ASKED_AT_ONCE):
        some = wanted[cut : cut + _ASKED_AT_ONCE]
        newest = (
            sa.select(sa.func.max(ledger_entry.c.seq))
            .where(ledger_entry.c.log_id == LOG_ID, ledger_entry.c.subject.in_(some))
            .group_by(ledger_entry.c.subject)
        )
        rows = conn.execute(
            sa.select(ledger_entry.c.subject, ledger_entry.c.seq, ledger_entry.c.body).where(
                ledger_entry.c.log_id == LOG_ID, ledger_entry.c.seq.in_(newest)
            )
        )
        for subject, seq, body in rows:
            found[subject] = (_ordinal(seq, body), seq)
    return found
