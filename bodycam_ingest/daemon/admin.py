"""What an admin can have done: each is recorded in the ledger with who asked for it.

The daemon runs them when its control socket is asked; without a daemon the command line runs the
same functions on the ledger that it opened itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.acquire import take_back
from bodycam_ingest.custody import item_entries
from bodycam_ingest.custody.entry import Actor
from bodycam_ingest.daemon import clock_watch
from bodycam_ingest.daemon.control import (
    AssignRequest,
    BackfillRequest,
    CloseFindingRequest,
    ConfirmClockRequest,
    QuarantineRequest,
    ReinstateRequest,
    RequeueRequest,
    RetireStoreRequest,
    RetryRequest,
)
from bodycam_ingest.db import (
    dockings,
    findings,
    items,
    known_stores,
    releases,
    resending,
    store_health,
    uploads,
)
from bodycam_ingest.errors import (
    IllegalTransitionError,
    StagingMissingError,
    UnknownSubjectError,
    UsageError,
)
from bodycam_ingest.linux import clock
from bodycam_ingest.model import subjects
from bodycam_ingest.model.lifecycle import UNCOPIED, ItemEvent, ItemState, advance_item

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy import Engine

    from bodycam_ingest.daemon.control import Request
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.staging import StagedCopies


# A request does so many pages itself; what is left is the daemon's, page by page.
_PAGE_ITEMS: Final = 200
_PAGES_MAX: Final = 25


def _ignore(_count_bytes: int) -> None:
    pass


class AdminCommands:
    """Carries out what an admin asks for; `stores` are the names of the configured ones."""

    def __init__(
        self, engine: Engine, ledger: LedgerWriter, copies: StagedCopies, stores: Collection[str]
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._copies = copies
        self._stores = frozenset(stores)

    def execute(
        self, request: Request, user: str, progress: Callable[[int], None] = _ignore
    ) -> dict[str, Any]:
        """Carry out one request of a user; returns what was done, for people and scripts.

        `progress` is called with the bytes done since the last call, where it takes long.

        Raises:
            UnknownSubjectError: no such item, camera, store or finding.
            UsageError: it is no admin command, or cannot be done in this state.
        """
        actor = Actor(kind="user", id=user)
        match request:
            case RetryRequest():
                done = self._retry(request.item, request.store, actor)
            case QuarantineRequest():
                done = self._quarantine(request.item, request.reason, actor)
            case RequeueRequest():
                done = self._requeue(request.item, request.reason, actor)
            case ReinstateRequest():
                done = self._reinstate(request.item, actor, progress)
            case AssignRequest():
                done = self._assign(request.camera, request.officer, actor)
            case CloseFindingRequest():
                done = self._close(request.finding, request.reason, actor)
            case ConfirmClockRequest():
                done = self._confirm_clock(request.reason, actor)
            case RetireStoreRequest():
                done = self._retire(request.store, request.reason, actor)
            case BackfillRequest():
                done = self._backfill(request.store, actor)
            case other:
                raise UsageError(f"{type(other).__name__} is no admin command")
        return done

    def _retry(self, item_id: str | None, store: str | None, actor: Actor) -> dict[str, Any]:
        stores = self._named(store)
        with self._ledger.transaction() as txn:
            failing = store_health.failing(txn.conn)
            if item_id is not None:
                done, queued = self._retry_item(txn, items.get(txn.conn, item_id), stores, actor)
            else:
                waiting = items.in_states(txn.conn, UNCOPIED)
                items.hurry(txn, [row.item_id for row in waiting])
                releases.hurry_purges(txn)
                done, queued = resending.retry_all(txn, stores, actor), 0
            subject = subjects.item(item_id) if item_id else subjects.DAEMON
            number = done.due + queued
            draft = item_entries.upload_retried(subject, store=store or "", uploads=number)
            txn.add(draft, actor=actor)
        tried = [name for name in failing if name in stores]
        return {
            "uploads_due": done.due + queued,
            "asked_again": list(done.again),
            "stores": tried,
        }

    def _retry_item(
        self, txn: Txn, row: ItemRow, stores: frozenset[str], actor: Actor
    ) -> tuple[resending.Retried, int]:
        items.hurry(txn, [row.item_id])
        done = resending.retry_item(txn, row, stores, actor)
        queued = resending.queue_item(txn, row, stores, actor)
        unread = row.state in UNCOPIED
        if not (done.due or done.again or queued or unread):
            raise UsageError(
                f"item {row.item_id} is {row.state.value}: nothing of it can be tried now",
                hint="A purged item has no copy here; a quarantined one continues with `quarantine "
                "reinstate` or `quarantine requeue`.",
            )
        return done, queued

    def _quarantine(self, item_id: str, reason: str, actor: Actor) -> dict[str, Any]:
        with self._ledger.transaction() as txn:
            row = items.get(txn.conn, item_id)
            _forbid_unless_legal(row, ItemEvent.QUARANTINED)
            items.step(txn, row, item_entries.quarantined(item_id, reason=reason), actor=actor)
        return {"item_id": item_id, "state": ItemState.QUARANTINED.value}

    def _requeue(self, item_id: str, reason: str, actor: Actor) -> dict[str, Any]:
        with self._ledger.transaction() as txn:
            row = items.get(txn.conn, item_id)
            # Asked before the copy is moved: a mistaken command must not take a good one away.
            _forbid_unless_legal(row, ItemEvent.REQUEUED)
            uploads.forbid_if_sent(txn.conn, item_id)
            kept = self._set_aside(row.staged_path) if row.staged_path else ""
            draft = item_entries.requeued(item_id, reason=reason, quarantined=kept)
            items.step(txn, row, draft, actor=actor)
        return {"item_id": item_id, "state": ItemState.DISCOVERED.value, "kept": kept}

    def _set_aside(self, staged_path: str) -> str:
        # The copy is kept: the item gets a new one from its camera.
        try:
            return self._copies.staging.move_to_quarantine(staged_path)
        except StagingMissingError:
            # Lost, or moved by a process that did not live to record it.
            return ""

    def _reinstate(
        self, item_id: str, actor: Actor, progress: Callable[[int], None]
    ) -> dict[str, Any]:
        with self._engine.connect() as conn:
            row = items.get(conn, item_id)
        _forbid_unless_legal(row, ItemEvent.REINSTATED)
        if not row.staged_path:
            raise UsageError(
                f"item {item_id} has no copy in staging", hint="quarantine requeue ITEM"
            )
        take_back(self._ledger, self._copies, row, self._stores, progress, actor)
        return {"item_id": item_id, "state": ItemState.VERIFIED.value}

    def _assign(self, serial: str, officer: str, actor: Actor) -> dict[str, Any]:
        with self._ledger.transaction() as txn:
            dockings.assign(txn, serial, officer, actor)
        return {"camera": serial, "officer": officer}

    def _confirm_clock(self, reason: str, actor: Actor) -> dict[str, Any]:
        with self._ledger.transaction() as txn:
            before = clock_watch.confirm(txn, reason=reason, actor=actor)
        return {"time": clock.now_text(), "vouched_before": before.vouched, "doubt": before.doubt}

    def _close(self, finding_id: str, reason: str, actor: Actor) -> dict[str, Any]:
        with self._ledger.transaction() as txn:
            findings.close_by_id(txn, finding_id, reason=reason, actor=actor)
        return {"finding_id": finding_id, "closed": True}

    # -- the set of stores --

    def _named(self, store: str | None) -> frozenset[str]:
        """The configured store of that name; all of them for None."""
        if store is None:
            return self._stores
        if store not in self._stores:
            known = ", ".join(sorted(self._stores))
            raise UnknownSubjectError(f"no store {store!r}", hint=f"The stores are: {known}.")
        return frozenset({store})

    def _retire(self, store: str, reason: str, actor: Actor) -> dict[str, Any]:
        """Give up a store; what waited for it alone is completed."""
        if store in self._stores:
            raise UsageError(
                f"store {store!r} is in the configuration",
                hint="Take its [[stores]] table out, restart the daemon, then retire it.",
            )
        with self._ledger.transaction() as txn:
            waiting = known_stores.retire(txn, store, reason, actor)
        after, settled = "", 0
        for _ in range(_PAGES_MAX):
            with self._ledger.transaction() as txn:
                done, after = resending.settle_page(txn, after, _PAGE_ITEMS)
            settled += done
            if not after:
                break
        return {
            "store": store,
            "waited_items": waiting.items,
            "waited_bytes": waiting.size_bytes,
            "confirmed_items": settled,
        }

    def _backfill(self, store: str | None, actor: Actor) -> dict[str, Any]:
        queued = dict.fromkeys(sorted(self._named(store)), 0)
        for name in queued:
            for _ in range(_PAGES_MAX):
                with self._ledger.transaction() as txn:
                    found = resending.backfill_page(txn, name, actor)
                queued[name] += found
                if found < resending.PAGE_ITEMS:
                    break
        return {"queued": queued}


_IMPOSSIBLE: Final = {
    ItemEvent.QUARANTINED: "it can no longer be quarantined",
    ItemEvent.REQUEUED: "only a quarantined item can be read again",
    ItemEvent.REINSTATED: "only a quarantined item can be reinstated",
}


def _forbid_unless_legal(row: ItemRow, event: ItemEvent) -> None:
    """Refuse what the table of states does not have: the person asked, the program did not err."""
    try:
        advance_item(row.state, event)
    except IllegalTransitionError:
        raise UsageError(
            f"item {row.item_id} is {row.state.value}: {_IMPOSSIBLE[event]}",
            hint=f"`bodycam-ingest items {row.item_id}` shows what happened to it.",
        ) from None
