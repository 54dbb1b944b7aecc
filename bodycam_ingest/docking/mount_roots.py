"""The directories in which cameras appear: one that is not there hides every camera below it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from bodycam_ingest.db import findings
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sqlalchemy import Engine

    from bodycam_ingest.db.ledger import LedgerWriter

UNUSABLE: Final = "mount_root_unusable"
_SUBJECT_MAX: Final = 128
_WORDS: Final = {errno.ENOENT: "no such directory", errno.ENOTDIR: "is no directory"}


class MountRoots:
    """Says which of them cannot be looked into.

    Args:
        engine: for reads.
        ledger: the only way to write.
        roots: as configured.
    """

    def __init__(self, engine: Engine, ledger: LedgerWriter, roots: Sequence[Path]) -> None:
        self._engine = engine
        self._ledger = ledger
        self._roots = tuple(roots)
        # What is open, by subject; the text of one that an earlier run opened is not known.
        self._open: dict[str, str] | None = None

    def look(self) -> None:
        """Open or close alarms so that they say what is so; asks each root once, writes changes."""
        faults = {_subject(root): fault for root in self._roots if (fault := _fault(root))}
        if self._open is None:
            with self._engine.connect() as conn:
                pairs = findings.open_pairs(conn, [UNUSABLE])
            # A root that was taken out of the configuration meanwhile is among them.
            self._open = {subject: faults.get(subject, "") for _, subject in pairs}
        if faults == self._open:
            return
        over = [subject for subject, text in self._open.items() if faults.get(subject) != text]
        with self._ledger.transaction() as txn:
            for subject in over:
                findings.close_finding(txn, code=UNUSABLE, subject=subject)
            for subject, detail in faults.items():
                findings.raise_finding(
                    txn, code=UNUSABLE, severity="alarm", subject=subject, detail=detail
                )
        self._open = faults


def _subject(root: Path) -> str:
    shown = printable_path(os.fsencode(root))
    prefix = "mount_root:"
    return prefix + shown[-(_SUBJECT_MAX - len(prefix)) :]


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
