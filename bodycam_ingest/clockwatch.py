"""Records steps of the dock's clock. A step is never a reason not to record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import structlog

from bodycam_ingest import clock
from bodycam_ingest.db import facts

if TYPE_CHECKING:
    from bodycam_ingest.db.ledger import LedgerWriter, Txn

log = structlog.get_logger(__name__)

STEP_MS: Final = 1_000
_FACT: Final = "clock"


def stepped_ms(before: clock.Reading | None, now: clock.Reading) -> int:
    """By how much the clock was stepped between two readings of one boot (pure).

    Args:
        before: an earlier reading; None, or one of another boot, tells nothing.
        now: a later reading.

    Returns:
        ms forward (positive) or back (negative); 0 for what slewing explains.
    """
    if before is None or before.boot_id != now.boot_id:
        return 0
    delta_ms = now.offset_ms() - before.offset_ms()
    return delta_ms if abs(delta_ms) >= STEP_MS else 0


class ClockWatch:
    """Compares the clocks at every tick with the last tick, also across restarts.

    Args:
        ledger: the only way to write.
    """

    def __init__(self, ledger: LedgerWriter) -> None:
        self._ledger = ledger
        self._last: clock.Reading | None = None
        self._synchronised: bool | None = None
        with ledger.transaction() as txn:
            text = facts.get(txn.conn, _FACT)
            if text:
                known = json.loads(text)
                self._last = clock.Reading(
                    wall=clock.parse_rfc3339(known["wall"]),
                    boottime_ms=known["boottime_ms"],
                    boot_id=known["boot_id"],
                )

    def tick(self) -> int:
        """Look at the clocks; returns the step that was recorded, ms, 0 when none."""
        now, synchronised = clock.read(), clock.synchronised()
        step_ms = stepped_ms(self._last, now)
        if step_ms or self._last is None or self._last.boot_id != now.boot_id:
            with self._ledger.transaction() as txn:
                self._remember(txn, now)
                if step_ms:
                    txn.append(
                        "clock.stepped",
                        "clock",
                        {"step_ms": step_ms, "ntp_synchronised": synchronised},
                    )
        if step_ms:
            log.warning("clock.stepped", step_ms=step_ms, ntp_synchronised=synchronised)
        if synchronised is False and self._synchronised is not False:
            log.warning("clock.unsynchronised")
        self._last, self._synchronised = now, synchronised
        return step_ms

    def _remember(self, txn: Txn, now: clock.Reading) -> None:
        facts.put(
            txn.conn,
            _FACT,
            json.dumps(
                {
                    "wall": clock.rfc3339(now.wall),
                    "boottime_ms": now.boottime_ms,
                    "boot_id": now.boot_id,
                }
            ),
        )
