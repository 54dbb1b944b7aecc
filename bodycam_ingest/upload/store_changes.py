"""Keeps up with changes of the set of stores: taken out, added, renamed, retired.

What it does is bounded: one page of items a step. Where it stands is in the database: an item that
was never queued for a store has no row there, and one that waits for nobody is still `verified`.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.db import known_stores, resending
from bodycam_ingest.db.projected import read_stores
from bodycam_ingest.errors import ConfigError, IngestError
from bodycam_ingest.log import log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.db.known_stores import Wanted
    from bodycam_ingest.db.ledger import LedgerWriter
    from bodycam_ingest.model.rows import Store
    from bodycam_ingest.stores import ObjectStore


PAGE_ITEMS: Final = 100
# Also where nothing changed, now and then: a queue that lost a row must not lose a recording.
_LOOK_EVERY_S: Final = 3600.0
_BUSY_S: Final = 0.0
_IDLE_S: Final = 1.0
# A store that answers later is met at its first use; a start waits for none.
_ASK_WITHIN_S: Final = 10.0


class StoreChanges:
    """Brings items and stores together after the set of stores changed."""

    def __init__(self, engine: Engine, ledger: LedgerWriter, stores: Sequence[Wanted]) -> None:
        self._engine = engine
        self._ledger = ledger
        self._stores = stores
        self._asked = threading.Event()
        self._asked.set()
        # A look is open until no item is left that is to be queued or completed.
        self._open = False
        self._settled_to = ""
        self._looked_s = 0.0

    def meet(self, opened: Mapping[str, ObjectStore], within_s: float = _ASK_WITHIN_S) -> None:
        """Refuse a store that is known under another name; asks only those never met.

        One that has not answered within that time is judged at its first use.

        Raises:
            ConfigError: a store is one that is known under another name; nothing was changed.
        """
        with self._engine.connect() as conn:
            known = read_stores(conn)
        new = {
            name: store
            for name, store in opened.items()
            if name not in known or not known[name].identity
        }
        found = _ask(new, within_s) if new else {}
        identities = {row.store: row.identity for row in known.values() if row.identity} | found
        for name in opened:
            twin = _twin_of(name, identities, known, set(opened))
            if twin:
                raise same_place(name, twin, both=twin in opened)

    def note(self) -> None:
        """Note the configuration's stores in ledger and database; before any worker runs."""
        with self._ledger.transaction() as txn:
            changes = known_stores.note(txn, self._stores)
        for change in changes:
            store, required, amount = change.store, change.required, change.amount
            if change.what == "added":
                log.info("store.added", store=store, required=required, lacks=amount.items)
            elif change.what == "changed":
                log.info("store.changed", store=store, required=required, lacks=amount.items)
            else:
                log.warning(
                    "store.removed",
                    store=store,
                    required=required,
                    waiting=amount.items,
                    waiting_bytes=amount.size_bytes,
                )

    def look_again(self) -> None:
        """Look for items to queue or to complete at the next step; from any thread."""
        self._asked.set()

    def step(self) -> float:
        """One page of items, where something is to do; returns seconds until the next look."""
        now_s = time.monotonic()
        if self._asked.is_set() or now_s - self._looked_s >= _LOOK_EVERY_S:
            self._asked.clear()
            self._looked_s, self._settled_to, self._open = now_s, "", True
        if not self._open:
            return _IDLE_S
        if any(self._queue_page(store) for store in self._stores):
            return _BUSY_S
        with self._ledger.transaction() as txn:
            done, self._settled_to = resending.settle_page(txn, self._settled_to, PAGE_ITEMS)
        if done:
            log.info("store.items_settled", items=done)
        self._open = bool(self._settled_to)
        return _BUSY_S if self._open else _IDLE_S

    def _queue_page(self, store: Wanted) -> int:
        with self._engine.connect() as conn:
            if not resending.never_queued(conn, store.name, limit=1):
                return 0
        with self._ledger.transaction() as txn:
            found = resending.backfill_page(txn, store.name)
        log.info("store.backfilled", store=store.name, items=found)
        return found


def _twin_of(
    name: str,
    identities: Mapping[str, str],
    known: Mapping[str, Store],
    configured: set[str],
) -> str:
    """Another name for the place that `name` is, unless that one was retired; empty for none."""
    mine = identities.get(name, "")
    for other, identity in sorted(identities.items()):
        if not mine or other == name or identity != mine:
            continue
        if other in configured or not known[other].retired_at:
            return other
    return ""


def same_place(name: str, twin: str, *, both: bool) -> ConfigError:
    """Two names of one place, as a fault of the configuration."""
    if both:
        return ConfigError(
            f"stores {name!r} and {twin!r} are one and the same place",
            hint="One copy must not count as two. Take one of them out, or give it a place of its "
            "own.",
        )
    return ConfigError(
        f"store {name!r} is the place that this dock knows as {twin!r}",
        hint=f"A store keeps its name: call it {twin!r} again. If it shall have the new name all "
        f"the same, first `bodycam-ingest stores retire {twin} --reason TEXT`.",
    )


def _ask(stores: Mapping[str, ObjectStore], within_s: float) -> dict[str, str]:
    """Who stores are; those that fail or do not answer in time are left out."""
    found: dict[str, str] = {}

    def ask(name: str, store: ObjectStore) -> None:
        try:
            found[name] = store.identity()
        except IngestError as error:
            # Its own worker meets the same fault, and writes it down with the next try.
            log.debug("store.not_met", store=name, error=error.code)

    threads = [
        threading.Thread(target=ask, args=pair, name=f"meet-{pair[0]}", daemon=True)
        for pair in stores.items()
    ]
    for thread in threads:
        thread.start()
    until_s = time.monotonic() + within_s
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
    return dict(found)
