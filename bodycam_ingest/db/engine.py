"""Opening the database: SQLite in WAL mode, every commit on the medium before it returns."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import sqlalchemy as sa

from bodycam_ingest.errors import NotInitialisedError

if TYPE_CHECKING:
    from pathlib import Path

_BUSY_TIMEOUT_S: Final = 30.0


def open_database(path: Path, *, read_only: bool = False) -> sa.Engine:
    """Open the database; it is never created by opening it.

    Args:
        path: the database file.
        read_only: no statement can change it; works beside a running daemon.

    Raises:
        NotInitialisedError: there is no such file.
    """
    if not path.is_file():
        raise NotInitialisedError(f"no database {path}")
    mode = "ro" if read_only else "rw"
    uri = f"file:{quote(str(path))}?mode={mode}"

    def connect() -> sqlite3.Connection:
        # Transactions are begun by SQLAlchemy's hooks below, not by the driver's guess.
        return sqlite3.connect(
            uri,
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=sa.pool.QueuePool)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
        # With NORMAL an anchor could outlive its rows after a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("immediate"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")

    return engine
