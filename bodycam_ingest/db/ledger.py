"""The ledger's one writer: entries and the state that they describe commit together.

Crash order: entries, tree, signed checkpoint and state changes are one transaction; only after
COMMIT returned does the checkpoint go to the state file. So the state file never is ahead of the
database, unless somebody put an older database in its place.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest import clock, durable
from bodycam_ingest.custody import checkpoint as checkpoints
from bodycam_ingest.custody.checkpoint import Checkpoint
from bodycam_ingest.custody.entry import SYSTEM, Actor, Moment, Position, build_entry, parse_entry
from bodycam_ingest.custody.merkle import HASH_BYTES, Peaks, leaf_hash, node_hash
from bodycam_ingest.custody.note import NoteError, Signer
from bodycam_ingest.custody.sealing import SALT_BYTES, commitment
from bodycam_ingest.db.schema import (
    ledger_checkpoint,
    ledger_entry,
    ledger_head,
    ledger_node,
    ledger_private,
)
from bodycam_ingest.errors import LedgerForkError, LedgerUnwritableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LOG_ID: Final = 1
ZERO: Final = bytes(HASH_BYTES)
# Roots of full subtrees of 256, 65,536 and 16,777,216 leaves are kept: proofs need no full scan.
NODE_LEVELS: Final = (8, 16, 24)
STATE_FILE: Final = "checkpoint"


@dataclass(frozen=True, slots=True)
class LedgerHead:
    """The ledger as last committed.

    Args:
        size: entries.
        root: Merkle root over them.
        checkpoint: the signed checkpoint.
    """

    size: int
    root: bytes
    checkpoint: str


def _read_head(conn: sa.Connection) -> tuple[Peaks, bytes, str]:
    row = conn.execute(sa.select(ledger_head).where(ledger_head.c.log_id == LOG_ID)).one()
    return Peaks.decode(row.size, row.peaks), row.last, row.checkpoint


def read_head(engine: sa.Engine) -> LedgerHead:
    """The head as committed, for readers."""
    with engine.connect() as conn:
        peaks, _, checkpoint = _read_head(conn)
    return LedgerHead(peaks.size, peaks.root(), checkpoint)


class Txn:
    """One open transaction; state tables are changed through `conn`, in the same commit.

    Args:
        conn: the open connection.
        origin: the log's origin.
        peaks: the tree before it.
        last: leaf hash of the last entry before it.
    """

    def __init__(self, conn: sa.Connection, origin: str, peaks: Peaks, last: bytes) -> None:
        self.conn = conn
        self.peaks = peaks
        self.last = last
        self._origin = origin
        self._rows: list[dict[str, Any]] = []
        self._private: list[dict[str, Any]] = []
        self._subjects: dict[str, tuple[int, int]] = {}

    def append(
        self,
        type: str,  # noqa: A002 - the format's own word
        subject: str,
        data: Mapping[str, Any],
        *,
        actor: Actor = SYSTEM,
        sealed: Mapping[str, str] | None = None,
    ) -> int:
        """Add an entry.

        Args:
            type: its type, such as `item.acquired`.
            subject: what it is about, such as `item:<ulid>`.
            data: what happened.
            actor: who did it.
            sealed: personal values by field; the entry holds salted commitments only.

        Returns:
            The entry's number.

        Raises:
            LedgerEntryError: it does not follow the format; the transaction is to be given up.
        """
        seq = self.peaks.size
        known = self._subject(subject)
        ordinal, before = (known[0] + 1, known[1]) if known else (0, None)
        now = clock.read()
        body = build_entry(
            Position(self._origin, seq, self.last, subject, ordinal, before),
            Moment(clock.rfc3339(now.wall), now.boot_id, now.boottime_ms),
            type,
            actor,
            self._sealed(seq, data, sealed or {}),
        )
        leaf = leaf_hash(body)
        self._rows.append(
            {
                "log_id": LOG_ID,
                "seq": seq,
                "body": body,
                "leaf_hash": leaf,
                "type": type,
                "subject": subject,
                "t": clock.rfc3339(now.wall),
            }
        )
        self.peaks, self.last = self.peaks.append(leaf), leaf
        self._subjects[subject] = (ordinal, seq)
        return seq

    def _subject(self, subject: str) -> tuple[int, int] | None:
        if subject in self._subjects:
            return self._subjects[subject]
        body = self.conn.execute(
            sa.select(ledger_entry.c.body)
            .where(ledger_entry.c.log_id == LOG_ID, ledger_entry.c.subject == subject)
            .order_by(ledger_entry.c.seq.desc())
            .limit(1)
        ).scalar()
        if body is None:
            return None
        position = parse_entry(body).position
        return position.ordinal, position.seq

    def _sealed(
        self, seq: int, data: Mapping[str, Any], values: Mapping[str, str]
    ) -> Mapping[str, Any]:
        if not values:
            return data
        commitments = {}
        for field, value in values.items():
            salt = os.urandom(SALT_BYTES)
            commitments[field] = commitment(field, salt, value)
            self._private.append(
                {"log_id": LOG_ID, "seq": seq, "field": field, "salt": salt, "value": value}
            )
        return {**data, "sealed": commitments}

    def write(self, signer: Signer) -> LedgerHead | None:
        """Put entries, tree and signed checkpoint into the transaction.

        Returns:
            The new head, None when nothing was appended.
        """
        if not self._rows:
            return None
        self.conn.execute(ledger_entry.insert(), self._rows)
        if self._private:
            self.conn.execute(ledger_private.insert(), self._private)
        self._write_nodes()
        root = self.peaks.root()
        signed = checkpoints.sign(Checkpoint(self._origin, self.peaks.size, root), [signer])
        self.conn.execute(
            ledger_head.update()
            .where(ledger_head.c.log_id == LOG_ID)
            .values(
                size=self.peaks.size,
                peaks=self.peaks.encode(),
                last=self.last,
                checkpoint=signed,
            )
        )
        self.conn.execute(
            ledger_checkpoint.insert().values(log_id=LOG_ID, size=self.peaks.size, note=signed)
        )
        return LedgerHead(self.peaks.size, root, signed)

    def _write_nodes(self) -> None:
        first = self._rows[0]["seq"]
        for level in NODE_LEVELS:
            span = 1 << level
            rows = [
                {"log_id": LOG_ID, "level": level, "idx": i, "hash": self._subtree(level, i)}
                for i in range(first // span, self.peaks.size // span)
            ]
            if rows:
                self.conn.execute(ledger_node.insert(), rows)

    def _subtree(self, level: int, index: int) -> bytes:
        """Root of a full subtree, from the level below that is kept."""
        if level == NODE_LEVELS[0]:
            query = (
                sa.select(ledger_entry.c.leaf_hash)
                .where(ledger_entry.c.log_id == LOG_ID)
                .where(ledger_entry.c.seq >= index << level)
                .where(ledger_entry.c.seq < (index + 1) << level)
                .order_by(ledger_entry.c.seq)
            )
        else:
            query = (
                sa.select(ledger_node.c.hash)
                .where(ledger_node.c.log_id == LOG_ID, ledger_node.c.level == level - 8)
                .where(ledger_node.c.idx >= index << 8, ledger_node.c.idx < (index + 1) << 8)
                .order_by(ledger_node.c.idx)
            )
        hashes = list(self.conn.execute(query).scalars())
        while len(hashes) > 1:
            hashes = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
        return hashes[0]


class LedgerWriter:
    """The only writer of one log; there is one in a process, and one process holds the lock.

    Args:
        engine: the database, for writing.
        signer: the log's key; its name is the log's origin.
        state_file: where the last signed checkpoint stands outside of the database.
        lock_fd: descriptor that holds the lock of the state directory; closed by `close`.

    Raises:
        LedgerForkError: the database is not an extension of what was signed last.
    """

    def __init__(self, engine: sa.Engine, signer: Signer, state_file: Path, lock_fd: int) -> None:
        self.origin: Final = signer.name
        self._engine = engine
        self._signer = signer
        self._state_file = state_file
        self._lock_fd = lock_fd
        self._lock = threading.RLock()
        self._poisoned: str = ""
        self._in_transaction = False
        self.head = read_head(engine)
        self._compare_with_state_file()

    def _compare_with_state_file(self) -> None:
        try:
            signed = self._state_file.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise LedgerForkError(f"{self._state_file} is missing") from None
        try:
            known = checkpoints.verified(signed, self._signer.verifier(), self.origin)
        except NoteError as error:
            raise LedgerForkError(f"{self._state_file}: {error}") from error
        if known.size > self.head.size:
            raise LedgerForkError(
                f"the database has {self.head.size} entries, {known.size} were signed"
            )
        if known.size == self.head.size and known.root != self.head.root:
            raise LedgerForkError(f"two histories of {known.size} entries")
        if known.size < self.head.size and self._root_at(known.size) != known.root:
            raise LedgerForkError(f"the database does not extend what was signed at {known.size}")

    def _root_at(self, size: int) -> bytes:
        peaks = Peaks()
        with self._engine.connect() as conn:
            for leaf in conn.execute(
                sa.select(ledger_entry.c.leaf_hash)
                .where(ledger_entry.c.log_id == LOG_ID, ledger_entry.c.seq < size)
                .order_by(ledger_entry.c.seq)
            ).scalars():
                peaks = peaks.append(leaf)
        return peaks.root()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Txn]:
        """One transaction: entries and state changes commit together, or not at all.

        Raises:
            LedgerUnwritableError: it could not be written; nothing is marked done. After a commit
                whose outcome is unknown every later transaction is refused: a restart finds out.
        """
        with self._lock:
            if self._poisoned:
                raise LedgerUnwritableError(self._poisoned)
            if self._in_transaction:
                raise LedgerUnwritableError("a transaction inside of another one")
            self._in_transaction = True
            try:
                yield from self._transact()
            finally:
                self._in_transaction = False

    def _transact(self) -> Iterator[Txn]:
        try:
            with self._engine.connect().execution_options(immediate=True) as conn:
                begun = conn.begin()
                peaks, last, _ = _read_head(conn)
                if peaks.size != self.head.size:
                    raise LedgerForkError("another process has written to this ledger")
                txn = Txn(conn, self.origin, peaks, last)
                try:
                    yield txn
                    head = txn.write(self._signer)
                except BaseException:
                    begun.rollback()
                    raise
                self._commit(begun, head)
        except sa.exc.IntegrityError:
            # A defect of the caller, not of the disk: rolled back, and told as what it is.
            raise
        except (sa.exc.DatabaseError, sqlite3.Error) as error:
            raise LedgerUnwritableError(f"the database refused: {error}") from error

    def _commit(self, begun: sa.Transaction, head: LedgerHead | None) -> None:
        # Until the commit has returned nobody knows whether it happened.
        self._poisoned = "an earlier commit had no known outcome"
        with durable.act("ledger.commit"):
            begun.commit()
        if head is not None:
            try:
                with durable.act("ledger.state_file"):
                    durable.replace_file(self._state_file, head.checkpoint.encode())
            except OSError as error:
                self._poisoned = f"{self._state_file} could not be written: {error}"
                raise LedgerUnwritableError(self._poisoned) from error
            self.head = head
        self._poisoned = ""

    def close(self) -> None:
        """Let go of the lock; no transaction is possible after it."""
        with self._lock:
            self._poisoned = self._poisoned or "the ledger is closed"
            fd, self._lock_fd = self._lock_fd, -1
            if fd >= 0:
                os.close(fd)
