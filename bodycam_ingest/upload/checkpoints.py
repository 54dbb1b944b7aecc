"""When the ledger's checkpoint is written off this dock.

An anchor is the signed checkpoint as an object in every store, under a key that names the ledger's
size. It is due at once where a release waits for it, every `interval_s` when anything was
recorded, and every `heartbeat_s` when nothing was, so that silence differs from truncation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from bodycam_ingest.db import agenda, outbox
from bodycam_ingest.linux import clock
from bodycam_ingest.model import object_keys
from bodycam_ingest.model.backoff import has_lasted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from bodycam_ingest.db.ledger import LedgerWriter

log = structlog.get_logger(__name__)

# Confirmations come in bursts. While uploads are under way a docking can hardly be released, and
# every checkpoint is an object that stays for ever; after the last of them it is wanted at once.
_RELEASE_GAP_MS: Final = 1_000
_BURST_GAP_MS: Final = 60_000
# For so long after a commit a checkpoint may be about to become due, s.
SETTLES_S: Final = 2 * _RELEASE_GAP_MS / 1000


@dataclass(frozen=True, slots=True)
class AnchorFacts:
    """What decides whether a checkpoint is due.

    Args:
        size: entries in the ledger.
        queued_size: entries under the newest checkpoint queued or stored, 0 when none.
        age_ms: how long ago that was queued, ms.
        waiting_seq: highest entry that a release or purge waits on, None when none waits.
        under_way: required stores to which something can be sent now.
    """

    size: int
    queued_size: int
    age_ms: int
    waiting_seq: int | None
    under_way: int


def due(facts: AnchorFacts, *, interval_ms: int) -> bool:
    """Whether a checkpoint should be queued now (pure)."""
    if facts.size <= facts.queued_size:
        # One object a size: with nothing recorded there is nothing new to store.
        return False
    if facts.waiting_seq is not None and facts.waiting_seq >= facts.queued_size:
        return facts.age_ms >= (_BURST_GAP_MS if facts.under_way else _RELEASE_GAP_MS)
    return facts.age_ms >= interval_ms


class AnchorKeeper:
    """Queues checkpoints; the stores' workers send them.

    Args:
        engine: for reads.
        ledger: the ledger that is anchored.
        stores: every store's name and whether it is required.
        interval_s: at most so long after an entry, s.
        heartbeat_s: at least so often, s.
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
        self._stores = stores
        self._required = [name for name, required in stores if required]
        self._interval_ms = round(interval_s * 1000)
        self._heartbeat_ms = round(heartbeat_s * 1000)
        # The newest checkpoint and when it was queued, by the clock since boot.
        self._queued_size = -1
        self._queued_boot_ms = 0

    def tick(self) -> bool:
        """Queue a checkpoint if one is due; returns whether it did."""
        head = self._ledger.head
        with self._engine.connect() as conn:
            state = agenda.anchor_state(conn, self._required, clock.now_ms())
        facts = AnchorFacts(
            size=head.size,
            queued_size=state.queued_size,
            age_ms=self._age_ms(state),
            waiting_seq=state.waiting_seq,
            under_way=state.under_way,
        )
        if due(facts, interval_ms=self._interval_ms):
            self._queue(head.size, head.checkpoint)
            return True
        return self._heartbeat(facts)

    def _age_ms(self, state: agenda.AnchorState) -> int:
        """How long ago the newest checkpoint was queued, by a clock that nobody sets.

        What an earlier process queued bears a time of day alone. Where that lies in the future the
        clock was set back since: nobody knows the age, and the next checkpoint is due.
        """
        boot_ms = clock.boot_ms()
        if state.queued_size != self._queued_size:
            written_ms = clock.text_ms(state.queued_at) if state.queued_at else 0
            age_ms = clock.now_ms() - written_ms
            longest_ms = max(self._interval_ms, self._heartbeat_ms)
            lasted = has_lasted(written_ms, clock.now_ms(), longest_ms / 1000)
            self._queued_size = state.queued_size
            self._queued_boot_ms = boot_ms - (longest_ms if lasted else max(0, age_ms))
        return boot_ms - self._queued_boot_ms

    def _heartbeat(self, facts: AnchorFacts) -> bool:
        if facts.queued_size == 0 or facts.age_ms < self._heartbeat_ms:
            return False
        # A heartbeat is an entry: silence then shows as a missing size, not as a missing object.
        with self._ledger.transaction() as txn:
            txn.append("log.heartbeat", "log", {"size": facts.size})
        head = self._ledger.head
        self._queue(head.size, head.checkpoint)
        return True

    def _queue(self, size: int, checkpoint: str) -> None:
        key = object_keys.checkpoint_key(self._ledger.origin, size)
        with self._ledger.transaction() as txn:
            outbox.queue_object(
                txn,
                clock.now_text(),
                self._stores,
                key,
                agenda.CHECKPOINT_KIND,
                checkpoint.encode(),
                ledger_size=size,
            )
        self._queued_size, self._queued_boot_ms = size, clock.boot_ms()
        log.info("ledger.anchor_queued", size=size)
