"""When the ledger's checkpoint is published off this dock.

It is the signed checkpoint as an object in every store, under a key that names the ledger's size,
and anchors all entries before it. It is due at once where a release waits for it, every
`interval_s` when anything was recorded, and every `heartbeat_s` when nothing was, so that silence
differs from truncation. That a store has it is an entry as well, which makes no further one due.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bodycam_ingest.db import own_objects
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import object_keys
from bodycam_ingest.model.backoff import has_lasted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.db.ledger import LedgerWriter
    from bodycam_ingest.db.own_objects import AnchorState


# Confirmations come in bursts. While uploads are under way a docking can hardly be released, and
# every checkpoint is an object that stays for ever; after the last of them it is wanted at once.
_RELEASE_GAP_MS: Final = 1_000
_BURST_GAP_MS: Final = 60_000
# For so long after a commit a checkpoint may be about to become due, s.
SETTLES_S: Final = 2 * _RELEASE_GAP_MS / 1000


def due(state: AnchorState, size: int, age_ms: int, *, interval_ms: int) -> bool:
    """Whether a checkpoint over `size` entries should be queued now (pure).

    The newest was queued `age_ms` ago; one follows an entry by `interval_ms` at most.
    """
    if size <= state.queued_size:
        # One object a size: with nothing recorded there is nothing new to store.
        return False
    if state.waiting_seq is not None and state.waiting_seq >= state.queued_size:
        return age_ms >= (_BURST_GAP_MS if state.under_way else _RELEASE_GAP_MS)
    return state.news and age_ms >= interval_ms


class CheckpointPublisher:
    """Queues checkpoints; the stores' workers send them. Stores are given as name and `required`.

    One follows an entry by `interval_s` at most, and the one before by `heartbeat_s`.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: LedgerWriter,
        stores: Sequence[tuple[str, bool]],
        *,
        interval_s: float,
        heartbeat_s: float,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._stores = [name for name, _ in stores]
        self._required = [name for name, required in stores if required]
        self._interval_ms = round(interval_s * 1000)
        self._heartbeat_ms = round(heartbeat_s * 1000)
        # The newest checkpoint and when it was queued, by the clock since boot.
        self._queued_size = -1
        self._queued_boot_ms = 0

    def tick(self) -> bool:
        """Queue a checkpoint if one is due; returns whether it did."""
        head, now_ms = self._ledger.head, clock.now_ms()
        with self._engine.connect() as conn:
            state = own_objects.anchor_state(conn, self._stores, self._required, head.size, now_ms)
        age_ms = self._age_ms(state)
        if due(state, head.size, age_ms, interval_ms=self._interval_ms):
            self._queue(head.size)
            return True
        if not state.queued_size or age_ms < self._heartbeat_ms:
            return False
        # A heartbeat is an entry: silence then shows as a missing size, not as a missing object.
        with self._ledger.transaction() as txn:
            txn.append("log.heartbeat", "log", {"size": head.size})
        self._queue(self._ledger.head.size)
        return True

    def _age_ms(self, state: AnchorState) -> int:
        """How long ago the newest checkpoint was queued, by a clock that nobody sets.

        Of what an earlier process queued the time of day of its last entry alone is known. Where
        that lies in the future the clock was set back since: nobody knows the age, and the next
        checkpoint is due.
        """
        boot_ms = clock.boot_ms()
        if state.queued_size != self._queued_size:
            written_ms = clock.text_ms(state.written_at) if state.written_at else 0
            age_ms = clock.now_ms() - written_ms
            longest_ms = max(self._interval_ms, self._heartbeat_ms)
            lasted = has_lasted(written_ms, clock.now_ms(), longest_ms / 1000)
            self._queued_size = state.queued_size
            self._queued_boot_ms = boot_ms - (longest_ms if lasted else max(0, age_ms))
        return boot_ms - self._queued_boot_ms

    def _queue(self, size: int) -> None:
        key = object_keys.checkpoint_key(self._ledger.origin, size)
        with self._ledger.transaction() as txn:
            own_objects.queue_checkpoint(txn, self._stores, key, size)
        self._queued_size, self._queued_boot_ms = size, clock.boot_ms()
        log.info("ledger.anchor_queued", size=size)
