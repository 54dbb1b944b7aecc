"""What `verify --files` finds in staging: each copy hashed again, and what belongs to no item."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.db import verify_reads
from bodycam_ingest.errors import IngestError
from bodycam_ingest.model import subjects
from bodycam_ingest.staging import QUARANTINE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import sqlalchemy as sa

    from bodycam_ingest.audit.report import Report
    from bodycam_ingest.db.verify_reads import StagedNow
    from bodycam_ingest.model.rows import Item
    from bodycam_ingest.staging import StagedCopies

_PART_BYTES: Final = 16 * 1024 * 1024
_KINDS: Final = {
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a directory",
}


@dataclass
class FileCheck:
    """Looks at the staged copies.

    Args:
        engine: for what changed since the snapshot.
        copies: reads copies from the medium.
        progress: told of bytes read.
        report: told what does not hold and what could not be checked.
        older: the ledger is older than what it made elsewhere, so that copies may be of its future.
    """

    engine: sa.Engine
    copies: StagedCopies
    progress: Callable[[int], None]
    report: Report
    older: bool

    def run(self, found: Iterable[Item]) -> int:
        """Check the copies of items, as the ledger's entries make them; returns how many."""
        staged = set()
        for one in found:
            if one.staged_path:
                staged.add(one.staged_path)
                self._check(one)
        try:
            unknown = self._on_disk() - staged
        except OSError as error:
            self.report.unreachable.append(f"staging: {error}")
            return len(staged)
        if unknown:
            self._check_unknown(unknown)
        return len(staged)

    def _check(self, item: Item) -> None:
        path, subject = item.staged_path, subjects.item(item.item_id)
        try:
            status = (self.copies.staging.directory / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            self._check_gone(item)
            return
        except (OSError, ValueError) as error:
            self.report.unreachable.append(f"{path}: {error}")
            return
        # Nothing but a file is opened: a pipe would be waited for, a device may have no end.
        if not stat.S_ISREG(status.st_mode):
            what = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
            self.report.find("file_altered", f"{path} is {what}, no regular file", subject)
        elif status.st_size != item.size_bytes:
            length = f"{path} has {status.st_size} bytes, {item.size_bytes} were read"
            self.report.find("file_altered", length, subject)
        else:
            self._hash(item)

    def _hash(self, item: Item) -> None:
        path, subject = item.staged_path, subjects.item(item.item_id)
        try:
            # Only the digest of the whole is compared: path and part size do not enter it.
            digests = self.copies.rehash(path, b"", _PART_BYTES)
        except IngestError as error:
            if os.path.lexists(self.copies.staging.directory / path):
                self.report.unreachable.append(f"{path}: {error.message}")
            else:
                self._check_gone(item)
            return
        except ValueError:
            self.report.find("file_altered", f"{path} is no place of a copy", subject)
            return
        self.progress(digests.size_bytes)
        if digests.sha256 != item.sha256:
            found = f"{path} has SHA-256 {digests.sha256.hex()}"
            self.report.find("file_altered", found, subject)

    def _check_gone(self, item: Item) -> None:
        # The daemon may have purged it or set it apart since the snapshot.
        path, now = item.staged_path, self._now().get(item.item_id)
        if now is not None and now.staged_path != path:
            return
        if now is not None and now.purging:
            # Unlinked, and the outcome not recorded yet: now, or when the dock went down.
            self.report.unreachable.append(f"{path} is being purged")
            return
        self.report.find("file_missing", f"{path} is gone", subjects.item(item.item_id))

    def _now(self) -> dict[Any, StagedNow]:
        """Where the copies are by the rows as they are now."""
        with self.engine.connect() as conn:
            return verify_reads.staged_now(conn)

    def _check_unknown(self, unknown: set[str]) -> None:
        # The daemon may have gone on since the snapshot: only what is still unknown counts.
        now = self._now()
        unread = {item_id for item_id, one in now.items() if one.unread}
        for path in sorted(unknown - {one.staged_path for one in now.values()}):
            if not os.path.lexists(self.copies.staging.directory / path):
                continue
            if path.partition("/")[2].partition("-")[0] in unread:
                # Copied, and its entry not written yet: now, or when the dock went down.
                self.report.unreachable.append(f"{path} is not in the ledger yet")
            elif self.older:
                self.report.find("file_planted", f"{path}: the ledger is older than what it made")
            else:
                self.report.find("file_planted", f"{path} belongs to no item")

    def _on_disk(self) -> set[str]:
        """Everything below staging but what is quarantined and what is being written."""
        found: set[str] = set()
        root = self.copies.staging.directory
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
