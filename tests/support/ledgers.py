"""Ledgers as a process opens them, and as somebody with `sqlite3` does."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.db.schema import finding, ledger_entry
from bodycam_ingest.db.state_dir import initialise, open_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bodycam_ingest.db.ledger import LedgerWriter

ORIGIN = "pd.example/custody/dock-1"


@contextlib.contextmanager
def opened(state: Path, origin: str = ORIGIN) -> Iterator[tuple[sa.Engine, LedgerWriter]]:
    """The ledger, for as long as a process has it."""
    engine, ledger = open_ledger(state, origin)
    try:
        yield engine, ledger
    finally:
        ledger.close()
        engine.dispose()


def start_and_stop(state: Path, origin: str = ORIGIN) -> int:
    """A process that records its start and no more; returns how many entries there are now."""
    with opened(state, origin) as (_, ledger):
        with ledger.transaction() as txn:
            txn.append("daemon.started", "daemon", {})
        return ledger.head.size


class NewLedger:
    """A new ledger below a directory, open.

    Args:
        directory: where its state directory is to be.
    """

    def __init__(self, directory: Path) -> None:
        initialise(directory / "state", ORIGIN)
        self.engine, self.ledger = open_ledger(directory / "state", ORIGIN)

    def close(self) -> None:
        self.ledger.close()
        self.engine.dispose()

    def open_findings(self) -> list[sa.Row[Any]]:
        """What is not closed."""
        return open_findings(self.engine)


def entries(engine: sa.Engine, kind: str) -> list[dict[str, Any]]:
    """The data of all entries of a type, oldest first."""
    query = sa.select(ledger_entry.c.body).where(ledger_entry.c.type == kind)
    with engine.connect() as conn:
        bodies = conn.execute(query.order_by(ledger_entry.c.seq)).scalars()
        return [json.loads(body)["data"] for body in bodies]


def open_findings(engine: sa.Engine) -> list[sa.Row[Any]]:
    """The same, of any ledger; in the order of their ids."""
    query = sa.select(finding).where(finding.c.closed_at.is_(None)).order_by(finding.c.finding_id)
    with engine.connect() as conn:
        return list(conn.execute(query))


@contextlib.contextmanager
def shell(state: Path) -> Iterator[sqlite3.Connection]:
    """The database beside the program; each statement is committed."""
    file = state / "bodycam.db" if state.is_dir() else state
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        yield connection


def sql(state: Path, *statements: str) -> list[Any]:
    """Change the database beside the program; returns the last statement's rows."""
    with shell(state) as connection:
        return [connection.execute(statement).fetchall() for statement in statements][-1]


def unguarded(state: Path, *statements: str) -> None:
    """The same, by one who walks past the guards."""
    guards = sql(state, "SELECT name FROM sqlite_master WHERE type = 'trigger'")
    sql(state, *(f"DROP TRIGGER {name}" for (name,) in guards), *statements)
