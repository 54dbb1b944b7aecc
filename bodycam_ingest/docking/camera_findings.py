"""Findings about a camera as a whole: one a cause with a count, however many files it touches."""

from __future__ import annotations

import collections
import os
from typing import TYPE_CHECKING, Final

import structlog

from bodycam_ingest.db import findings
from bodycam_ingest.errors import IngestError, SourceError, StagingTooSmallError
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.model.evidence import InventoryEntry

log = structlog.get_logger(__name__)

# An item that waits on one of these keeps the finding open.
_KINDS: Final[tuple[type[IngestError], ...]] = (
    SourceError,
    StagingTooSmallError,
    *SourceError.__subclasses__(),
)
# Open until a whole look at the camera ended well.
DOCKING_FAILED: Final = "docking_failed"
READING: Final = frozenset(kind.code for kind in _KINDS)


class CameraTrouble:
    """What is wrong with one camera.

    Args:
        engine: for reads.
        ledger: the only way to write.
        camera: its serial.
    """

    def __init__(self, engine: Engine, ledger: LedgerWriter, camera: str) -> None:
        self._engine = engine
        self._ledger = ledger
        self._camera = camera

    @property
    def subject(self) -> str:
        """Whom these findings are about."""
        return f"camera:{self._camera}"

    def _open(self, codes: Collection[str]) -> set[str]:
        with self._engine.connect() as conn:
            pairs = findings.open_pairs(conn, codes)
        return {code for code, subject in pairs if subject == self.subject}

    def hold(self, troubles: Mapping[str, str]) -> None:
        """Open or close findings so that they say what is so.

        Args:
            troubles: what is wrong, by code; empty where nothing is.
        """
        known = self._open(troubles)
        if all(bool(detail) == (code in known) for code, detail in troubles.items()):
            return
        with self._ledger.transaction() as txn:
            for code, detail in troubles.items():
                if detail:
                    self._raise(txn, code, detail)
                else:
                    findings.close_finding(txn, code=code, subject=self.subject)

    def settle(self, still: Collection[str]) -> None:
        """Close the findings about reading on which no file waits any more.

        Args:
            still: codes on which files of this camera wait.
        """
        self.hold(dict.fromkeys(READING - set(still), ""))

    def files_failed(self, txn: Txn, failed: Sequence[tuple[ItemRow, IngestError]]) -> None:
        """Tell of files that could not be read, where their faults want a person.

        Args:
            txn: the open transaction.
            failed: items with their faults.
        """
        faults = collections.Counter(error.code for _, error in failed)
        known = {
            code
            for code, subject in findings.open_pairs(txn.conn, faults)
            if subject == self.subject
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
                self._raise(
                    txn,
                    error.code,
                    f"{_files(faults[error.code])} of camera {self._camera} cannot be read, such "
                    f"as {error.message}. {error.hint}",
                )

    def _raise(self, txn: Txn, code: str, detail: str) -> None:
        findings.raise_finding(
            txn,
            code=code,
            severity="alarm",
            subject=self.subject,
            detail=detail,
        )


def oversized(root_fd: int, camera: str, entries: Sequence[InventoryEntry]) -> str:
    """What to tell of files that claim to be larger than the volume that they lie on.

    Args:
        root_fd: the volume's root.
        camera: its serial.
        entries: everything that was listed.

    Returns:
        Text for people; empty where there are none, or the volume's size cannot be asked.
    """
    try:
        status = os.fstatvfs(root_fd)
    except OSError:
        return ""
    whole_bytes = status.f_blocks * status.f_frsize
    absurd = [
        e for e in entries if e.signature is not None and e.signature.size_bytes > whole_bytes > 0
    ]
    if not absurd:
        return ""
    first = min(absurd, key=lambda entry: entry.path)
    size_bytes = first.signature.size_bytes if first.signature else 0
    return (
        f"{_files(len(absurd))} of camera {camera} claim more than its volume holds ({whole_bytes} "
        f"bytes), such as {printable_path(first.path)} with {size_bytes} bytes. Its file system "
        "is damaged, or made so: look at the card. The other files are taken"
    )


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"
