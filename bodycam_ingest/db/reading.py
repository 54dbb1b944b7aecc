"""Opening a database to read it: beside a running daemon, and where it lies on a read-only medium.

SQLite wants to make a file beside a database in WAL mode even to read it. Where that cannot be,
as on a copy that was taken for a court, the database is read as it lies, or from a private copy
when it has a log beside it. Nothing is ever made, changed or folded in beside the original.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.db.engine import open_database
from bodycam_ingest.db.schema_version import check_version
from bodycam_ingest.errors import (
    DatabaseDamagedError,
    LedgerUnwritableError,
    NotInitialisedError,
    StateDirectoryError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# What lies in a state directory.
DATABASE: Final = "bodycam.db"
STATE_FILE: Final = "checkpoint"
KEYS_DIRECTORY: Final = "keys"

RESTORE_HINT: Final = (
    "Restore the state directory from its backup as a whole. A new one is made by "
    "`bodycam-ingest init`, in an empty place only."
)
_LOG: Final = "-wal"
_SIDES: Final = (_LOG, "-shm", "-journal")
_COPY_TRIES: Final = 3


def open_for_reading(state_dir: Path) -> sa.Engine:
    """Open the database read-only; works beside a running daemon, and on a read-only copy.

    Raises:
        NotInitialisedError: there is none.
        SchemaUnknownError: it is of another version.
        DatabaseDamagedError: it is none of ours any more.
        StateDirectoryError: it cannot be opened.
    """
    try:
        return _open_to_read(state_dir / DATABASE)
    except NotInitialisedError as error:
        if any((state_dir / name).exists() for name in (STATE_FILE, KEYS_DIRECTORY)):
            # A ledger was here: a new one in its place would hide that it is gone.
            raise NotInitialisedError(error.message, hint=RESTORE_HINT) from None
        raise


def _open_to_read(database: Path) -> sa.Engine:
    """Open a database of this version read-only, wherever it lies; its first connection was tried.

    Where the engine reads a private copy, disposing of it removes the copy.
    """
    for side in _SIDES:
        _must_be_a_file(database.with_name(database.name + side))
    try:
        return _tried(lambda: open_database(database, read_only=True))
    except NotInitialisedError:
        if database.exists():
            raise DatabaseDamagedError(f"{database} is no regular file") from None
        raise
    except DatabaseDamagedError:
        raise
    except (StateDirectoryError, LedgerUnwritableError):
        # Another user's directory or a read-only medium: SQLite cannot make its file there.
        if os.access(database.parent, os.W_OK, effective_ids=True):
            raise
    return _open_untouched(database)


def _must_be_a_file(side: Path) -> None:
    # SQLite would wait for ever at a pipe.
    try:
        mode = side.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateDirectoryError(f"{side}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise DatabaseDamagedError(f"{side} is no regular file")


def _tried(make: Callable[[], sa.Engine]) -> sa.Engine:
    engine = make()
    try:
        with engine.connect() as conn:
            conn.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar()
            check_version(conn)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _open_untouched(database: Path) -> sa.Engine:
    if not _size(database.with_name(database.name + _LOG)):
        return _tried(lambda: open_database(database, read_only=True, immutable=True))
    try:
        place = tempfile.TemporaryDirectory(prefix="bodycam-ingest-read-")
    except OSError as error:
        raise _no_copy(database, error) from error
    try:
        copy = _private_copy(database, Path(place.name))
        engine = _tried(lambda: open_database(copy, read_only=True))
    except OSError as error:
        place.cleanup()
        raise _no_copy(database, error) from error
    except BaseException:
        place.cleanup()
        raise
    sa.event.listen(engine, "engine_disposed", lambda _engine: place.cleanup())
    return engine


def _no_copy(database: Path, error: OSError) -> StateDirectoryError:
    return StateDirectoryError(
        f"{database} lies on a read-only medium with a log beside it, and could not be copied "
        f"to be read: {error}",
        hint=f"Set TMPDIR to a directory with {_size(database)} bytes free, or copy the state "
        "directory as a whole to a place that can be written.",
    )


def _private_copy(database: Path, place: Path) -> Path:
    """Database and log, copied while neither changed."""
    files = (database, database.with_name(database.name + _LOG))
    for _ in range(_COPY_TRIES):
        before = [_state(file) for file in files]
        for file in files:
            shutil.copyfile(file, place / file.name)
        if [_state(file) for file in files] == before:
            return place / database.name
    raise StateDirectoryError(
        f"{database} changes while it is copied to be read",
        hint="Run this as the user of the daemon that writes there.",
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _state(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
