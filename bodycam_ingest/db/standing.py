"""Where the ledger stands, and whether it may be extended: asked by the daemon and by `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from bodycam_ingest.custody import checkpoint as checkpoints
from bodycam_ingest.custody.merkle import Peaks
from bodycam_ingest.custody.note import NoteError
from bodycam_ingest.db.ledger_tree import LOG_ID, leaves, peaks_at
from bodycam_ingest.db.schema import ledger_entry, ledger_head
from bodycam_ingest.errors import DatabaseDamagedError, LedgerForkError, StateDirectoryError

if TYPE_CHECKING:
    from pathlib import Path

    from bodycam_ingest.custody.note import VerifierKey


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """The ledger as last committed: entries, Merkle root over them, signed checkpoint."""

    size: int
    root: bytes
    checkpoint: str


def read_head_row(conn: sa.Connection) -> tuple[Peaks, bytes, str]:
    """Tree, last leaf hash and checkpoint as the head row has them.

    Raises:
        LedgerForkError: it is gone, or does not hold together.
        DatabaseDamagedError: it holds values of another kind.
    """
    try:
        query = sa.select(ledger_head).where(ledger_head.c.log_id == LOG_ID)
        row = conn.execute(query).one_or_none()
        if row is None:
            raise LedgerForkError("the database's head is missing")
        peaks = Peaks.decode(row.size, row.peaks)
    except (AttributeError, TypeError) as error:
        # SQLite keeps a value of any kind in any column: somebody wrote by hand.
        raise DatabaseDamagedError(f"the database's head: {error}") from error
    except ValueError as error:
        raise LedgerForkError(f"the database's head: {error}") from error
    if not isinstance(row.checkpoint, str):
        raise DatabaseDamagedError("ledger_head.checkpoint is no text")
    return peaks, row.last, row.checkpoint


def read_head(engine: sa.Engine) -> LedgerHead:
    """The head as committed, for readers.

    Raises:
        LedgerForkError: there is none, or it does not hold together.
    """
    with engine.connect() as conn:
        peaks, _, checkpoint = read_head_row(conn)
    return LedgerHead(peaks.size, peaks.root(), checkpoint)


def read_state_file(path: Path) -> str:
    """The checkpoint that stands outside of the database.

    Raises:
        LedgerForkError: it is missing, or no text.
        StateDirectoryError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LedgerForkError(f"{path} is missing") from None
    except UnicodeDecodeError as error:
        raise LedgerForkError(f"{path}: {error}") from error
    except OSError as error:
        raise StateDirectoryError(f"{path}: {error}") from error


def standing(conn: sa.Connection, verifier: VerifierKey, note: str) -> tuple[LedgerHead, int]:
    """Where the ledger stands, and how many entries the state file covers.

    The daemon asks this at its start, and `doctor` before it; `note` is the state file, read before
    this connection began.

    Raises:
        LedgerForkError: the database is not an extension of what was signed last.
    """
    head = _checked_head(conn, verifier)
    try:
        known = checkpoints.verified(note, verifier, verifier.name)
    except NoteError as error:
        raise LedgerForkError(f"the state file: {error}") from error
    if known.size > head.size:
        raise LedgerForkError(f"the database has {head.size} entries, {known.size} were signed")
    before = peaks_at(conn, known.size)
    if before is None or before.root() != known.root:
        raise LedgerForkError(f"the database does not extend what was signed at {known.size}")
    return head, known.size


def _checked_head(conn: sa.Connection, verifier: VerifierKey) -> LedgerHead:
    """The head, if this log's key signed it and the tables end where it says."""
    peaks, last, text = read_head_row(conn)
    head = LedgerHead(peaks.size, peaks.root(), text)
    try:
        signed = checkpoints.verified(head.checkpoint, verifier, verifier.name)
    except (NoteError, AttributeError, TypeError) as error:
        raise LedgerForkError(f"the database's checkpoint: {error}") from error
    if (signed.size, signed.root) != (head.size, head.root):
        raise LedgerForkError("the database's head is not what its checkpoint says")
    end = conn.execute(
        sa.select(sa.func.max(ledger_entry.c.seq)).where(ledger_entry.c.log_id == LOG_ID)
    ).scalar()
    ending = leaves(conn, head.size - 1, head.size)
    # The next signature must not make good what nobody signed.
    if end != head.size - 1 or list(ending) != [last]:
        raise LedgerForkError(f"the database's entries do not end at {head.size}, as signed")
    return head
