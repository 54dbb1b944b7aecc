"""`verify`: ledger, states, staged files and stored objects, read-only, every finding.

One snapshot of the database is compared with itself, with the state file, with staging and with
the stores. Nothing is migrated, repaired or created: a check that mends hides what it found.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.custody.fold import ItemFold
from bodycam_ingest.custody.note import NoteError, Verifier
from bodycam_ingest.custody.verify import Expected, Finding, LogChecker
from bodycam_ingest.db import audit, items
from bodycam_ingest.db.installation import open_for_reading
from bodycam_ingest.db.ledger import STATE_FILE
from bodycam_ingest.diskio.staging import QUARANTINE
from bodycam_ingest.errors import (
    IngestError,
    KeyUnreadableError,
    LedgerUnwritableError,
)
from bodycam_ingest.keys import KEYS_DIRECTORY, LOG_KEY, load_log_key
from bodycam_ingest.lifecycle import ItemState
from bodycam_ingest.storecheck import SignedNote, StoreCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import sqlalchemy as sa

    from bodycam_ingest.acquire import Acquirer
    from bodycam_ingest.custody.checkpoint import Checkpoint
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.upload import ObjectStore

HOLDS: Final = "holds"
BROKEN: Final = "broken"
UNCHECKED: Final = "unchecked"


@dataclass
class Report:
    """What was found.

    Args:
        findings: what does not hold.
        unreachable: what was to be checked and could not be.
        checked: how much of what was looked at; what stands at `None` was not asked for.
    """

    findings: list[Finding] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    checked: dict[str, int | None] = field(default_factory=dict)

    def result(self) -> str:
        """`holds` only when everything asked for was looked at and nothing was found."""
        if self.findings:
            return BROKEN
        return UNCHECKED if self.unreachable else HOLDS

    def as_json(self) -> dict[str, Any]:
        """The value that `verify --json` prints."""
        return {
            "result": self.result(),
            "findings": [finding.as_json() for finding in self.findings],
            "unreachable": self.unreachable,
            "checked": self.checked,
        }


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be checked besides the ledger and the states.

    Args:
        state_dir: the state directory.
        origin: the log's name, as the configuration has it.
        staging: reads staged copies; None leaves files out.
        staging_dir: where they lie.
        stores: stores by name; None leaves objects out.
        progress: told of bytes read.
    """

    state_dir: Path
    origin: str
    staging: Acquirer | None
    staging_dir: Path
    stores: Mapping[str, ObjectStore] | None
    progress: Callable[[int], None]


class Verification:
    """One run of `verify`."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.report = Report()

    def run(self) -> Report:
        """Check everything in scope.

        Raises:
            NotInitialisedError: there is no database.
        """
        scope, report = self._scope, self.report
        # Read first: the state file may lag behind the database, never run ahead of it.
        state_note = self._read_state_file()
        stores = StoreCheck(scope.stores or {}, scope.progress)
        anchors = stores.anchors(scope.origin)
        try:
            engine = open_for_reading(scope.state_dir)
        except LedgerUnwritableError as error:
            self._find("database_damaged", error.message)
            report.unreachable += stores.unreachable
            return report
        try:
            with engine.connect() as conn:
                checker = self._check_log(conn, state_note, anchors)
                rows = audit.all_items(conn)
                uploads = audit.confirmed_uploads(conn)
                own_objects = audit.confirmed_objects(conn)
            report.checked["entries"] = checker.peaks.size
            report.checked["items"] = len(rows)
            report.checked["files"] = self._check_files(engine, rows)
            report.checked["objects"] = None
            if scope.stores is not None:
                looked_at = stores.evidence(rows, uploads) + stores.own_objects(own_objects)
                report.checked["objects"] = looked_at
        except LedgerUnwritableError as error:
            self._find("database_damaged", error.message)
        except (TypeError, ValueError) as error:
            # The tables' types are promises that SQLite does not keep: somebody wrote by hand.
            self._find("database_damaged", f"a value is of another kind than its column: {error}")
        finally:
            engine.dispose()
        report.findings += stores.findings
        report.unreachable += stores.unreachable
        return report

    def _find(self, code: str, message: str, subject: str = "") -> None:
        self.report.findings.append(Finding(code, message, subject=subject))

    # -- the ledger --

    def _read_state_file(self) -> str | None:
        try:
            raw = (self._scope.state_dir / STATE_FILE).read_bytes()
        except OSError as error:
            self._find("state_file_missing", f"the state file cannot be read: {error}")
            return None
        return raw.decode("utf-8", "replace")

    def _verifier(self, conn: sa.Connection) -> Verifier | None:
        row = audit.log_row(conn)
        if row is None:
            self._find("log_missing", "the log's own row is gone")
            return None
        origin, vkey = row
        if origin != self._scope.origin:
            self._find("log_foreign", f"the database holds the log {origin!r}")
        try:
            path = self._scope.state_dir / KEYS_DIRECTORY / LOG_KEY
            key = load_log_key(path, origin, any_owner=True)
            if key.verifier().vkey() != vkey:
                self._find("key_replaced", "the key on disk is not the log's")
        except KeyUnreadableError as error:
            # An auditor need not be able to read the private key.
            self.report.unreachable.append(f"the key on disk: {error.message}")
        try:
            return Verifier.parse(vkey)
        except NoteError as error:
            self._find("key_replaced", f"the log's verifier key is none: {error}")
            return None

    def _check_log(
        self, conn: sa.Connection, state_note: str | None, anchors: list[SignedNote]
    ) -> LogChecker:
        verifier = self._verifier(conn)
        expected = Expected(nodes=audit.nodes(conn), sealed=audit.sealed(conn))
        fold = ItemFold()
        checker = LogChecker(self._scope.origin, expected, fold.take)
        head = audit.head(conn)
        notes = [
            SignedNote(f"checkpoint {size}", note, size) for size, note in audit.checkpoints(conn)
        ]
        if state_note is not None:
            notes.append(SignedNote("the state file", state_note))
        signed = None
        if verifier is not None:
            for one in [*notes, *anchors]:
                self._expect(checker, expected, one, verifier)
            if head is not None:
                head_note = SignedNote("the head row", head.checkpoint)
                signed = self._expect(checker, expected, head_note, verifier)
        for row in audit.entries(conn):
            checker.take(row)
        checker.finish(head, signed)
        self._check_key(checker, expected, verifier)
        self._check_tables(conn)
        fold.compare(audit.kept_items(conn))
        self.report.findings[:0] = [*checker.findings, *fold.findings]
        self.report.checked["checkpoints"] = len(notes)
        self.report.checked["anchors"] = None if self._scope.stores is None else len(anchors)
        return checker

    def _expect(
        self, checker: LogChecker, expected: Expected, one: SignedNote, verifier: Verifier
    ) -> Checkpoint | None:
        """Have the entries compared with a checkpoint, where the log's key signed it."""
        found = checker.check_signature(one.source, one.note, verifier)
        if found is None:
            return None
        expected.add_root(one.source, found)
        if one.size is not None and one.size != found.size:
            self._find("checkpoint_moved", f"{one.source} is the checkpoint of {found.size}")
        return found

    def _check_key(
        self, checker: LogChecker, expected: Expected, verifier: Verifier | None
    ) -> None:
        if verifier is None:
            return
        size = checker.peaks.size
        if size and size not in expected.roots:
            self._find("unsigned_tail", f"no checkpoint covers all {size} entries")
        if checker.genesis_vkey != verifier.vkey():
            self._find("key_replaced", "the log was begun with another key")

    def _check_tables(self, conn: sa.Connection) -> None:
        bad, strange = audit.triggers(conn)
        for name in bad:
            self._find("guard_missing", f"the guard {name} is missing or altered")
        for name in strange:
            self._find("trigger_planted", f"the trigger {name} is none of ours")
        for table, log_id in audit.strange_logs(conn):
            self._find("entry_foreign", f"{table} has rows of another log ({log_id})")

    # -- staged files --

    def _check_files(self, engine: sa.Engine, rows: list[ItemRow]) -> int | None:
        staging = self._scope.staging
        if staging is None:
            return None
        staged = {row.staged_path: row for row in rows if row.staged_path}
        for path, row in staged.items():
            self._check_file(engine, staging, path, row)
        try:
            unknown = self._files_on_disk() - staged.keys()
        except OSError as error:
            self.report.unreachable.append(f"staging: {error}")
            return len(staged)
        if unknown:
            self._check_unknown(engine, unknown)
        return len(staged)

    def _check_unknown(self, engine: sa.Engine, unknown: set[str]) -> None:
        # The daemon may have gone on since the snapshot: only what is still unknown counts.
        with engine.connect() as conn:
            rows = audit.all_items(conn)
        unread = {row.item_id for row in rows if row.state is ItemState.DISCOVERED}
        for path in sorted(unknown - {row.staged_path for row in rows}):
            if not os.path.lexists(self._scope.staging_dir / path):
                continue
            if path.partition("/")[2].partition("-")[0] in unread:
                # Copied, and its entry not written yet: now, or when the dock went down.
                self.report.unreachable.append(f"{path} is not in the ledger yet")
            else:
                self._find("file_planted", f"{path} belongs to no item")

    def _check_file(self, engine: sa.Engine, staging: Acquirer, path: str, row: ItemRow) -> None:
        subject = f"item:{row.item_id}"
        if row.sha256 is None:
            return
        try:
            digests = staging.rehash(path, row.path, row.part_size_bytes or 1)
        except IngestError as error:
            if os.path.lexists(self._scope.staging_dir / path):
                self.report.unreachable.append(f"{path}: {error.message}")
            else:
                self._check_gone(engine, path, row.item_id)
            return
        self._scope.progress(digests.size_bytes)
        if digests.sha256 != row.sha256:
            self._find("file_altered", f"{path} has SHA-256 {digests.sha256.hex()}", subject)

    def _check_gone(self, engine: sa.Engine, path: str, item_id: str) -> None:
        # The daemon may have purged it or set it apart since the snapshot.
        with engine.connect() as conn:
            now = items.by_ids(conn, [item_id])
        if now and now[0].staged_path != path:
            return
        if now and now[0].purging_seq is not None:
            # Unlinked, and the outcome not recorded yet: now, or when the dock went down.
            self.report.unreachable.append(f"{path} is being purged")
            return
        self._find("file_missing", f"{path} is gone", f"item:{item_id}")

    def _files_on_disk(self) -> set[str]:
        """Everything below staging but what is set apart and what is being written."""
        found: set[str] = set()
        root = self._scope.staging_dir
        for above, directories, names in os.walk(root, onerror=_raise_unless_gone):
            if above == str(root):
                directories[:] = [d for d in directories if d not in {QUARANTINE, "lost+found"}]
            relative = os.path.relpath(above, root)
            # A directory that is a link is walked into by nobody: it counts as a file.
            links = [d for d in directories if Path(above, d).is_symlink()]
            found |= {
                os.path.normpath(f"{relative}/{name}")
                for name in [*names, *links]
                if not (name.startswith(".") and name.endswith(".part"))
            }
        return found


def _raise_unless_gone(error: OSError) -> None:
    # A docking's directory goes away when its last copy is purged.
    if not isinstance(error, FileNotFoundError) or not Path(error.filename).parent.exists():
        raise error
