"""`verify`: ledger, states, staged files and stored objects, read-only, every finding.

One snapshot of the database is compared with itself, with the state file, with staging and with
the stores. Nothing is migrated, repaired or created: a check that fixes hides what it found.

Every part is looked at whatever the others showed. What contradicts the record is a finding; what
the machine or a store refused is "could not be checked", and never called broken.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.audit.files import FileCheck
from bodycam_ingest.audit.report import Report, not_proven
from bodycam_ingest.audit.stores import STRANGE, SignedNote, StoreCheck
from bodycam_ingest.custody import checkpoint
from bodycam_ingest.custody.log_check import Expected, Finding, LogChecker, SignedRoot
from bodycam_ingest.custody.note import NoteError, VerifierKey
from bodycam_ingest.custody.projection import Fact
from bodycam_ingest.db import soundness, verify_reads
from bodycam_ingest.db.keys import LOG_KEY, load_log_key
from bodycam_ingest.db.reading import DATABASE, KEYS_DIRECTORY, STATE_FILE, open_for_reading
from bodycam_ingest.db.reprojection import Reprojection
from bodycam_ingest.db.subjects import Subjects
from bodycam_ingest.errors import DatabaseDamagedError, HaltError, IngestError, KeyUnreadableError
from bodycam_ingest.linux.time_limit import SILENCE_MAX_S
from bodycam_ingest.model.lifecycle import UploadState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import sqlalchemy as sa

    from bodycam_ingest.custody.checkpoint import Checkpoint
    from bodycam_ingest.staging import StagedCopies
    from bodycam_ingest.stores import ObjectStore

_STATE_FILE_BYTES_MAX: Final = 16_384


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be checked besides the ledger and the states.

    Args:
        origin: the log's name, as the configuration has it.
        copies: the copies in staging; None leaves files out.
        stores: stores by name; None leaves objects out.
        progress: told of bytes read.
        required: names of the stores that are required now.
        stage: told of each part that is begun, in a few words.
        silence_max_s: how long a store may be silent, s.
        key: the log's verifier key as somebody kept it off the dock; None takes the database's.
        witness: a signed checkpoint as somebody kept it off the dock; None where there is none.
    """

    state_dir: Path
    origin: str
    copies: StagedCopies | None
    stores: Mapping[str, ObjectStore] | None
    progress: Callable[[int], None]
    required: frozenset[str] = frozenset()
    stage: Callable[[str], None] = lambda _name: None
    silence_max_s: float = SILENCE_MAX_S
    key: VerifierKey | None = None
    witness: str | None = None


class Audit:
    """One run of `verify`."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._open = contextlib.ExitStack()
        # What the entries make of the tables, once `_check_log` took them.
        self._state: Reprojection | None = None
        self.report = Report()

    def run(self) -> Report:
        """Check everything in scope; every fault that is met stands in the report."""
        scope, report = self._scope, self.report
        # Read first: the state file may lag behind the database, never run ahead of it.
        notes = self._read_state_file()
        stores = StoreCheck(scope.stores or {}, scope.progress, silence_max_s=scope.silence_max_s)
        if scope.stores:
            scope.stage("anchors")
        anchors = stores.anchors(scope.origin)
        report.not_proven = not_proven(
            by_key=scope.key is not None, by_checkpoint=bool(anchors) or scope.witness is not None
        )
        if scope.witness is not None:
            anchors.append(SignedNote("the checkpoint that was given", scope.witness, anchor=True))
        engine: sa.Engine | None = None
        with self._part("the database"):
            engine = open_for_reading(scope.state_dir)
        if engine is not None:
            self._open.callback(engine.dispose)
            with self._open:
                with self._part("the database"), engine.connect() as conn:
                    self._check_database(conn, notes, anchors, stores)
                with self._part("staged files"):
                    self._check_files(engine)
        stores.settle()
        report.findings += stores.findings
        report.unreachable += stores.unreachable
        return report

    @contextlib.contextmanager
    def _part(self, what: str) -> Iterator[None]:
        """One part of the run, which ends with a word in the report at worst."""
        try:
            yield
        except DatabaseDamagedError as error:
            self.report.find("database_damaged", f"{what}: {error.message}")
        except IngestError as error:
            self.report.unreachable.append(f"{what}: {error.message}. {error.hint}")
        except STRANGE as error:
            # The tables' types are promises that SQLite does not keep: somebody wrote by hand.
            told = f"{what}: a value is of another kind than its column: {error!r:.200}"
            self.report.find("database_damaged", told)

    def _check_database(
        self,
        conn: sa.Connection,
        notes: list[SignedNote],
        anchors: list[SignedNote],
        stores: StoreCheck,
    ) -> None:
        scope, checked = self._scope, self.report.checked
        state = self._open.enter_context(contextlib.closing(Reprojection(conn)))
        self._state = state
        scope.stage("ledger")
        with self._part("the ledger"):
            try:
                self._check_log(conn, state, notes, anchors)
            except DatabaseDamagedError:
                raise
            except HaltError as error:
                # The machine refused: rows that were not projected are not to be called planted.
                state.give_up(error)
                raise
        scope.stage("tables")
        with self._part("the projected rows"):
            for wrong in state.differences():
                self.report.find(wrong.code, wrong.message, f"{wrong.table}:{wrong.key}")
            checked["items"] = state.count_items()
        self._check_tables(conn)
        checked["files"] = checked["objects"] = None
        if scope.stores is None:
            return
        scope.stage("stored objects")
        # Nobody asks a store any more that a person gave up, unless it is back.
        known = state.stores()
        stores.retired = frozenset(name for name, row in known.items() if row.retired_at)
        self.report.unreachable += [
            f"{store} is required now, and {count} recordings that count as confirmed were never "
            "confirmed by it: they were taken before it was required"
            for store, count in state.lacking(scope.required).items()
        ]
        with self._part("the stores' marks"):
            stores.identities({name: row.identity for name, row in known.items() if row.identity})
        with self._part("stored objects"):
            checked["objects"] = stores.evidence(state.confirmed())
        with self._part("manifests and anchors"):
            looked_at = stores.own_objects(
                one for one in state.own_objects() if one.state is UploadState.CONFIRMED
            )
            checked["objects"] = (checked["objects"] or 0) + looked_at

    # -- the ledger --

    def _read_state_file(self) -> list[SignedNote]:
        """The state file's checkpoint; none where it cannot be read, which is reported."""
        path = self._scope.state_dir / STATE_FILE
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    self.report.find("state_file_missing", "the state file is no regular file")
                    return []
                raw = file.read(_STATE_FILE_BYTES_MAX)
        except OSError as error:
            if isinstance(error, FileNotFoundError) and (path.parent / DATABASE).exists():
                self.report.find("state_file_missing", f"the state file cannot be read: {error}")
            else:
                self.report.unreachable.append(f"the state file: {error}")
            return []
        return [SignedNote("the state file", raw.decode("utf-8", "replace"))]

    def _verifier(self, conn: sa.Connection) -> VerifierKey | None:
        row = verify_reads.log_row(conn)
        if row is None:
            self.report.find("log_missing", "the log's own row is gone")
            return self._scope.key
        origin, vkey = row
        if self._scope.key is not None and vkey != self._scope.key.vkey():
            self.report.find(
                "key_replaced", "the database names another key than the one that was given"
            )
        if origin != self._scope.origin:
            self.report.find("log_foreign", f"the database holds the log {origin!r}")
        try:
            path = self._scope.state_dir / KEYS_DIRECTORY / LOG_KEY
            key = load_log_key(path, origin, any_owner=True)
            if key.verifier().vkey() != vkey:
                self.report.find("key_replaced", "the key on disk is not the log's")
        except KeyUnreadableError as error:
            # An auditor need not be able to read the private key.
            self.report.unreachable.append(f"the key on disk: {error.message}")
        if self._scope.key is not None:
            return self._scope.key
        try:
            return VerifierKey.parse(vkey)
        except NoteError as error:
            self.report.find("key_replaced", f"the log's verifier key is none: {error}")
            return None

    def _check_log(
        self,
        conn: sa.Connection,
        state: Reprojection,
        notes: list[SignedNote],
        anchors: list[SignedNote],
    ) -> None:
        verifier = self._verifier(conn)
        expected = Expected(nodes=verify_reads.nodes(conn), sealed=verify_reads.sealed(conn))
        subjects = self._open.enter_context(contextlib.closing(Subjects()))
        checker = LogChecker(self._scope.origin, expected, subjects, partial(self._take, state))
        head = verify_reads.head(conn)
        signed, kept = None, 0
        if verifier is not None:
            kept = self._expect_kept(conn, checker, expected, verifier)
            for one in [*notes, *anchors]:
                self._expect(checker, expected, one, verifier)
            if head is not None:
                head_note = SignedNote("the head row", head.checkpoint)
                signed = self._expect(checker, expected, head_note, verifier)
        try:
            for row in verify_reads.entries(conn):
                checker.take(row)
            checker.finish(head, signed)
            self._check_key(checker, verifier)
        finally:
            # Also what was found before a page that cannot be read.
            self.report.findings[:0] = checker.findings
            self.report.checked["entries"] = checker.tree.size
            self.report.checked["checkpoints"] = kept + len(notes)
            asked = self._scope.stores is not None or self._scope.witness is not None
            self.report.checked["anchors"] = len(anchors) if asked else None

    def _expect_kept(
        self, conn: sa.Connection, checker: LogChecker, expected: Expected, verifier: VerifierKey
    ) -> int:
        """Check each kept checkpoint's signature, and have its root compared; returns how many.

        They are read twice, for there is one for each transaction: too many to be kept in memory.
        """
        count, apart = 0, set()
        for size, note in verify_reads.checkpoints(conn):
            count += 1
            source = f"checkpoint {size}"
            found = checker.check_signature(source, note, verifier)
            if found is None or found.size != size:
                apart.add(size)
            if found is not None and found.size != size:
                expected.add_root(source, found)
                self.report.find("checkpoint_moved", f"{source} is the checkpoint of {found.size}")

        def again() -> Iterator[tuple[int, SignedRoot | None]]:
            for size, note in verify_reads.checkpoints(conn):
                if size not in apart:
                    root = checkpoint.parse(note).root
                    yield size, SignedRoot(f"checkpoint {size}", root, anchor=False)
                elif type(size) is int:
                    yield size, None

        checker.expect_kept(again())
        return count

    def _take(self, state: Reprojection, seq: int, value: Mapping[str, Any]) -> None:
        for fault in state.take(Fact.of(seq, value)):
            subject = value["subj"]["id"]
            message = f"entry {seq}: {fault.message}"
            self.report.findings.append(Finding(fault.code, message, seq, subject))

    def _expect(
        self, checker: LogChecker, expected: Expected, one: SignedNote, verifier: VerifierKey
    ) -> Checkpoint | None:
        """Have the entries compared with a checkpoint, where the log's key signed it."""
        found = checker.check_signature(one.source, one.note, verifier)
        if found is None:
            return None
        expected.add_root(one.source, found, anchor=one.anchor)
        if one.size is not None and one.size != found.size:
            self.report.find("checkpoint_moved", f"{one.source} is the checkpoint of {found.size}")
        return found

    def _check_key(self, checker: LogChecker, verifier: VerifierKey | None) -> None:
        if verifier is None:
            return
        size = checker.tree.size
        if size != checker.signed_size:
            self.report.find("unsigned_tail", f"no checkpoint covers all {size} entries")
        if checker.genesis_vkey != verifier.vkey():
            self.report.find("key_replaced", "the log was begun with another key")

    # -- the database --

    def _check_tables(self, conn: sa.Connection) -> None:
        with self._part("the guards"):
            bad, strange = verify_reads.triggers(conn)
            for name in bad:
                self.report.find("guard_missing", f"the guard {name} is missing or altered")
            for name in strange:
                self.report.find("trigger_planted", f"the trigger {name} is none of ours")
        with self._part("the ledger's tables"):
            for table, log_id in verify_reads.strange_logs(conn):
                self.report.find("entry_foreign", f"{table} has rows of another log ({log_id})")
        with self._part("the schema"):
            for fault in soundness.schema_faults(conn):
                self.report.find("schema_differs", fault)
        with self._part("the pages"):
            for fault in soundness.page_faults(conn):
                self.report.find("database_damaged", fault)
        for ours in soundness.our_tables():
            with self._part(f"the table {ours.name}"):
                for fault in soundness.value_faults(conn, ours):
                    self.report.find("database_damaged", fault)

    # -- staged files --

    def _check_files(self, engine: sa.Engine) -> None:
        scope, report = self._scope, self.report
        if scope.copies is None:
            return
        scope.stage("staged files")
        older = any(finding.code == "rolled_back" for finding in report.findings)
        check = FileCheck(engine, scope.copies, scope.progress, report, older)
        report.checked["files"] = check.run(self._state.items() if self._state else ())
