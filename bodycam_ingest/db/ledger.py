"""The ledger's one writer: entries and the state that they describe commit together.

Crash order: entries, tree, signed checkpoint and state changes are one transaction; only after
COMMIT returned does the checkpoint go to the state file. So the state file never is ahead of the
database, unless somebody put an older database in its place.
"""

from __future__ import annotations

import contextlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.custody import checkpoint as checkpoints
from bodycam_ingest.custody.checkpoint import Checkpoint
from bodycam_ingest.custody.commitment import SALT_BYTES, commitment
from bodycam_ingest.custody.entry import (
    SYSTEM,
    Actor,
    Moment,
    Position,
    admit,
    build_entry,
    escaped,
)
from bodycam_ingest.custody.merkle import HASH_BYTES, Peaks, leaf_hash
from bodycam_ingest.custody.projection import Fact, project
from bodycam_ingest.db import uploads
from bodycam_ingest.db.engine import for_writing
from bodycam_ingest.db.ledger_tree import LOG_ID, NODE_LEVELS, last_of_subjects, subtree
from bodycam_ingest.db.projected import ProjectedRows
from bodycam_ingest.db.schema import (
    ledger_checkpoint,
    ledger_entry,
    ledger_head,
    ledger_node,
    ledger_private,
)
from bodycam_ingest.db.standing import LedgerHead, read_head_row, read_state_file, standing
from bodycam_ingest.errors import IllegalTransitionError, LedgerForkError, LedgerUnwritableError
from bodycam_ingest.linux import clock, durable, group_access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from bodycam_ingest.custody.entries import Draft
    from bodycam_ingest.custody.note import Signer

ZERO: Final = bytes(HASH_BYTES)


@dataclass(frozen=True, slots=True)
class _Pending:
    """An entry that has its number, and gets its place in its subject's history at the end."""

    seq: int
    moment: Moment
    type: str
    subject: str
    actor: Actor
    data: Mapping[str, Any]


class Txn:
    """One open transaction; state tables are changed through `conn`, in the same commit.

    It goes on from the tree and the last leaf hash before it.
    """

    def __init__(self, conn: sa.Connection, origin: str, peaks: Peaks, last: bytes) -> None:
        self._conn = conn
        self.rows = ProjectedRows(conn)
        self._origin = origin
        self._peaks = peaks
        self._last = last
        self._pending: list[_Pending] = []
        self._private: list[dict[str, Any]] = []

    @property
    def conn(self) -> sa.Connection:
        """The open connection; it sees what the entries appended so far make of the tables."""
        self._flush()
        return self._conn

    def _flush(self) -> None:
        uploads.follow(self._conn, self.rows.flush())

    @property
    def size(self) -> int:
        """Entries so far, with those of this transaction: the number of the next one."""
        return self._peaks.size + len(self._pending)

    def append(
        self,
        type: str,  # noqa: A002 - the format's own word
        subject: str,
        data: Mapping[str, Any],
        *,
        actor: Actor = SYSTEM,
        sealed: Mapping[str, str] | None = None,
    ) -> int:
        """Add an entry; returns its number.

        The data is copied, so it may change afterwards. Of what is `sealed`, personal values by
        field, the entry holds salted commitments only.

        Raises:
            LedgerEntryError: it does not follow the format; the transaction is to be given up.
            IllegalTransitionError: the entries before do not allow it; the same.
        """
        seq = self.size
        now = clock.read()
        moment = Moment(clock.rfc3339(now.wall), now.boot_id, now.boottime_ms)
        copied = admit(type, data)
        about = escaped(subject)
        if sealed:
            copied["sealed"] = self._seal(seq, sealed)
        self._pending.append(_Pending(seq, moment, type, about, actor, copied))
        self._project(Fact(seq, moment.t, moment.boot, moment.mono, type, about, False, copied))
        return seq

    def add(self, draft: Draft, *, actor: Actor = SYSTEM) -> int:
        """Add an entry that `custody.entries` made; as `append`."""
        return self.append(
            draft.type, draft.subject, draft.data, actor=actor, sealed=draft.sealed or None
        )

    def _project(self, fact: Fact) -> None:
        made, faults = project(self.rows, fact)
        if faults:
            raise IllegalTransitionError(faults[0].message)
        for row in made:
            self.rows.put(row)

    def _seal(self, seq: int, values: Mapping[str, str]) -> dict[str, str]:
        commitments = {}
        for field, value in values.items():
            salt = os.urandom(SALT_BYTES)
            plain = escaped(value)
            commitments[field] = commitment(field, salt, plain)
            self._private.append(
                {"log_id": LOG_ID, "seq": seq, "field": field, "salt": salt, "value": plain}
            )
        return commitments

    def write(self, signer: Signer) -> LedgerHead | None:
        """Put entries, tree and signed checkpoint into the transaction; it takes no more entries.

        Returns the new head, None when nothing was appended.

        Raises:
            LedgerEntryError: an entry does not follow the format.
        """
        self._flush()
        if not self._pending:
            return None
        first = self._peaks.size
        self.conn.execute(ledger_entry.insert(), self._rows())
        if self._private:
            self.conn.execute(ledger_private.insert(), self._private)
        self._write_nodes(first)
        size, root = self._peaks.size, self._peaks.root()
        signed = checkpoints.sign(Checkpoint(self._origin, size, root), [signer])
        self.conn.execute(
            ledger_head.update()
            .where(ledger_head.c.log_id == LOG_ID)
            .values(
                size=size,
                peaks=self._peaks.encode(),
                last=self._last,
                checkpoint=signed,
            )
        )
        self.conn.execute(ledger_checkpoint.insert().values(log_id=LOG_ID, size=size, note=signed))
        return LedgerHead(size, root, signed)

    def _rows(self) -> list[dict[str, Any]]:
        # All subjects are looked up at once: a batch of small files makes thousands of entries.
        places = last_of_subjects(self.conn, {one.subject for one in self._pending})
        rows = []
        for one in self._pending:
            before = places.get(one.subject)
            ordinal, subject_prev = (before[0] + 1, before[1]) if before else (0, None)
            places[one.subject] = (ordinal, one.seq)
            place = Position(self._origin, one.seq, self._last, one.subject, ordinal, subject_prev)
            body = build_entry(place, one.moment, one.type, one.actor, one.data)
            self._last = leaf_hash(body)
            self._peaks = self._peaks.append(self._last)
            rows.append(
                {
                    "log_id": LOG_ID,
                    "seq": one.seq,
                    "body": body,
                    "leaf_hash": self._last,
                    "type": one.type,
                    "subject": one.subject,
                    "t": one.moment.t,
                }
            )
        return rows

    def _write_nodes(self, first: int) -> None:
        for level in NODE_LEVELS:
            rows = [
                {"log_id": LOG_ID, "level": level, "idx": i, "hash": subtree(self.conn, level, i)}
                for i in range(first >> level, self._peaks.size >> level)
            ]
            if rows:
                self.conn.execute(ledger_node.insert(), rows)


def _nobody() -> None:
    """Nobody waits for commits."""


class LedgerWriter:
    """The only writer of one log; there is one in a process, and one process holds the lock.

    The signer's name is the log's origin; in the state file the last signed checkpoint stands
    outside of the database. The descriptor that holds the state directory's lock is closed by
    `close`.

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
        self.commits = 0
        # Called after each commit, in the thread that made it, under the lock.
        self.on_commit: Callable[[], None] = _nobody
        note = read_state_file(state_file)
        with engine.connect() as conn:
            self.head, known_size = standing(conn, signer.verifier(), note)
        # Cut off between the commit and the state file: the commit counts.
        if known_size < self.head.size:
            self._remember(self.head)

    def _remember(self, head: LedgerHead) -> None:
        try:
            with durable.act("ledger.state_file"):
                durable.replace_file(
                    self._state_file,
                    head.checkpoint.encode(),
                    mode=group_access.file_mode(self._state_file.parent),
                )
        except OSError as error:
            raise LedgerUnwritableError(
                f"{self._state_file} could not be written: {error}"
            ) from error

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
        with for_writing(self._engine.connect()) as conn:
            begun = conn.begin()
            try:
                txn = self._begin(conn)
                yield txn
                written = self._write(txn)
            except BaseException:
                begun.rollback()
                raise
            self._commit(begun, written)

    def _write(self, txn: Txn) -> LedgerHead | None:
        try:
            return txn.write(self._signer)
        except sa.exc.IntegrityError as error:
            # The head is as this process left it, and yet there are rows beyond it.
            raise LedgerForkError(
                f"something else has written to this ledger: {error.orig}"
            ) from error

    def _begin(self, conn: sa.Connection) -> Txn:
        peaks, last, text = read_head_row(conn)
        if LedgerHead(peaks.size, peaks.root(), text) != self.head:
            raise LedgerForkError("something else has written to this ledger")
        return Txn(conn, self.origin, peaks, last)

    def _commit(self, begun: sa.Transaction, head: LedgerHead | None) -> None:
        # Until commit and state file are done nobody knows: a fault in between leaves it so.
        self._poisoned = "an earlier commit has no known outcome"
        with durable.act("ledger.commit"):
            begun.commit()
        if head is not None:
            self._remember(head)
            self.head = head
        self.commits += 1
        self._poisoned = ""
        self.on_commit()

    def close(self) -> None:
        """Let go of the lock; no transaction is possible after it."""
        with self._lock:
            self._poisoned = self._poisoned or "the ledger is closed"
            fd, self._lock_fd = self._lock_fd, -1
            if fd >= 0:
                os.close(fd)
