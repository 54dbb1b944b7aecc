"""How the daemon ended last: told by `status` while none runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.db.schema import dock_fact, ledger_entry, ledger_log

if TYPE_CHECKING:
    from bodycam_ingest.errors import IngestError

_FACT: Final = "daemon_halt"


def note_start(conn: sa.Connection) -> None:
    """Forget why an earlier daemon halted: this one runs."""
    conn.execute(dock_fact.delete().where(dock_fact.c.name == _FACT))


def note_halt(conn: sa.Connection, now: str, error: IngestError) -> None:
    """Keep why the daemon ends by itself, at `now` (RFC 3339)."""
    told = {"at": now, "error": error.code, "message": error.message, "hint": error.hint}
    kept = dock_fact.insert().prefix_with("OR REPLACE")
    conn.execute(kept, {"name": _FACT, "value": json.dumps(told)})


def last(conn: sa.Connection) -> dict[str, Any]:
    """How the daemon that ran last ended.

    It has never run where `started_at` is None. `stopped_at` is None where nobody could write it
    down, as when power goes; `error`, `message` and `hint` are where it was asked to stop.
    `last_entry_at` is its last sign of life.
    """
    _, last_at = _newest(conn, "")
    started, started_at = _newest(conn, "daemon.started")
    stopped, stopped_at = _newest(conn, "daemon.stopped")
    asked_at = stopped_at if stopped > started else None
    kept = conn.execute(sa.select(dock_fact.c.value).where(dock_fact.c.name == _FACT)).scalar()
    halt = json.loads(kept) if kept else {"at": asked_at, "error": None, "message": None}
    return {
        "started_at": started_at,
        "stopped_at": halt["at"],
        "error": halt["error"],
        "message": halt["message"],
        "hint": halt.get("hint"),
        "last_entry_at": last_at,
    }


def _newest(conn: sa.Connection, kind: str) -> tuple[int, str | None]:
    """Number and time of the last entry of a type, of any where it is empty; -1 for none."""
    log_id = sa.select(ledger_log.c.log_id).limit(1).scalar_subquery()
    query = sa.select(ledger_entry.c.seq, ledger_entry.c.t).where(ledger_entry.c.log_id == log_id)
    if kind:
        query = query.where(ledger_entry.c.type == kind)
    row = conn.execute(query.order_by(ledger_entry.c.seq.desc()).limit(1)).first()
    return (-1, None) if row is None else (row[0], row[1])
