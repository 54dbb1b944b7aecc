"""The dock's own time, and whether anybody vouches for its clock.

Dock time is what this dock knows to have passed, in ms. While it runs it is the time since boot,
which nobody sets; a reboot adds what the clock says was between, within bounds. Retention measures
by it, so that no step of the clock makes a copy older than it is.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.db import facts, findings
from bodycam_ingest.db.schema import item, outbox, store_work, upload
from bodycam_ingest.linux import clock
from bodycam_ingest.model.backoff import HORIZON_MS
from bodycam_ingest.model.lifecycle import ItemState

if TYPE_CHECKING:
    from bodycam_ingest.db.ledger import Txn

_READING: Final = "clock"
_WORD: Final = "clock_word"

NTP: Final = "ntp"
PERSON: Final = "person"

UNSYNCHRONISED: Final = "unsynchronised"
STEPPED: Final = "stepped_forward"
RAN_AHEAD: Final = "ran_ahead_while_off"

DOUBT_CODE: Final = "clock_in_doubt"
SUBJECT: Final = "clock"
_DETAIL: Final = (
    "nobody vouches for the dock's clock ({doubt}); no copy is purged by its age until NTP does, "
    "or a person does by `bodycam-ingest clock confirm --reason TEXT`"
)


@dataclass(frozen=True, slots=True)
class Known:
    """A reading of the clocks with the dock's own time at it.

    Args:
        reading: the clocks.
        dock_ms: dock time, ms.
    """

    reading: clock.Reading
    dock_ms: int

    def dock_ms_at(self, boottime_ms: int) -> int:
        """Dock time at a later moment of the same boot."""
        return self.dock_ms + max(0, boottime_ms - self.reading.boottime_ms)


@dataclass(frozen=True, slots=True)
class Word:
    """Who says that the clock is right.

    Args:
        vouched: `ntp`, `person`, or empty while nobody does.
        doubt: why nobody does, empty while somebody does.
        since: RFC 3339, when the doubt began.
    """

    vouched: str = ""
    doubt: str = ""
    since: str = ""


def known(conn: sa.Connection) -> Known | None:
    """The reading that was kept last, None before the first."""
    text = facts.get(conn, _READING)
    if not text:
        return None
    kept = json.loads(text)
    reading = clock.Reading(
        wall=clock.parse_rfc3339(kept["wall"]),
        boottime_ms=kept["boottime_ms"],
        boot_id=kept["boot_id"],
    )
    return Known(reading, kept.get("dock_ms", 0))


def keep(txn: Txn, now: Known) -> None:
    """Keep a reading."""
    kept = {
        "wall": clock.rfc3339(now.reading.wall),
        "boottime_ms": now.reading.boottime_ms,
        "boot_id": now.reading.boot_id,
        "dock_ms": now.dock_ms,
    }
    facts.put(txn.conn, _READING, json.dumps(kept))


def word(conn: sa.Connection) -> Word:
    """Who says that the clock is right."""
    text = facts.get(conn, _WORD)
    return Word(**json.loads(text)) if text else Word()


def put_word(txn: Txn, said: Word) -> None:
    """Keep who says that the clock is right."""
    facts.put(txn.conn, _WORD, json.dumps(asdict(said)))


def raise_doubt(txn: Txn, word: Word) -> None:
    """Tell people that nobody vouches for the clock, unless they were told."""
    findings.raise_finding(
        txn,
        code=DOUBT_CODE,
        severity="notice",
        subject=SUBJECT,
        detail=_DETAIL.format(doubt=word.doubt),
    )


def doubt_is_known(conn: sa.Connection) -> bool:
    """Whether people were told that nobody vouches for the clock."""
    return (DOUBT_CODE, SUBJECT) in findings.open_pairs(conn, [DOUBT_CODE])


def now_ms(conn: sa.Connection) -> int:
    """Dock time now, ms; 0 before the clocks were ever read."""
    kept = known(conn)
    if kept is None:
        return 0
    now = clock.read()
    same_boot = now.boot_id == kept.reading.boot_id
    return kept.dock_ms_at(now.boottime_ms) if same_boot else kept.dock_ms


def any_undated(conn: sa.Connection) -> bool:
    """Whether an item was released by a version that did not keep dock time."""
    found = conn.execute(
        sa.select(item.c.item_id)
        .where(_is_released(), item.c.purging_seq.is_(None), item.c.released_dock_ms.is_(None))
        .limit(1)
    ).scalar()
    return found is not None


def date_releases(txn: Txn, now: Known) -> None:
    """Give items that were released without dock time their age, by a clock that is vouched for."""
    wall = clock.rfc3339(now.reading.wall)
    age_days = sa.func.julianday(wall) - sa.func.julianday(item.c.released_at)
    age_ms = sa.cast(sa.func.max(0, age_days) * 86_400_000, sa.BigInteger)
    txn.conn.execute(
        item.update()
        .where(_is_released(), item.c.released_dock_ms.is_(None))
        .values(released_dock_ms=now.dock_ms - age_ms)
    )


def lift_waits(txn: Txn, wall_ms: int) -> None:
    """After the clock was set back: whatever waits is due now, and not hours later than it was.

    Args:
        txn: the open transaction.
        wall_ms: the time now, ms since 1970.
    """
    for column in (
        item.c.due_ms,
        upload.c.due_ms,
        outbox.c.due_ms,
        store_work.c.paused_until_ms,
    ):
        # What lies beyond the horizon counts as due anyway.
        txn.conn.execute(
            column.table.update()
            .where(column > wall_ms, column <= wall_ms + HORIZON_MS)
            .values({column.name: 0})
        )


def _is_released() -> sa.ColumnElement[bool]:
    return item.c.state == sa.bindparam(None, ItemState.RELEASED.value, literal_execute=True)
