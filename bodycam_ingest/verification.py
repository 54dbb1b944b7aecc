"""`verify`: ledger, states, staged files and stored objects, read-only, every finding.

One snapshot of the database is compared with itself, with the state file, with staging and with
the stores. Nothing is migrated, repaired or created: a check that mends hides what it found.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest import objectkeys
from bodycam_ingest.custody.fold import ItemFold
from bodycam_ingest.custody.note import NoteError, Verifier
from bodycam_ingest.custody.verify import Expected, Finding, LogChecker
from bodycam_ingest.db import audit
from bodycam_ingest.db.installation import open_for_reading
from bodycam_ingest.db.ledger import STATE_FILE
from bodycam_ingest.errors import (
    IngestError,
    KeyUnreadableError,
    NotInitialisedError,
    StoreConflictError,
    StoreMismatchError,
)
from bodycam_ingest.evidence import StoredObject, StoreObject
from bodycam_ingest.keys import KEYS_DIRECTORY, LOG_KEY, load_log_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import sqlalchemy as sa

    from bodycam_ingest.acquire import Acquirer
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
        anchors = self._read_anchors()
        engine = open_for_reading(scope.state_dir)
        try:
            with engine.connect() as conn:
                checker = self._check_log(conn, state_note, anchors)
                rows = audit.all_items(conn)
                uploads = audit.confirmed_uploads(conn)
            report.checked["entries"] = checker.peaks.size
            report.checked["items"] = len(rows)
            report.checked["files"] = self._check_files(engine, rows)
            report.checked["objects"] = self._check_objects(rows, uploads)
        finally:
            engine.dispose()
        return report

    def _find(self, code: str, message: str, subject: str = "") -> None:
        self.report.findings.append(Finding(code, message, subject=subject))

    # -- the ledger --

    def _read_state_file(self) -> str:
        try:
            return (self._scope.state_dir / STATE_FILE).read_text(encoding="utf-8")
        except OSError as error:
            self._find("state_file_missing", f"the state file cannot be read: {error}")
            return ""

    def _verifier(self, conn: sa.Connection) -> Verifier | None:
        row = audit.log_row(conn)
        if row is None:
            self._find("log_missing", "the log's own row is gone")
            return None
        origin, vkey = row
        if origin != self._scope.origin:
            self._find("log_foreign", f"the database holds the log {origin!r}")
        try:
            key = load_log_key(self._scope.state_dir / KEYS_DIRECTORY / LOG_KEY, origin)
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
        self, conn: sa.Connection, state_note: str, anchors: list[tuple[str, str]]
    ) -> LogChecker:
        verifier = self._verifier(conn)
        expected = Expected(nodes=audit.nodes(conn), sealed=audit.sealed(conn))
        fold = ItemFold()
        checker = LogChecker(self._scope.origin, expected, fold.take)
        head = audit.head(conn)
        notes = [(f"checkpoint {size}", note) for size, note in audit.checkpoints(conn)]
        if state_note:
            notes.append(("the state file", state_note))
        if head is not None:
            notes.append(("the head row", head.checkpoint))
        if verifier is not None:
            for source, note in [*notes, *anchors]:
                found = checker.check_signature(source, note, verifier)
                if found is not None:
                    expected.add_root(source, found)
        for row in audit.entries(conn):
            checker.take(row)
        checker.finish(head)
        self._check_key(checker, expected, verifier)
        self._check_tables(conn)
        fold.compare(audit.kept_items(conn))
        self.report.findings[:0] = [*checker.findings, *fold.findings]
        self.report.checked["checkpoints"] = len(notes)
        self.report.checked["anchors"] = None if self._scope.stores is None else len(anchors)
        return checker

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
        for name in audit.bad_guards(conn):
            self._find("guard_missing", f"the guard {name} is missing or altered")
        for log_id in audit.strange_logs(conn):
            self._find("entry_foreign", f"entries of another log ({log_id}) stand in the table")

    def _read_anchors(self) -> list[tuple[str, str]]:
        """Every checkpoint object in every store: (where, note)."""
        found: list[tuple[str, str]] = []
        prefix = objectkeys.checkpoint_key(self._scope.origin, 0).rpartition("/")[0] + "/"
        for name, store in (self._scope.stores or {}).items():
            try:
                for key in store.keys(prefix):
                    note = b"".join(store.read(key)).decode("utf-8", "replace")
                    found.append((f"anchor {key} in {name}", note))
            except IngestError as error:
                self.report.unreachable.append(f"anchors in {name}: {error.message}")
        return found

    # -- staged files --

    def _check_files(self, engine: sa.Engine, rows: list[ItemRow]) -> int | None:
        staging = self._scope.staging
        if staging is None:
            return None
        staged = {row.staged_path: row for row in rows if row.staged_path}
        for path, row in staged.items():
            self._check_file(staging, path, row)
        on_disk = self._files_on_disk()
        unknown = on_disk - staged.keys()
        if unknown:
            # The daemon may have gone on since the snapshot: only what is still unknown counts.
            with engine.connect() as conn:
                unknown -= {row.staged_path for row in audit.all_items(conn)}
        for path in sorted(unknown):
            if (self._scope.staging_dir / path).exists():
                self._find("file_planted", f"{path} belongs to no item")
        return len(staged)

    def _check_file(self, staging: Acquirer, path: str, row: ItemRow) -> None:
        subject = f"item:{row.item_id}"
        if row.sha256 is None:
            return
        try:
            digests = staging.rehash(path, row.path, row.part_size_bytes or 1)
        except NotInitialisedError:
            raise
        except IngestError as error:
            if (self._scope.staging_dir / path).exists():
                self.report.unreachable.append(f"{path}: {error.message}")
            else:
                self._find("file_missing", f"{path} is gone", subject)
            return
        self._scope.progress(digests.size_bytes)
        if digests.sha256 != row.sha256:
            self._find("file_altered", f"{path} has SHA-256 {digests.sha256.hex()}", subject)

    def _files_on_disk(self) -> set[str]:
        found = set()
        root = self._scope.staging_dir
        for directory in root.iterdir():
            if directory.name == "quarantine" or not directory.is_dir():
                continue
            with contextlib.suppress(FileNotFoundError):
                found |= {
                    f"{directory.name}/{file.name}"
                    for file in directory.iterdir()
                    if not (file.name.startswith(".") and file.name.endswith(".part"))
                }
        return found

    # -- stored objects --

    def _check_objects(
        self, rows: list[ItemRow], uploads: list[audit.ConfirmedUpload]
    ) -> int | None:
        stores = self._scope.stores
        if stores is None:
            return None
        by_id = {row.item_id: row for row in rows}
        checked = 0
        for upload in uploads:
            subject = f"item:{upload.item_id}"
            store = stores.get(upload.store)
            if store is None:
                self.report.unreachable.append(f"{upload.store} is not in the configuration")
                continue
            digests = by_id[upload.item_id].digests()
            obj = StoreObject(upload.key, digests, upload.metadata)
            try:
                store.confirm(obj, StoredObject(upload.key, upload.version_id, upload.etag))
            except (StoreMismatchError, StoreConflictError) as error:
                gone = store.look(upload.key, upload.version_id) is None
                code = "object_missing" if gone else "object_altered"
                self._find(code, f"{upload.store}: {upload.key}: {error.message}", subject)
            except IngestError as error:
                self.report.unreachable.append(f"{upload.store}: {upload.key}: {error.message}")
                continue
            checked += 1
            self._scope.progress(digests.size_bytes)
        return checked
