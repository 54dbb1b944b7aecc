"""Watches the dock's clock: records its steps, keeps the dock's own time, says who vouches for it.

A step is never a reason not to record. What hangs on the clock is destruction: while nobody vouches
for it, retention lets no copy go by its age.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest.custody import entries
from bodycam_ingest.custody.entry import SYSTEM
from bodycam_ingest.db import dock_time, findings
from bodycam_ingest.db.dock_time import DOUBT_CODE, NTP, PERSON, Known, Word
from bodycam_ingest.db.row_check import told_clock
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model import subjects

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.ledger import LedgerWriter, Txn
    from bodycam_ingest.model.rows import DockClock


STEP_MS: Final = 1_000
# A smaller step is told in the ledger; a larger one is told to people, and undoes waits.
_LARGE_MS: Final = 60_000
# A dock may be off over a long weekend without anybody wondering what its clock says after it.
# Longer, only NTP or a person knows; and no reboot makes copies older by more.
GAP_MAX_MS: Final = 4 * 24 * 3_600_000


def stepped_ms(before: clock.Reading | None, now: clock.Reading) -> int:
    """By how many ms the clock was stepped forward between two readings of one boot (pure).

    Without an earlier reading, or with one of another boot, and for what slewing explains it is 0.
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
    """Compare a look at the clocks with the one before, and the word that held then (pure).

    `synchronised` is whether the kernel says that NTP keeps the clock; None, where that cannot be
    told, counts as no.
    """
    step_ms = moved_ms = stepped_ms(before.reading if before else None, now)
    vouched, doubt = word.vouched, word.doubt
    dock_ms = 0
    if before is not None and before.reading.boot_id == now.boot_id:
        dock_ms = before.dock_ms_at(now.boottime_ms)
        if step_ms > 0:
            vouched, doubt = "", dock_time.STEPPED
    elif before is not None:
        gap_ms = round((now.wall - before.reading.wall).total_seconds() * 1000)
        dock_ms = before.dock_ms + min(max(0, gap_ms), GAP_MAX_MS)
        if gap_ms > GAP_MAX_MS:
            vouched, doubt, moved_ms = "", dock_time.RAN_AHEAD, gap_ms
        elif gap_ms < 0:
            moved_ms = gap_ms
            vouched = "" if vouched == PERSON else vouched
    if synchronised and step_ms <= 0:
        vouched, doubt = NTP, ""
    elif vouched != PERSON:
        vouched, doubt = "", doubt or dock_time.UNSYNCHRONISED
    since = word.since if doubt and word.doubt == doubt else ""
    if doubt and not since:
        since = clock.rfc3339(now.wall)
    return Judged(Known(now, dock_ms), Word(vouched, doubt, since), step_ms, moved_ms)


def confirm(txn: Txn, *, reason: str, actor: Actor) -> Word:
    """Record that a person vouches for the clock as it stands now; returns the word before that."""
    now, synchronised = clock.read(), clock.synchronised()
    found = _look(txn.conn, told_clock(txn.conn), now, synchronised=synchronised)
    confirmed = dataclasses.replace(found, word=Word(PERSON))
    _record(txn, confirmed, synchronised=synchronised, actor=actor)
    doubt = found.word.doubt
    txn.add(
        entries.clock_confirmed(reason=reason, doubt=doubt, ntp_synchronised=synchronised),
        actor=actor,
    )
    return found.word


def _look(
    conn: Connection, row: DockClock | None, now: clock.Reading, *, synchronised: bool | None
) -> Judged:
    before = dock_time.known(conn, row, now.boot_id) if row else None
    return judge(before, dock_time.word_of(row), now, synchronised=synchronised)


def _is_news(found: Judged, row: DockClock | None) -> bool:
    if row is None or row.boot != found.known.reading.boot_id:
        return True
    return bool(found.step_ms) or found.word != dock_time.word_of(row)


def _record(txn: Txn, found: Judged, *, synchronised: bool | None, actor: Actor = SYSTEM) -> None:
    checked = entries.clock_checked(
        dock_ms=found.known.dock_ms,
        vouched=found.word.vouched,
        doubt=found.word.doubt,
        since=found.word.since,
        step_ms=found.step_ms,
        ntp_synchronised=synchronised,
    )
    txn.add(checked, actor=actor)
    if found.moved_ms <= -_LARGE_MS:
        dock_time.lift_waits(txn, clock.now_ms())
    if not found.word.doubt:
        findings.close_finding(txn, code=DOUBT_CODE, subject=subjects.CLOCK)
    elif found.moved_ms >= _LARGE_MS:
        dock_time.raise_doubt(txn, found.word)


class ClockWatch:
    """Compares the clocks at every tick with what was recorded of them last."""

    def __init__(self, engine: Engine, ledger: LedgerWriter) -> None:
        self._engine = engine
        self._ledger = ledger
        self._synchronised: bool | None = None
        self._row: DockClock | None = None
        self._known: Known | None = None
        self._seen_commits = -1
        # At once: whatever is released from now on is dated by it.
        self.tick()

    def tick(self) -> int:
        """Look at the clocks; returns the step that was recorded, ms, 0 when none."""
        now, synchronised = clock.read(), clock.synchronised()
        if self._ledger.commits != self._seen_commits:
            # A person may have vouched for it meanwhile.
            self._seen_commits = self._ledger.commits
            with self._engine.connect() as conn:
                self._row = told_clock(conn)
                self._known = dock_time.known(conn, self._row, now.boot_id) if self._row else None
        found = judge(self._known, dock_time.word_of(self._row), now, synchronised=synchronised)
        if _is_news(found, self._row):
            with self._ledger.transaction() as txn:
                row = told_clock(txn.conn)
                found = _look(txn.conn, row, now, synchronised=synchronised)
                if _is_news(found, row):
                    _record(txn, found, synchronised=synchronised)
        if found.step_ms:
            log.warning("clock.stepped", step_ms=found.step_ms, ntp_synchronised=synchronised)
        if synchronised is False and self._synchronised is not False:
            log.warning("clock.unsynchronised")
        self._synchronised = synchronised
        return found.step_ms
