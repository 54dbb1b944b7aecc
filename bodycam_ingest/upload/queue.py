"""Hands out what is due, so that no two workers of this process claim the same.

What is due stands in the database; in memory is only what a worker has claimed now. Small items are
handed out in batches: their records then share a transaction.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bodycam_ingest.db import own_objects, uploads
from bodycam_ingest.model.backoff import wait_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sqlalchemy import Engine

    from bodycam_ingest.db.own_objects import OwnObject
    from bodycam_ingest.db.uploads import UploadRow

SMALL_BYTES: Final = 256 * 1024
BATCH_ITEMS: Final = 64
# A failing store is tried by one worker; the others look again after this.
_STAND_BY_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Claim:
    """Claimed work: one of the daemon's own objects, one item, or a batch of small items."""

    object: OwnObject | None = None
    items: list[UploadRow] = field(default_factory=list)

    def names(self) -> set[str]:
        """What distinguishes this work from other work for the same store."""
        own = {self.object.key} if self.object else set()
        return own | {row.item_id for row in self.items}


class UploadQueue:
    """What is due, by store."""

    def __init__(self, engine: Engine, stores: Iterable[str], now_ms: Callable[[], int]) -> None:
        self._engine = engine
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._claimed: dict[str, set[str]] = {store: set() for store in stores}

    def claim(self, store: str, *, failing: bool) -> Claim | float | None:
        """Claim what has been due for longest.

        Of a store whose last answer was a fault, one worker tries one thing.

        Returns:
            The work, to be ended by `release`; else seconds until there may be some, None when
            nothing waits.
        """
        with self._lock:
            claimed = self._claimed[store]
            if failing and claimed:
                return _STAND_BY_S
            now_ms = self._now_ms()
            with self._engine.connect() as conn:
                own = own_objects.next_due(conn, store, now_ms, claimed)
                rows = []
                if own is None:
                    limit = 1 if failing else BATCH_ITEMS
                    rows = uploads.next_due(
                        conn, store, now_ms, claimed, small_bytes=SMALL_BYTES, limit=limit
                    )
                if own is None and not rows:
                    due = [
                        own_objects.next_due_ms(conn, store, claimed),
                        uploads.next_due_ms(conn, store, claimed),
                    ]
                    waits = [wait_s(due_ms, now_ms) for due_ms in due if due_ms is not None]
                    return min(waits, default=None)
            claim = Claim(own, rows)
            claimed |= claim.names()
            return claim

    def release(self, store: str, claim: Claim) -> None:
        """End a claim, whether its work was done or not."""
        with self._lock:
            self._claimed[store] -= claim.names()
