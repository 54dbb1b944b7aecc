"""How it goes with each store: whether it is paused, what it verifies. Work, not facts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, TypedDict, Unpack

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from bodycam_ingest.db import uploads
from bodycam_ingest.db.schema import object_work, store_work
from bodycam_ingest.errors import (
    StoreClockSkewError,
    StoreCredentialsError,
    StoreFullError,
    StoreMisconfiguredError,
    StoreThrottledError,
    StoreUnreachableError,
)
from bodycam_ingest.model.evidence import StoreProbe

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
    """How it goes with a store; work, which may be lost. Texts are empty when all is well.

    Nothing is asked of it before `paused_until_ms` (since 1970). `lifted` is how often somebody
    wanted it asked at once, `attempts` are faults in a row, `probe` is what it verifies.
    """

    store: str
    paused_until_ms: int = 0
    lifted: int = 0
    attempts: int = 0
    last_error: str = ""
    last_message: str = ""
    failing_since: str = ""
    probe: StoreProbe | None = None
    probed_at: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A fault as it was met, with the store as it was when the try began.

    It `progressed` where something got across before it.
    """

    error: IngestError
    health: StoreHealth
    progressed: bool = False

    def is_stores(self, last_error: str) -> bool:
        """Whether the store is at fault.

        `last_error` is what the same work met last. The same fault twice, from a store that was
        well in between, is the work's own: it must not hold up all the rest.
        """
        alone = last_error == self.error.code and not self.health.last_error
        return isinstance(self.error, _STORE_WIDE) and not alone


def health(conn: sa.Connection, store: str) -> StoreHealth:
    """How it goes with a store; of an unknown one, nothing."""
    row = conn.execute(sa.select(store_work).where(store_work.c.store == store)).mappings().first()
    if row is None:
        return StoreHealth(store)
    probe = StoreProbe(**json.loads(row["probe"])) if row["probe"] else None
    return StoreHealth(**{**row, "probe": probe})


class _Work(TypedDict, total=False):
    paused_until_ms: int
    lifted: int
    attempts: int
    last_error: str
    last_message: str
    failing_since: str
    probe: str
    probed_at: str


def _put(txn: Txn, store: str, **values: Unpack[_Work]) -> None:
    fresh = sqlite.insert(store_work).values({"store": store, **values})
    txn.conn.execute(fresh.on_conflict_do_update(index_elements=["store"], set_=values))


def probed(txn: Txn, store: str, now: str, probe: StoreProbe) -> None:
    """Remember what a store verifies."""
    _put(txn, store, probe=json.dumps(asdict(probe), sort_keys=True), probed_at=now)


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
    """Ask nothing of a store until then, ms since 1970, after so many faults in a row."""
    _put(
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
    _put(
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
        store_work.update()
        .where(store_work.c.store == store, store_work.c.failing_since != "")
        .values(attempts=0, failing_since=now)
    )


def lift_pauses(txn: Txn, stores: Collection[str]) -> None:
    """Have stores asked again at once.

    A try that is under way may still fail of what was fixed meanwhile. It tells by the number of
    lifts that it must not pause the store again: `was_lifted`.
    """
    for store in stores:
        lifted = health(txn.conn, store).lifted + 1
        _put(txn, store, paused_until_ms=0, lifted=lifted)


def was_lifted(txn: Txn, before: StoreHealth) -> bool:
    """Whether somebody wanted a store asked at once since it was as `before`."""
    return health(txn.conn, before.store).lifted != before.lifted


def hurry(txn: Txn, stores: Collection[str]) -> None:
    """Have stores asked again at once, with what waited because of them."""
    lift_pauses(txn, stores)
    uploads.make_due(txn.conn, stores, STORE_WIDE_CODES)
    txn.conn.execute(
        object_work.update()
        .where(object_work.c.store.in_(stores), ~object_work.c.refused)
        .where(object_work.c.last_error.in_(STORE_WIDE_CODES))
        .values(due_ms=0)
    )


def failing(conn: sa.Connection) -> list[str]:
    """Names of stores whose last answer was a fault."""
    query = sa.select(store_work.c.store).where(store_work.c.last_error != "")
    return list(conn.execute(query.order_by(store_work.c.store)).scalars())
