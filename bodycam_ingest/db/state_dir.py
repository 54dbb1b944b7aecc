"""The state directory: made once by `init`, opened by everything else.

    <state_dir>/lock          held by the process that writes
    <state_dir>/keys/log.key  the log's signing key
    <state_dir>/bodycam.db    ledger and states
    <state_dir>/checkpoint    the last signed checkpoint, outside of the database

`init` builds all of it in a directory beside and renames that into place last, so that a state
directory is whole or not there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import stat
from typing import TYPE_CHECKING, Final

from bodycam_ingest.custody.merkle import Peaks
from bodycam_ingest.db.engine import for_writing, open_database
from bodycam_ingest.db.keys import LOG_KEY, create_log_key, load_log_key
from bodycam_ingest.db.ledger import ZERO, LedgerWriter, Txn
from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.reading import (
    DATABASE,
    KEYS_DIRECTORY,
    RESTORE_HINT,
    STATE_FILE,
    open_for_reading,
)
from bodycam_ingest.db.schema import ledger_head, ledger_log
from bodycam_ingest.db.schema_version import check_version, create_schema
from bodycam_ingest.db.standing import read_state_file, standing
from bodycam_ingest.errors import (
    AlreadyInitialisedError,
    AlreadyRunningError,
    DatabaseDamagedError,
    KeyUnreadableError,
    NotInitialisedError,
    StateDirectoryError,
)
from bodycam_ingest.linux import clock, durable, group_access
from bodycam_ingest.model import subjects

if TYPE_CHECKING:
    from pathlib import Path

    import sqlalchemy as sa

    from bodycam_ingest.custody.note import Signer
    from bodycam_ingest.db.standing import LedgerHead

LOCK: Final = "lock"


def initialise(state_dir: Path, origin: str) -> str:
    """Make a state directory with keys, database and genesis entry; its parents are made too.

    Returns the log's verifier key, which belongs off this machine as well.

    Raises:
        AlreadyInitialisedError: there is something there; nothing was touched.
        StateDirectoryError: it cannot be made.
    """
    if state_dir.exists() and (not state_dir.is_dir() or any(state_dir.iterdir())):
        raise AlreadyInitialisedError(f"{state_dir} exists already")
    building = state_dir.with_name(f".{state_dir.name}.init")
    try:
        state_dir.parent.mkdir(parents=True, exist_ok=True)
        # Left by an `init` that was cut off: it never was a state directory, nothing used it.
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        durable.make_directory(building / KEYS_DIRECTORY)
        signer = create_log_key(building / KEYS_DIRECTORY / LOG_KEY, origin)
        _build_database(building, signer)
        durable.create_file(building / LOCK, b"")
        durable.fsync_directory(building)
        with durable.act("init.rename"):
            building.rename(state_dir)
        durable.fsync_directory(state_dir.parent)
    except OSError as error:
        raise StateDirectoryError(f"{state_dir}: {error}") from error
    return signer.verifier().vkey()


def _build_database(building: Path, signer: Signer) -> None:
    path = building / DATABASE
    path.touch(mode=0o600)
    engine = open_database(path)
    try:
        with for_writing(engine.connect()) as conn, conn.begin():
            create_schema(conn)
        with for_writing(engine.connect()) as conn, conn.begin():
            conn.execute(
                ledger_log.insert().values(
                    log_id=LOG_ID, origin=signer.name, vkey=signer.verifier().vkey()
                )
            )
            conn.execute(
                ledger_head.insert().values(
                    log_id=LOG_ID, size=0, peaks=b"", last=ZERO, checkpoint=""
                )
            )
            txn = Txn(conn, signer.name, Peaks(), ZERO)
            txn.append(
                "log.genesis",
                subjects.LOG,
                {
                    "format": "bodycam-ledger/2",
                    "vkey": signer.verifier().vkey(),
                    "ntp_synchronised": clock.synchronised(),
                },
            )
            head = txn.write(signer)
        if head is not None:
            durable.create_file(building / STATE_FILE, head.checkpoint.encode())
    finally:
        engine.dispose()
    # The log is folded into the database before it gets its place.
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()


def check_directory(state_dir: Path) -> None:
    """Refuse a state directory that is not whole, not ours, or open to others.

    Raises:
        NotInitialisedError: something is missing.
        StateDirectoryError: it cannot be used.
    """
    try:
        status = state_dir.stat()
    except FileNotFoundError:
        raise NotInitialisedError(f"no state directory {state_dir}") from None
    except OSError as error:
        raise StateDirectoryError(f"{state_dir}: {error}") from error
    if group_access.is_open(status):
        raise StateDirectoryError(
            f"{state_dir} is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"chmod 700 {state_dir}",
        )
    if status.st_uid != os.geteuid():
        # Files that another user makes here could not be read by the daemon any more.
        raise StateDirectoryError(
            f"{state_dir} belongs to the user with id {status.st_uid}",
            hint=f"Run this as that user: sudo -u '#{status.st_uid}' bodycam-ingest …",
        )
    for name in (DATABASE, STATE_FILE, LOCK, KEYS_DIRECTORY):
        if not (state_dir / name).exists():
            raise NotInitialisedError(
                f"{state_dir / name} is missing",
                hint=RESTORE_HINT,
            )


def take_lock(state_dir: Path) -> int:
    """Become the one process that writes, until the descriptor is closed.

    Raises:
        AlreadyRunningError: another process writes.
        StateDirectoryError: the lock file cannot be opened.
    """
    try:
        fd = os.open(state_dir / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise StateDirectoryError(f"{state_dir / LOCK}: {error}") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise AlreadyRunningError(f"another process writes to {state_dir}") from None
    return fd


def open_ledger(state_dir: Path, origin: str) -> tuple[sa.Engine, LedgerWriter]:
    """Open a state directory for writing; nothing is created.

    Raises:
        NotInitialisedError: something is missing.
        AlreadyRunningError: another process writes to it.
        SchemaUnknownError: the database is of another version.
        KeyUnreadableError: the key is not this ledger's.
        LedgerForkError: the database is not an extension of what was signed last.
        StateDirectoryError: it cannot be used, or its ledger was begun with another origin.
    """
    check_directory(state_dir)
    with contextlib.ExitStack() as undo:
        fd = take_lock(state_dir)
        undo.callback(os.close, fd)
        signer = load_log_key(state_dir / KEYS_DIRECTORY / LOG_KEY, origin)
        engine = open_database(state_dir / DATABASE)
        undo.callback(engine.dispose)
        with engine.connect() as conn:
            _check_log(conn, signer)
        ledger = LedgerWriter(engine, signer, state_dir / STATE_FILE, fd)
        undo.pop_all()
    return engine, ledger


def _check_log(conn: sa.Connection, signer: Signer) -> None:
    check_version(conn)
    rows = conn.execute(ledger_log.select()).all()
    if len(rows) != 1:
        raise DatabaseDamagedError(f"the database holds {len(rows)} logs, not one")
    row = rows[0]
    if not (isinstance(row.origin, str) and isinstance(row.vkey, str)):
        raise DatabaseDamagedError("ledger_log holds a value of another kind than its column")
    if row.origin != signer.name:
        raise StateDirectoryError(
            f"the ledger is {row.origin}, the configuration says {signer.name}",
            hint="dock.id and dock.agency never change; give another dock its own state_dir.",
        )
    if row.vkey != signer.verifier().vkey():
        raise KeyUnreadableError("the key is not the one that this ledger was begun with")


def examine(state_dir: Path, origin: str) -> LedgerHead:
    """Where the ledger stands, asked as `open_ledger` does, without becoming the one that writes.

    Works beside a running daemon; changes nothing.

    Raises:
        HaltError: what `open_ledger` would refuse it for.
    """
    check_directory(state_dir)
    signer = load_log_key(state_dir / KEYS_DIRECTORY / LOG_KEY, origin)
    # Before the database: it lags behind while a daemon writes, and never runs ahead.
    note = read_state_file(state_dir / STATE_FILE)
    engine = open_for_reading(state_dir)
    try:
        with engine.connect() as conn:
            _check_log(conn, signer)
            head, _known = standing(conn, signer.verifier(), note)
    finally:
        engine.dispose()
    return head
