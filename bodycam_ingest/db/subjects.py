"""Where each subject stands while its log is read from the beginning, in bounded memory."""

from __future__ import annotations

import sqlite3
from typing import Final

from bodycam_ingest.db.engine import temporary_fault

_YOUNG_AT_MOST: Final = 10_000


class Subjects:
    """The number within its subject and the number of each subject's last entry.

    Subjects that had an entry lately are in memory, the others in SQLite's private temporary
    database: in memory as long as it is small, then in a file that is gone when it is closed.
    """

    def __init__(self) -> None:
        self._young: dict[str, tuple[int, int]] = {}
        self._old: dict[str, tuple[int, int]] = {}
        self._rest = sqlite3.connect("", isolation_level=None)
        self._rest.execute("PRAGMA journal_mode = OFF")
        self._rest.execute(
            "CREATE TABLE subject (subject TEXT PRIMARY KEY, ordinal INTEGER, seq INTEGER) "
            "WITHOUT ROWID"
        )

    def swap(self, subject: str, ordinal: int, seq: int) -> tuple[int, int] | None:
        """Take a subject's next entry; returns ordinal and number of the one before, if any.

        Raises:
            HaltError: the machine refused to keep it.
        """
        young = self._young
        before = young.get(subject) or self._old.get(subject)
        if before is None:
            before = self._far(subject)
        young[subject] = (ordinal, seq)
        if len(young) >= _YOUNG_AT_MOST:
            self._age()
        return before

    def _far(self, subject: str) -> tuple[int, int] | None:
        try:
            found: tuple[int, int] | None = self._rest.execute(
                "SELECT ordinal, seq FROM subject WHERE subject = ?", (subject,)
            ).fetchone()
        except sqlite3.Error as error:
            raise temporary_fault(error) from error
        return found

    def _age(self) -> None:
        rows = sorted((subject, *last) for subject, last in self._old.items())
        try:
            self._rest.execute("BEGIN")
            self._rest.executemany("INSERT OR REPLACE INTO subject VALUES (?, ?, ?)", rows)
            self._rest.execute("COMMIT")
        except sqlite3.Error as error:
            raise temporary_fault(error) from error
        self._old, self._young = self._young, {}

    def close(self) -> None:
        """Let go of the temporary database."""
        self._rest.close()
