"""The dock's own time, and whether anybody vouches for its clock.

Dock time is what this dock knows to have passed, in ms. While it runs it is the time since boot,
which nobody sets; a reboot adds what the clock says was between, within bounds. Purger measures
by it, so that no step of the clock makes a copy older than it is. `clock.checked` entries say what
it was, and every entry of the same boot how much passed since. It decides what is deleted, so it is
read from its entry, and the row that is made of it decides nothing.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.custody.entry import parse_entry
from bodycam_ingest.db import findings
from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.row_check import told_clock
from bodycam_ingest.db.schema import item_work, ledger_entry, object_work, store_work, upload_work
from bodycam_ingest.linux import clock
from bodycam_ingest.model import subjects
from bodycam_ingest.model.backoff import HORIZON_MS

if TYPE_CHECKING:
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.model.rows import DockClock

NTP: Final = "ntp"
PERSON: Final = "person"

UNSYNCHRONISED: Final = "unsynchronised"
STEPPED: Final = "stepped_forward"
RAN_AHEAD: Final = "ran_ahead_while_off"

DOUBT_CODE: Final = "clock_in_doubt"
_DETAIL: Final = (
    "nobody vouches for the dock's clock ({doubt}); no copy is purged by its age until NTP does, "
    "or a person does by `bodycam-ingest clock confirm --reason TEXT`"
)


@dataclass(frozen=True, slots=True)
class Known:
    """A reading of the clocks with the dock's own time at it, ms."""

    reading: clock.Reading
    dock_ms: int

    def dock_ms_at(self, boottime_ms: int) -> int:
        """Dock time at a later moment of the same boot."""
        return self.dock_ms + max(0, boottime_ms - self.reading.boottime_ms)


@dataclass(frozen=True, slots=True)
class Word:
    """Who vouches for the clock: `ntp`, `person` or empty, as of `doubt` which began at `since`."""

    vouched: str = ""
    doubt: str = ""
    since: str = ""


def known(conn: sa.Connection, row: DockClock, boot_id: str) -> Known:
    """How the clocks stood when the dock is known to have run last, had nobody set them since.

    `row` is the clock as recorded last; what passed in the boot of now needs no entry to be known.
    """
    passed_ms = 0
    if row.boot != boot_id:
        passed_ms = max(0, _last_mono_ms(conn, row.boot) - row.mono_ms)
    wall = clock.parse_rfc3339(row.checked_at) + dt.timedelta(milliseconds=passed_ms)
    reading = clock.Reading(wall, row.mono_ms + passed_ms, row.boot)
    return Known(reading, row.dock_ms + passed_ms)


def _last_mono_ms(conn: sa.Connection, boot_id: str) -> int:
    """Time since boot at the newest entry of a boot, ms."""
    bodies = sa.select(ledger_entry.c.body).where(ledger_entry.c.log_id == LOG_ID)
    newest_first = bodies.order_by(ledger_entry.c.seq.desc())
    for body in conn.execute(newest_first, execution_options={"yield_per": 10}).scalars():
        moment = parse_entry(body).moment
        if moment.boot == boot_id:
            return moment.mono
    return 0


def word(conn: sa.Connection) -> Word:
    """Who says that the clock is right."""
    return word_of(told_clock(conn))


def word_of(row: DockClock | None) -> Word:
    """The same, from a row."""
    return Word(row.vouched, row.doubt, row.since) if row else Word()


def raise_doubt(txn: Txn, word: Word) -> None:
    """Tell people that nobody vouches for the clock, unless they were told."""
    findings.notice(txn, subjects.CLOCK, DOUBT_CODE, _DETAIL.format(doubt=word.doubt))


def doubt_is_known(conn: sa.Connection) -> bool:
    """Whether people were told that nobody vouches for the clock."""
    return (DOUBT_CODE, subjects.CLOCK) in findings.open_pairs(conn, [DOUBT_CODE])


def now_ms(conn: sa.Connection) -> int:
    """Dock time now, ms; 0 before the clocks were ever read."""
    row = told_clock(conn)
    if row is None:
        return 0
    now = clock.read()
    # In a boot that nothing was recorded of yet, nothing is known to have passed.
    passed_ms = now.boottime_ms - row.mono_ms if now.boot_id == row.boot else 0
    return row.dock_ms + max(0, passed_ms)


def lift_waits(txn: Txn, wall_ms: int) -> None:
    """After the clock was set back to `wall_ms`: what waits is due now, and not hours later."""
    for column in (
        item_work.c.due_ms,
        upload_work.c.due_ms,
        object_work.c.due_ms,
        store_work.c.paused_until_ms,
    ):
        # What lies beyond the horizon counts as due anyway.
        txn.conn.execute(
            column.table.update()
            .where(column > wall_ms, column <= wall_ms + HORIZON_MS)
            .values({column.name: 0})
        )
