"""Findings about cameras: one a cause with a count, however many files or looks it touches."""

from __future__ import annotations

import collections
import errno
import os
from typing import TYPE_CHECKING, Final

from bodycam_ingest.db import findings
from bodycam_ingest.errors import IngestError, SourceError, SourceGoneError, StagingTooSmallError
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.docking.record import DockingRecord
    from bodycam_ingest.model.evidence import InventoryEntry
    from bodycam_ingest.model.subjects import Subject

# An item that waits on one of these keeps the finding open.
_KINDS: Final[tuple[type[IngestError], ...]] = (
    SourceError,
    StagingTooSmallError,
    *SourceError.__subclasses__(),
)
READING: Final = frozenset(kind.code for kind in _KINDS)
# Open until a whole look at the camera ended well.
DOCKING_FAILED: Final = "docking_failed"
UNLISTABLE: Final = "camera_unlistable"
INCOMPLETE: Final = "inventory_incomplete"
ROOT_UNUSABLE: Final = "mount_root_unusable"
# Whoever fixes the card or the mount waits at most so long for the next listing.
_WAIT_MAX_S: Final = 60.0
_TRIES_MAX: Final = 16
_WORDS: Final = {errno.ENOENT: "no such directory", errno.ENOTDIR: "is no directory"}


class CameraTrouble:
    """What is wrong with one camera, by its serial."""

    def __init__(self, engine: Engine, ledger: LedgerWriter, camera: str) -> None:
        self._engine = engine
        self._ledger = ledger
        self._camera = camera
        self._subject = subjects.camera(camera)

    def hold(self, troubles: Mapping[str, str]) -> None:
        """As `findings.hold`: what is wrong, by code; empty where nothing is."""
        wanted = {(code, self._subject): detail for code, detail in troubles.items()}
        findings.hold(self._engine, self._ledger, wanted)

    def settle(self, still: Collection[str]) -> None:
        """Close the findings about reading but those with codes on which files still wait."""
        self.hold(dict.fromkeys(READING - set(still), ""))

    def files_failed(self, txn: Txn, failed: Sequence[tuple[ItemRow, IngestError]]) -> None:
        """Report files that could not be read, where their faults need a person."""
        faults = collections.Counter(error.code for _, error in failed)
        known = {
            code
            for code, subject in findings.open_pairs(txn.conn, faults)
            if subject == self._subject
        }
        for row, error in failed:
            if error.code in known or error.code not in READING:
                continue
            known.add(error.code)
            level = log.error if error.alarm_at_once else log.debug
            level(
                "camera.files_unread",
                camera=self._camera,
                error=error.code,
                files=faults[error.code],
                path=printable_path(row.path),
                message=error.message,
                hint=error.hint,
            )
            if error.alarm_at_once:
                detail = (
                    f"{_files(faults[error.code])} of camera {self._camera} cannot be read, such "
                    f"as {error.message}. {error.hint}"
                )
                findings.alarm(txn, self._subject, error.code, detail)


def oversized(root_fd: int, camera: str, entries: Sequence[InventoryEntry]) -> str:
    """What is wrong with files that claim to be larger than the volume that they lie on.

    Empty where there are none, or the volume's size cannot be asked.
    """
    try:
        status = os.fstatvfs(root_fd)
    except OSError:
        return ""
    whole_bytes = status.f_blocks * status.f_frsize
    absurd = {
        entry.path: entry.signature.size_bytes
        for entry in entries
        if entry.signature is not None and entry.signature.size_bytes > whole_bytes > 0
    }
    if not absurd:
        return ""
    path, size_bytes = min(absurd.items())
    return (
        f"{_files(len(absurd))} of camera {camera} claim more than its volume holds ({whole_bytes} "
        f"bytes), such as {printable_path(path)} with {size_bytes} bytes. Its file system "
        "is damaged, or made so: look at the card. The other files are taken"
    )


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"


class Unlisted:
    """What keeps one docking's camera from being listed to its end: retried ever later."""

    def __init__(self, record: DockingRecord) -> None:
        self._record = record
        self._tries = 0
        self._reported = ""
        self.reason = ""

    def failed(self, error: IngestError) -> None:
        """Note that a camera that is still there could not be listed."""
        self._tries += 1
        if isinstance(error, SourceGoneError) and self._tries == 1:
            # A file that the camera itself deletes just then; the next listing shows it.
            return
        self.reason = f"the camera cannot be listed: {error.message}"
        self._report(UNLISTABLE, error.message, f"{error.code}: {error.message}. {error.hint}")

    def incomplete(self, why: str) -> None:
        """Note that part of the camera could not be listed; the rest is worked."""
        self._tries = 0
        self.reason = f"the camera cannot be listed to its end: {why}"
        detail = f"part of it cannot be listed: {why}. What was listed is taken"
        self._report(INCOMPLETE, why, detail)

    def whole(self) -> None:
        """Note that the camera was listed to its end."""
        self._tries = 0
        self.reason = ""
        if self._reported:
            self._record.close_finding(self._reported)
            self._reported = ""
            row = self._record.row
            log.info("camera.listed_again", camera=row.camera, bay=row.bay)

    def wait_s(self, rescan_s: float) -> float:
        """Time until the next listing: longer each time while there is nothing to list, s."""
        wait_s: float = rescan_s * 2 ** min(self._tries, _TRIES_MAX)
        return max(rescan_s, min(_WAIT_MAX_S, wait_s))

    def _report(self, code: str, message: str, detail: str) -> None:
        if self._reported == code:
            return
        row = self._record.row
        if self._reported:
            self._record.close_finding(self._reported)
        else:
            log.error(
                "camera.not_listed",
                camera=row.camera,
                bay=row.bay,
                docking_id=row.docking_id,
                finding=code,
                message=message,
            )
        self._record.alarm(
            code,
            f"camera {row.camera} in {row.bay}: {detail}. Look whether it is mounted so that the "
            "daemon's user may read it, and at its card; it is looked at again by itself",
        )
        self._reported = code


class MountRoots:
    """The directories in which cameras appear: one that is missing hides every camera below it."""

    def __init__(self, engine: Engine, ledger: LedgerWriter, roots: Sequence[Path]) -> None:
        self._engine = engine
        self._ledger = ledger
        self._roots = tuple(roots)
        # What is open, by subject; the text of one that an earlier run opened is not known.
        self._open: dict[Subject, str] | None = None

    def look(self) -> None:
        """Open or close alarms so that they say what is so; asks each root once, writes changes."""
        faults = {
            subjects.mount_root(printable_path(os.fsencode(root))): fault
            for root in self._roots
            if (fault := _fault(root))
        }
        if self._open is None:
            with self._engine.connect() as conn:
                pairs = findings.open_pairs(conn, [ROOT_UNUSABLE])
            # A root that was taken out of the configuration meanwhile is among them.
            self._open = {subject: faults.get(subject, "") for _, subject in pairs}
        if faults == self._open:
            return
        over = [subject for subject, text in self._open.items() if faults.get(subject) != text]
        with self._ledger.transaction() as txn:
            for subject in over:
                findings.close_finding(txn, code=ROOT_UNUSABLE, subject=subject)
            for subject, detail in faults.items():
                findings.alarm(txn, subject, ROOT_UNUSABLE, detail)
        self._open = faults


def _fault(root: Path) -> str:
    """Why no camera below it can be seen, for people; empty where it can be listed."""
    try:
        # Listing needs no more than this, and no name of it is read here.
        os.close(os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        number = error.errno or 0
        why = _WORDS.get(number, error.strerror)
        return (
            f"{printable_path(os.fsencode(root))}: {why} ({errno.errorcode.get(number, number)}); "
            "no camera below it is seen. Make it or mount it, readable for the daemon's user, or "
            "take it out of cameras.mount_roots"
        )
    return ""
