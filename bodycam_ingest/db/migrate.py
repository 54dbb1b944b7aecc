"""Bringing a database to this program's schema: on a copy, checked, then put in its place.

Until the copy has been migrated, checked and made durable nothing of the old database is touched;
afterwards it is kept as a backup. A crash at any instruction leaves one whole database in place,
the old or the new.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest.db.engine import fault_of, for_writing, open_database
from bodycam_ingest.db.reading import DATABASE
from bodycam_ingest.db.reprojection import project_anew
from bodycam_ingest.db.schema_version import database_version, is_known, program_version, upgrade
from bodycam_ingest.db.standing import read_head
from bodycam_ingest.db.state_dir import check_directory, take_lock
from bodycam_ingest.errors import (
    LedgerForkError,
    LedgerUnwritableError,
    SchemaUnknownError,
    StateDirectoryError,
)
from bodycam_ingest.linux import durable, group_access

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import sqlalchemy as sa

    from bodycam_ingest.db.standing import LedgerHead

_COPY: Final = f"{DATABASE}.migrating"
_FOLD_TIMEOUT_S: Final = 5.0
_SIDES: Final = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Migrated:
    """Schema versions before and after; the backup is None when there was nothing to do."""

    before: str
    after: str
    backup: Path | None


def standing(state_dir: Path) -> Migrated:
    """What `migrate` would do; reads alone, also beside a running daemon.

    Raises:
        NotInitialisedError: there is no database.
        SchemaUnknownError: a newer or foreign version made the database.
    """
    engine = open_database(state_dir / DATABASE, read_only=True)
    try:
        with engine.connect() as conn:
            before = database_version(conn)
    finally:
        engine.dispose()
    wanted = program_version()
    if before != wanted and not is_known(before):
        raise _unknown(before)
    return Migrated(before, wanted, None)


def _unknown(schema: str) -> SchemaUnknownError:
    return SchemaUnknownError(
        f"the database has schema {schema or 'none'}, which this program does not know",
        hint="Install the version of bodycam-ingest that made it, or a newer one.",
    )


def migrate(state_dir: Path) -> Migrated:
    """Bring the database of a state directory, on which no daemon runs, to this program's schema.

    Raises:
        AlreadyRunningError: a daemon writes to it.
        NotInitialisedError: something is missing.
        SchemaUnknownError: a newer or foreign version made the database.
        LedgerUnwritableError: the migrated copy does not hold; the database is as it was.
        StateDirectoryError: no room, or the directory cannot be written; the same.
    """
    check_directory(state_dir)
    with _locked(state_dir):
        database = state_dir / DATABASE
        before, wanted = _version(database), program_version()
        if before == wanted:
            return Migrated(before, wanted, None)
        if not is_known(before):
            raise _unknown(before)
        try:
            copy = _migrated_copy(database, state_dir / _COPY)
            backup = _swap(database, copy, before)
        except sqlite3.Error as error:
            raise fault_of(error) from error
        except OSError as error:
            raise StateDirectoryError(f"{state_dir}: {error}") from error
    return Migrated(before, wanted, backup)


@contextlib.contextmanager
def _locked(state_dir: Path) -> Iterator[None]:
    fd = take_lock(state_dir)
    try:
        yield
    finally:
        os.close(fd)


def _version(database: Path) -> str:
    engine = open_database(database)
    try:
        with engine.connect() as conn:
            return database_version(conn)
    finally:
        engine.dispose()


def _migrated_copy(database: Path, copy: Path) -> Path:
    """Copy, migrate, check; the copy is durable when this returns."""
    for side in ("", *_SIDES):
        # Left by a migration that was cut off; it never was in use.
        copy.with_name(copy.name + side).unlink(missing_ok=True)
    fd = os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, group_access.file_mode(copy.parent))
    os.close(fd)
    with (
        durable.act("migrate.copy"),
        contextlib.closing(sqlite3.connect(database)) as old,
        contextlib.closing(sqlite3.connect(copy)) as new,
    ):
        old.backup(new)
    was, now = open_database(database), open_database(copy)
    try:
        with for_writing(now.connect()) as conn, conn.begin():
            upgrade(conn)
            # What is computed from the entries needs no migration: it is computed again.
            told = project_anew(conn)
        with now.connect() as conn:
            faults = list(conn.exec_driver_sql("PRAGMA integrity_check").scalars())
            orphans = conn.exec_driver_sql("PRAGMA foreign_key_check").all()
        if faults != ["ok"] or orphans or told or _head(was) != _head(now):
            raise LedgerUnwritableError(
                f"the migrated copy does not hold: {[*told, *faults][:3]}, {len(orphans)} orphans",
                hint=f"The database is as it was. Keep {copy} and report this.",
            )
    finally:
        was.dispose()
        now.dispose()
    _fold(copy)
    with copy.open("rb") as file:
        os.fsync(file.fileno())
    return copy


def _head(engine: sa.Engine) -> LedgerHead | None:
    try:
        return read_head(engine)
    except LedgerForkError:
        # It does not hold together, so it is not what it was.
        return None


def _fold(database: Path) -> None:
    """Put everything into the one file, so that it can be renamed without its log."""
    with contextlib.closing(sqlite3.connect(database, timeout=_FOLD_TIMEOUT_S)) as raw:
        try:
            mode = raw.execute("PRAGMA journal_mode = DELETE").fetchone()[0]
        except sqlite3.OperationalError as error:
            mode = str(error)
    left = [side for side in _SIDES if database.with_name(database.name + side).exists()]
    if mode != "delete" or left:
        raise LedgerUnwritableError(
            f"something else has {database} open: {mode}",
            hint="Nothing was changed. End other bodycam-ingest commands, then migrate again.",
        )


def _swap(database: Path, copy: Path, before: str) -> Path:
    _fold(database)
    with durable.act("migrate.backup"):
        backup = _second_name(database, before)
        durable.fsync_directory(backup.parent)
    with durable.act("migrate.swap"):
        copy.replace(database)
        durable.fsync_directory(database.parent)
    return backup


def _second_name(database: Path, before: str) -> Path:
    """Give the old database a name to be kept under."""
    name = f"{database.name}.schema-{before}"
    for known in database.parent.glob(f"{name}.*"):
        # Left by a migration that was cut off: it is this very file.
        if known.samefile(database):
            return known
    backup = database.with_name(f"{name}.{dt.datetime.now(tz=dt.UTC):%Y%m%dT%H%M%S.%fZ}")
    os.link(database, backup)
    return backup
