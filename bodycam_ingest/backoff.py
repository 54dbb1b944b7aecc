"""How long a retry waits, by the class of its fault. Pure: a table and its bounds.

The wait is drawn at random between nothing and a limit that doubles with every failed try (full
jitter), from `initial_s` up to `max_s`; `bodycam_ingest.stores.retrying` draws it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import DelayClass

if TYPE_CHECKING:
    from collections.abc import Mapping

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0

INITIAL_S_DEFAULT: Final = 1.0
MAX_S_DEFAULT: Final = 5 * _MINUTE_S
# Nothing may wait longer than that: a person who mended the cause sees it taken up the same day.
LONGEST_S: Final = 6 * _HOUR_S
# So long without any progress may a link be down before a person is told.
TRANSIENT_ALARM_AFTER_S: Final = _HOUR_S
INTEGRITY_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of a wait.

    Args:
        initial_s: limit of the first wait.
        max_s: limit of all waits.
        floor_s: no wait is shorter.
    """

    initial_s: float
    max_s: float
    floor_s: float = 0.0


def delay_bounds(
    initial_s: float = INITIAL_S_DEFAULT, max_s: float = MAX_S_DEFAULT
) -> Mapping[DelayClass, Bounds]:
    """The limits of each delay class.

    Args:
        initial_s: as configured, for transient faults.
        max_s: as configured, for transient faults.
    """
    return {
        DelayClass.SHORT: Bounds(initial_s, max_s),
        DelayClass.THROTTLED: Bounds(15.0, 15 * _MINUTE_S, floor_s=5.0),
        DelayClass.CLOCK: Bounds(_MINUTE_S, 5 * _MINUTE_S, floor_s=30.0),
        DelayClass.CREDENTIALS: Bounds(_MINUTE_S, 30 * _MINUTE_S, floor_s=30.0),
        DelayClass.SLOW: Bounds(15 * _MINUTE_S, LONGEST_S, floor_s=5 * _MINUTE_S),
    }
