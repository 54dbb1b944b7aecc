"""Records what happens to stores and to the daemon's own objects: pauses, proofs, refusals.

A store that is away is left alone as a whole until a persisted time; what it is asked first after
that is the trial that ends or prolongs the pause.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ulid import ULID

from bodycam_ingest.custody import entries
from bodycam_ingest.db import findings, known_stores, own_objects, store_health
from bodycam_ingest.errors import (
    DelayClass,
    Disposition,
    StoreConflictError,
    StoreError,
    StoreIntegrityError,
)
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import object_keys, subjects
from bodycam_ingest.model.backoff import TRANSIENT_ALARM_AFTER_S, has_lasted
from bodycam_ingest.model.rows import CHECKPOINT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.db.ledger import LedgerWriter
    from bodycam_ingest.db.own_objects import OwnObject
    from bodycam_ingest.db.store_health import Failure, StoreHealth
    from bodycam_ingest.errors import IngestError
    from bodycam_ingest.model.backoff import Delay
    from bodycam_ingest.model.evidence import StoreProbe
    from bodycam_ingest.model.subjects import Subject


def is_alarming(error: IngestError, since: str, now_ms: int) -> bool:
    """Whether a fault needs a person now; `since` is when the first in this row was, RFC 3339."""
    if isinstance(error, StoreIntegrityError):
        return False
    if error.alarm_at_once:
        return True
    return has_lasted(clock.text_ms(since), now_ms, TRANSIENT_ALARM_AFTER_S)


def _subject(one: OwnObject) -> Subject:
    return subjects.own_object(one.store, one.kind, one.key)


class StoreRecord:
    """Writes what happens to stores and to the daemon's own objects."""

    def __init__(self, ledger: LedgerWriter, delay_s: Delay, now_ms: Callable[[], int]) -> None:
        self._ledger = ledger
        self._delay_s = delay_s
        self._now_ms = now_ms
        # The last fault of unknown kind by store, and the work that met it.
        self._failed_last: dict[str, tuple[str, str]] = {}

    def due_ms(
        self, error: IngestError, attempts: int, delay_class: DelayClass | None = None
    ) -> int:
        """When the next try after a fault is due, ms since 1970; never before the store asked for.

        `delay_class` stands in for the fault's own; `attempts` as in `Delay`.
        """
        retry_after_s = error.retry_after_s if isinstance(error, StoreError) else None
        wait_s = self._delay_s(delay_class or error.delay_class, attempts, retry_after_s)
        return self._now_ms() + round(wait_s * 1000)

    def _now(self) -> str:
        return clock.ms_text(self._now_ms())

    # -- the daemon's own objects --

    def object_confirmed(self, one: OwnObject, sha256: bytes) -> None:
        """Record that a store proved one of the daemon's own objects."""
        with self._ledger.transaction() as txn:
            txn.add(
                entries.object_confirmed(
                    one.store, key=one.key, kind=one.kind, sha256=sha256, size=one.ledger_size
                )
            )
            own_objects.done(txn, one)
            findings.close_about(txn, subject=_subject(one))
        log.info("object.confirmed", store=one.store, key=one.key, kind=one.kind)

    def object_failed(self, one: OwnObject, failure: Failure) -> None:
        """Record a fault of one of the daemon's own objects; as `failed`."""
        error = failure.error
        if error.disposition is Disposition.HALT:
            raise error
        if one.kind == CHECKPOINT and isinstance(error, StoreConflictError):
            self._move_checkpoint(one, error)
            return
        refused = error.disposition is Disposition.QUARANTINE
        attempts = one.attempts + 1
        stores_fault = failure.is_stores(one.last_error)
        due_ms = self.store_failed(failure) if stores_fault else self.due_ms(error, attempts)
        with self._ledger.transaction() as txn:
            own_objects.failed(txn, one, error, attempts=attempts, due_ms=due_ms, refused=refused)
            if refused:
                txn.add(
                    entries.object_refused(one.store, key=one.key, kind=one.kind, reason=error.code)
                )
            if refused or (not stores_fault and error.alarm_at_once):
                findings.alarm(txn, _subject(one), error.code, error.message)
        log.warning(
            "object.postponed",
            store=one.store,
            key=one.key,
            error=error.code,
            message=error.message,
            refused=refused,
        )

    def _move_checkpoint(self, one: OwnObject, error: StoreConflictError) -> None:
        """Have a checkpoint whose key is taken put under another one, which no one can guess.

        Whoever may put objects could else hold up release for ever by occupying the keys to come.
        """
        attempts = one.attempts + 1
        # The first time at once; against whoever occupies each key as it comes, ever later.
        due_ms = self._now_ms()
        if one.attempts:
            due_ms = self.due_ms(error, attempts, DelayClass.MENDABLE)
        key = object_keys.moved_checkpoint_key(one.key, str(ULID()))
        with self._ledger.transaction() as txn:
            own_objects.failed(txn, one, error, attempts=attempts, due_ms=due_ms, key=key)
            txn.add(
                entries.object_refused(
                    one.store, key=one.key, kind=one.kind, reason=error.code, instead=key
                )
            )
            detail = f"{error.message}; this checkpoint goes to {key}"
            findings.alarm(txn, subjects.moved_checkpoints(one.store), error.code, detail)
        log.warning("ledger.anchor_moved", store=one.store, key=one.key, instead=key)

    # -- stores --

    def probed(self, store: str, identity: str, probe: StoreProbe) -> None:
        """Record who a store is and what it verifies."""
        with self._ledger.transaction() as txn:
            known_stores.pin(txn, store, identity)
            store_health.probed(txn, store, self._now(), probe)
        log.info(
            "store.probed",
            store=store,
            identity=identity,
            verifies_checksum=probe.verifies_checksum,
            verifies_payload=probe.verifies_payload,
            reads_back=probe.reads_back,
        )

    def is_common(self, store: str, work: str, failure: Failure, last_error: str) -> bool:
        """Whether a fault of unknown kind is the store's: two works in a row met it first now.

        `last_error` is what the same work met last; a fault that it knows is its own.
        """
        error = failure.error
        if type(error) is not StoreError or last_error == error.code:
            return False
        before = self._failed_last.get(store)
        self._failed_last[store] = (error.code, work)
        return before is not None and before[0] == error.code and before[1] != work

    def worked(self, store: str) -> None:
        """Something got across to a store."""
        self._failed_last.pop(store, None)

    def store_failed(self, failure: Failure) -> int:
        """Leave a store alone for a while; returns until when, ms since 1970."""
        error, before = failure.error, failure.health
        attempts = 1 if failure.progressed else before.attempts + 1
        # What a person fixes is tried again within minutes of it.
        slow = error.delay_class is DelayClass.SLOW
        until_ms = self.due_ms(error, attempts, DelayClass.MENDABLE if slow else None)
        now = self._now()
        with self._ledger.transaction() as txn:
            if failure.progressed:
                store_health.progressed(txn, before.store, now)
            if store_health.was_lifted(txn, before):
                # `retry` came while this try was under way, which may have begun with what was
                # fixed meanwhile: what it met says nothing of the store as it is now.
                log.debug("store.tried_again", store=before.store, error=error.code)
                return self._now_ms()
            store_health.pause(
                txn,
                before,
                now,
                until_ms=until_ms,
                attempts=attempts,
                error=error.code,
                message=error.message,
            )
            since = now if failure.progressed else before.failing_since or now
            if is_alarming(error, since, self._now_ms()):
                findings.alarm(txn, subjects.store(before.store), error.code, error.message)
        # One line when trouble begins or changes, not one a try.
        level = log.debug if error.code == before.last_error else log.warning
        level(
            "store.paused",
            store=before.store,
            error=error.code,
            message=error.message,
            hint=error.hint,
            attempts=attempts,
            wait_s=round((until_ms - self._now_ms()) / 1000, 1),
        )
        return until_ms

    def store_works(self, before: StoreHealth) -> None:
        """All is well with a store that had failed: its alarms are closed."""
        self.worked(before.store)
        if not before.last_error:
            return
        with self._ledger.transaction() as txn:
            store_health.recovered(txn, before.store)
            findings.close_about(txn, subject=subjects.store(before.store))
        log.info("store.recovered", store=before.store, error=before.last_error)
