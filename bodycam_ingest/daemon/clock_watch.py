"""Watches the dock's clock: records its steps, keeps the dock's own time, says who vouches for it.

A step is never a reason not to record. What hangs on the clock is destruction: while nobody vouches
for it, retention lets no copy go by its age.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from bodycam_ingest.db import docktime, findings
from bodycam_ingest.db.docktime import DOUBT_CODE, NTP, PERSON, SUBJECT, Known, Word
from bodycam_ingest.linux import clock

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.ledger import LedgerWriter, Txn

log = structlog.get_logger(__name__)

STEP_MS: Final = 1_000
# A smaller step is told in the ledger; a larger one is told to people, and undoes waits.
_LARGE_MS: Final = 60_000
# A dock may be off over a long weekend without anybody wondering what its clock says after it.
# Longer, only NTP or a person knows; and no reboot makes copies older by more.
GAP_MAX_MS: Final = 4 * 24 * 3_600_000
# So often the reading is kept, for the next boot.
_KEEP_EVERY_MS: Final = 15 * 60_000


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


@dataclass(frozen=True, slots=True)
class Judged:
    """What a look at the clocks says.

    Args:
        known: the reading, with dock time.
        word: who vouches for the clock now.
        step_ms: by how much it was stepped within this boot, 0 when it was not.
        moved_ms: how far it is from where it was expected, ms; across a reboot, too.
    """

    known: Known
    word: Word
    step_ms: int = 0
    moved_ms: int = 0


def judge(
    before: Known | None, word: Word, now: clock.Reading, *, synchronised: bool | None
) -> Judged:
    """Compare a look at the clocks with the one before (pure).

    Args:
        before: the look before, None at the very first.
        word: who vouched for the clock then.
        now: the clocks.
        synchronised: whether the kernel says that NTP keeps the clock; None where that cannot be
            told, which counts as no.
    """
    step_ms = moved_ms = stepped_ms(before.reading if before else None, now)
    vouched, doubt = word.vouched, word.doubt
    dock_ms = 0
    if before is not None and before.reading.boot_id == now.boot_id:
        dock_ms = before.dock_ms_at(now.boottime_ms)
        if step_ms > 0:
            vouched, doubt = "", docktime.STEPPED
    elif before is not None:
        gap_ms = round((now.wall - before.reading.wall).total_seconds() * 1000)
        dock_ms = before.dock_ms + min(max(0, gap_ms), GAP_MAX_MS)
        if gap_ms > GAP_MAX_MS:
            vouched, doubt, moved_ms = "", docktime.RAN_AHEAD, gap_ms
        elif gap_ms < 0:
            moved_ms = gap_ms
            vouched = "" if vouched == PERSON else vouched
    if synchronised and step_ms <= 0:
        vouched, doubt = NTP, ""
    elif vouched != PERSON:
        vouched, doubt = "", doubt or docktime.UNSYNCHRONISED
    since = word.since if doubt and word.doubt == doubt else ""
    if doubt and not since:
        since = clock.rfc3339(now.wall)
    return Judged(Known(now, dock_ms), Word(vouched, doubt, since), step_ms, moved_ms)


def confirm(txn: Txn, *, reason: str, actor: Actor) -> Word:
    """Record that a person vouches for the clock as it stands now.

    Args:
        txn: the open transaction.
        reason: how the person knows.
        actor: who.

    Returns:
        Who vouched for it before, or why nobody did.
    """
    synchronised = clock.synchronised()
    found = judge(
        docktime.known(txn.conn),
        docktime.word(txn.conn),
        clock.read(),
        synchronised=synchronised,
    )
    _keep(txn, found, synchronised=synchronised)
    docktime.put_word(txn, Word(PERSON))
    txn.append(
        "clock.confirmed",
        SUBJECT,
        {"reason": reason, "doubt": found.word.doubt, "ntp_synchronised": synchronised},
        actor=actor,
    )
    findings.close_finding(txn, code=DOUBT_CODE, subject=SUBJECT)
    return found.word


def _keep(txn: Txn, found: Judged, *, synchronised: bool | None) -> None:
    docktime.keep(txn, found.known)
    if found.step_ms:
        data = {"step_ms": found.step_ms, "ntp_synchronised": synchronised}
        txn.append("clock.stepped", SUBJECT, data)
    if found.moved_ms <= -_LARGE_MS:
        docktime.lift_waits(txn, clock.now_ms())


class ClockWatch:
    """Compares the clocks at every tick with the last tick, also across restarts.

    Args:
        engine: for reads.
        ledger: the only way to write.
    """

    def __init__(self, engine: Engine, ledger: LedgerWriter) -> None:
        self._engine = engine
        self._ledger = ledger
        self._synchronised: bool | None = None
        with engine.connect() as conn:
            self._last = self._kept = docktime.known(conn)
            self._word = docktime.word(conn)
            self._undated = docktime.any_undated(conn)
        self._seen_commits = ledger.commits
        # At once: whatever is released from now on is dated by it.
        self.tick()

    def tick(self) -> int:
        """Look at the clocks; returns the step that was recorded, ms, 0 when none."""
        if self._word.doubt and self._ledger.commits != self._seen_commits:
            # A person may have vouched for it meanwhile.
            self._seen_commits = self._ledger.commits
            with self._engine.connect() as conn:
                self._word = docktime.word(conn)
        now, synchronised = clock.read(), clock.synchronised()
        found = judge(self._last, self._word, now, synchronised=synchronised)
        if self._is_news(found):
            with self._ledger.transaction() as txn:
                # The person's command kept a reading, too, and recorded a step up to then.
                before = _later(self._last, docktime.known(txn.conn))
                word = docktime.word(txn.conn)
                found = judge(before, word, now, synchronised=synchronised)
                self._record(txn, found, synchronised=synchronised)
            self._kept = found.known
        if found.step_ms:
            log.warning("clock.stepped", step_ms=found.step_ms, ntp_synchronised=synchronised)
        if synchronised is False and self._synchronised is not False:
            log.warning("clock.unsynchronised")
        self._last, self._word, self._synchronised = found.known, found.word, synchronised
        return found.step_ms

    def _is_news(self, found: Judged) -> bool:
        kept = self._kept
        if kept is None or kept.reading.boot_id != found.known.reading.boot_id:
            return True
        if found.step_ms or found.word != self._word or (self._undated and not found.word.doubt):
            return True
        return found.known.reading.boottime_ms - kept.reading.boottime_ms >= _KEEP_EVERY_MS

    def _record(self, txn: Txn, found: Judged, *, synchronised: bool | None) -> None:
        _keep(txn, found, synchronised=synchronised)
        docktime.put_word(txn, found.word)
        if not found.word.doubt:
            findings.close_finding(txn, code=DOUBT_CODE, subject=SUBJECT)
            if self._undated:
                docktime.date_releases(txn, found.known)
                self._undated = False
        elif found.moved_ms >= _LARGE_MS:
            docktime.raise_doubt(txn, found.word)


def _later(one: Known | None, other: Known | None) -> Known | None:
    """The later of two readings of one boot; the first where they cannot be compared."""
    if one is None or other is None or one.reading.boot_id != other.reading.boot_id:
        return one or other
    return one if one.reading.boottime_ms > other.reading.boottime_ms else other
