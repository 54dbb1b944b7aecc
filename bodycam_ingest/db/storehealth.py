"""Rows of stores: who each was at first contact, whether it is paused, what it verifies."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.db.schema import outbox, store_state, upload
from bodycam_ingest.errors import (
    StoreClockSkewError,
    StoreCredentialsError,
    StoreFullError,
    StoreMisconfiguredError,
    StoreThrottledError,
    StoreUnreachableError,
)
from bodycam_ingest.linux import clock
from bodycam_ingest.model.evidence import StoreProbe
from bodycam_ingest.model.lifecycle import UploadState

if TYPE_CHECKING:
    from collections.abc import Collection

    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.errors import IngestError

_STORE_WIDE: Final = (
    StoreUnreachableError,
    StoreThrottledError,
    StoreClockSkewError,
    StoreCredentialsError,
    StoreMisconfiguredError,
    StoreFullError,
)

STORE_WIDE_CODES: Final = tuple(kind.code for kind in _STORE_WIDE)
"""Codes of faults that are a store's, whatever met them."""


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """What is remembered of a store.

    Args:
        store: its name.
        identity: what it was at first contact, empty before.
        paused_until_ms: nothing is asked of it before, ms since 1970; below zero, minus the time
            at which somebody last wanted it asked at once.
        attempts: faults in a row.
        last_error: code of the last fault, empty when all is well.
        failing_since: RFC 3339, empty when all is well.
        probe: what it verifies, None before it was tried.
        probed_at: RFC 3339, empty before it was tried.
    """

    store: str
    identity: str = ""
    paused_until_ms: int = 0
    attempts: int = 0
    last_error: str = ""
    failing_since: str = ""
    probe: StoreProbe | None = None
    probed_at: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A fault as it was met.

    Args:
        error: the fault.
        health: the store as it was when the try began.
        progressed: something got across before it.
    """

    error: IngestError
    health: StoreHealth
    progressed: bool = False

    def is_stores(self, last_error: str) -> bool:
        """Whether the store is at fault.

        Args:
            last_error: what the same work met last. The same fault twice, from a store that was
                well in between, is the work's own: it must not hold up all the rest.
        """
        alone = last_error == self.error.code and not self.health.last_error
        return isinstance(self.error, _STORE_WIDE) and not alone


def health(conn: sa.Connection, store: str) -> StoreHealth:
    """What is remembered of a store; of an unknown one, nothing."""
    row = conn.execute(sa.select(store_state).where(store_state.c.store == store)).first()
    if row is None:
        return StoreHealth(store)
    return StoreHealth(
        store=store,
        identity=row.identity,
        paused_until_ms=row.paused_until_ms,
        attempts=row.attempts,
        last_error=row.last_error,
        failing_since=row.failing_since,
        probe=StoreProbe(**json.loads(row.probe)) if row.probe else None,
        probed_at=row.probed_at,
    )


def put(txn: Txn, store: str, **values: Any) -> None:
    """Set columns of a store's row, which is made where there is none."""
    changed = txn.conn.execute(
        store_state.update().where(store_state.c.store == store).values(**values)
    ).rowcount
    if not changed:
        txn.conn.execute(store_state.insert().values(store=store, **values))


def pin(txn: Txn, store: str, identity: str) -> None:
    """Remember who a store is, with its `store.pinned` entry."""
    put(txn, store, identity=identity)
    txn.append("store.pinned", f"store:{store}", {"store": store, "identity": identity})


def probed(txn: Txn, store: str, now: str, probe: StoreProbe) -> None:
    """Remember what a store verifies."""
    put(txn, store, probe=json.dumps(asdict(probe), sort_keys=True), probed_at=now)


def pause(
    txn: Txn,
    before: StoreHealth,
    now: str,
    *,
    until_ms: int,
    attempts: int,
    error: str,
    message: str,
) -> None:
    """Ask nothing of a store for a while.

    Args:
        txn: the open transaction.
        before: the store as it was.
        now: RFC 3339.
        until_ms: ms since 1970.
        attempts: faults in a row.
        error: code of the fault.
        message: the fault, for people.
    """
    put(
        txn,
        before.store,
        paused_until_ms=until_ms,
        attempts=attempts,
        last_error=error,
        last_message=message,
        failing_since=before.failing_since or now,
    )


def recovered(txn: Txn, store: str) -> None:
    """All is well with a store."""
    put(
        txn,
        store,
        paused_until_ms=0,
        attempts=0,
        last_error="",
        last_message="",
        failing_since="",
    )


def progressed(txn: Txn, store: str, now: str) -> None:
    """A failing store took something: its waits and its alarm start anew."""
    txn.conn.execute(
        store_state.update()
        .where(store_state.c.store == store, store_state.c.failing_since != "")
        .values(attempts=0, failing_since=now)
    )


def lift_pauses(txn: Txn, stores: Collection[str]) -> None:
    """Have stores asked again at once.

    A try that is under way may still fail of what was mended meanwhile. It tells by the time that
    is left here that it must not pause the store again: `was_lifted`.

    Args:
        txn: the open transaction.
        stores: their names.
    """
    txn.conn.execute(
        store_state.update()
        .where(store_state.c.store.in_(stores))
        .values(paused_until_ms=-clock.now_ms())
    )


def was_lifted(txn: Txn, before: StoreHealth) -> bool:
    """Whether somebody wanted a store asked at once after a try had begun.

    Args:
        txn: the open transaction.
        before: the store as it was when the try began.
    """
    until_ms = health(txn.conn, before.store).paused_until_ms
    return until_ms < 0 and until_ms != before.paused_until_ms


def hurry(txn: Txn, stores: Collection[str]) -> None:
    """Have stores asked again at once, with what waited because of them.

    Args:
        txn: the open transaction.
        stores: their names.
    """
    lift_pauses(txn, stores)
    for table in (upload, outbox):
        txn.conn.execute(
            table.update()
            .where(table.c.store.in_(stores), table.c.last_error.in_(STORE_WIDE_CODES))
            .where(table.c.state == UploadState.WAITING.value)
            .values(due_ms=0)
        )


def failing(conn: sa.Connection) -> list[str]:
    """Names of stores whose last answer was a fault."""
    query = sa.select(store_state.c.store).where(store_state.c.last_error != "")
    return list(conn.execute(query.order_by(store_state.c.store)).scalars())
