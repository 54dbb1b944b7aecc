"""Opening the database: SQLite in WAL mode, every commit on the medium before it returns."""

from __future__ import annotations

import functools
import re
import sqlite3
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import sqlalchemy as sa

from bodycam_ingest.db.schema import metadata
from bodycam_ingest.errors import (
    DatabaseDamagedError,
    HaltError,
    LedgerUnwritableError,
    NotInitialisedError,
    StateDirectoryError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUSY_TIMEOUT_S: Final = 30.0
_BLOCK_ROWS: Final = 1000
_TEMPORARY_CACHE_KIB: Final = 16 * 1024
_WRITES: Final = "bodycam_writes"
_BASE_CODE: Final = 0xFF
# Full, read-only or not to be opened: an admin fixes the directory; nothing was damaged.
_DIRECTORY_CODES: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN}
)
# The machine refused; of what the file holds this says nothing.
_MACHINE_CODES: Final = frozenset(
    {
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_MISSING: Final = re.compile(r"no such (?:table|column): (\S+)|table \S+ has no column named (\S+)")
# Words for what only another hand can have done to our tables.
_ALTERED: Final = re.compile(r"because it is a view|foreign key mismatch")
# These are counted among the disk's faults, and yet speak of the file.
_CUT_SHORT: Final = frozenset(
    {
        sqlite3.SQLITE_IOERR_SHORT_READ,
        sqlite3.SQLITE_IOERR_CORRUPTFS,
        sqlite3.SQLITE_IOERR_DATA,
    }
)
_OUR_NAMES: Final = frozenset(
    {"alembic_version", "version_num"}.union(
        *({table.name, *table.columns.keys()} for table in metadata.tables.values())
    )
)


def open_database(path: Path, *, read_only: bool = False, immutable: bool = False) -> sa.Engine:
    """Open the database; it is never created by opening it.

    Faults of SQLite come out of this engine as `StateDirectoryError`, `LedgerUnwritableError` or
    `DatabaseDamagedError`, reads included. One that is `read_only` works beside a running daemon;
    an `immutable` file is changed by nobody while it is read, so that nothing is made beside it
    either.

    Raises:
        NotInitialisedError: there is no such file.
    """
    if not path.is_file():
        raise NotInitialisedError(f"no database {path}")
    mode = "ro" if read_only else "rw"
    uri = f"file:{quote(str(path))}?mode={mode}{'&immutable=1' if immutable else ''}"

    def connect() -> sqlite3.Connection:
        # Transactions are begun by the hook below, not by the driver's guess.
        raw = sqlite3.connect(
            uri,
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            if read_only:
                # Text that somebody made unreadable is shown, not refused.
                raw.text_factory = functools.partial(
                    str, encoding="utf-8", errors="backslashreplace"
                )
            else:
                raw.execute("PRAGMA journal_mode = WAL")
            # With NORMAL an anchor could outlive its rows after a power cut.
            raw.execute("PRAGMA synchronous = FULL")
            raw.execute("PRAGMA foreign_keys = ON")
        except sqlite3.Error:
            raw.close()
            raise
        return raw

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.QueuePool)
    sa.event.listen(engine, "begin", _begin)
    sa.event.listen(engine, "handle_error", _translate)
    return engine


def open_temporary() -> sa.Engine:
    """SQLite's private temporary database: in memory while it is small, then in a file.

    The file has no name and is gone when the engine is disposed of. It has one connection, whose
    faults come out as `temporary_fault` has them.
    """

    def connect() -> sqlite3.Connection:
        # An empty name; SQLAlchemy's own URL without one is a database in memory.
        raw = sqlite3.connect("")
        raw.execute("PRAGMA journal_mode = OFF")
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute(f"PRAGMA cache_size = -{_TEMPORARY_CACHE_KIB}")
        return raw

    def translate(context: sa.ExceptionContext) -> HaltError | None:
        error = context.original_exception
        return temporary_fault(error) if isinstance(error, sqlite3.OperationalError) else None

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.StaticPool)
    sa.event.listen(engine, "handle_error", translate)
    return engine


def temporary_fault(error: sqlite3.Error) -> HaltError:
    """What a fault of a temporary database means: there is no room, and nothing else was harmed."""
    return StateDirectoryError(
        f"SQLite's temporary file could not be written: {error}",
        hint="Set SQLITE_TMPDIR to a directory with as many free bytes as bodycam.db has.",
    )


def stream(
    conn: sa.Connection, statement: str, values: tuple[Any, ...] = ()
) -> Iterator[tuple[Any, ...]]:
    """The rows that a statement finds, as SQLite's own tuples, a block at a time.

    For whole tables: SQLAlchemy's rows cost twice what it takes to read them.

    Raises:
        HaltError: as `fault_of` says.
    """
    cursor = conn.exec_driver_sql(statement, values).cursor
    assert cursor is not None
    while True:
        try:
            block = cursor.fetchmany(_BLOCK_ROWS)
        except sqlite3.Error as error:
            if _is_ours(error):
                raise
            raise fault_of(error) from error
        if not block:
            return
        yield from block


def for_writing(conn: sa.Connection) -> sa.Connection:
    """Let this connection write; its transactions take the write lock when they begin."""
    return conn.execution_options(**{_WRITES: True})


def _begin(conn: sa.Connection) -> None:
    # Whoever did not ask to write cannot, by SQLite's own word: every change of state goes through
    # the ledger's transaction. A writer must not find out at its first write that it lost a race.
    if conn.get_execution_options().get(_WRITES):
        conn.exec_driver_sql("PRAGMA query_only = OFF")
        conn.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        conn.exec_driver_sql("PRAGMA query_only = ON")
        conn.exec_driver_sql("BEGIN")


def fault_of(error: sqlite3.Error) -> HaltError:
    """What a fault of SQLite means: the daemon stops, and nothing was marked done.

    A fault of the machine (disk, memory, locks) is told apart from one of the file: only the latter
    says that the record was changed.
    """
    code = getattr(error, "sqlite_errorcode", None)
    message = f"the database refused: {error} ({getattr(error, 'sqlite_errorname', 'unknown')})"
    if not isinstance(code, int) or code in _CUT_SHORT:
        return DatabaseDamagedError(message)
    if code & _BASE_CODE in _DIRECTORY_CODES:
        return StateDirectoryError(message)
    if code & _BASE_CODE in _MACHINE_CODES:
        return LedgerUnwritableError(message)
    return DatabaseDamagedError(message)


def _is_ours(error: sqlite3.Error) -> bool:
    """Whether the statement is at fault: a defect, of which no disk and no file is guilty."""
    code = getattr(error, "sqlite_errorcode", None)
    if code in {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_MISUSE}:
        return True
    if code is None:
        # The driver's own word, such as for a closed connection; bytes that are no text are not.
        return not isinstance(error, sqlite3.OperationalError)
    if code != sqlite3.SQLITE_ERROR:
        return False
    missing = _MISSING.match(str(error))
    if missing is None:
        return _ALTERED.search(str(error)) is None
    # What this program's schema has and the database has not was taken out of the database.
    name = (missing[1] or missing[2]).rpartition(".")[2]
    return name not in _OUR_NAMES


def _translate(context: sa.ExceptionContext) -> HaltError | None:
    error = context.original_exception
    # A broken constraint is a defect of the caller, not of the disk: told as what it is.
    if isinstance(error, sqlite3.IntegrityError):
        return None
    if isinstance(error, sqlite3.Error) and not _is_ours(error):
        return fault_of(error)
    return None
