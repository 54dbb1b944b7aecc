"""How long a retry waits, whether its time has come, and when uploads may run.

Pure. Failures in a row and due times live in the database, so that a restart neither forgets nor
repeats a wait. A persisted due time is a time of day, and clocks are set: `is_due` and `wait_s` are
the only ones that judge it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, overload

from bodycam_ingest.errors import DelayClass

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa

_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DOUBLINGS_MAX: Final = 40
_DAY_MINUTES: Final = 24 * 60

# A store that asks for more is asked again after that all the same.
LONGEST_S: Final = 6 * _HOUR_S
# No wait is longer; a due time beyond was written before the clock was set back.
HORIZON_MS: Final = round(LONGEST_S * 1000) + 60_000
# A clock that is kept right may be slewed by so much between two looks.
_SLEW_MS: Final = 60_000
# So long without any progress may a transient fault last before a person is told.
TRANSIENT_ALARM_AFTER_S: Final = _HOUR_S
# Times in a row that a store may receive other bytes than were sent before a person is told.
INTEGRITY_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Delays:
    """The delays of one class: upper bound of the first wait, upper and lower bound of any."""

    initial_s: float
    max_s: float
    floor_s: float = 0.0

    def bounds_s(self, attempts: int) -> tuple[float, float]:
        """Lowest and highest wait after so many failures in a row (from 1), s."""
        doublings = min(max(attempts, 1) - 1, _DOUBLINGS_MAX)
        return self.floor_s, max(self.floor_s, min(self.max_s, self.initial_s * 2**doublings))


# Short waits jitter down to nothing: a whole station's docks come back from one outage. The others
# wait at least their floor: asking sooner is what they were told not to do, or is of no use.
TABLE: Final[Mapping[DelayClass, Delays]] = {
    DelayClass.SHORT: Delays(initial_s=1.0, max_s=5 * _MINUTE_S),
    DelayClass.THROTTLED: Delays(30.0, 15 * _MINUTE_S, floor_s=15.0),
    DelayClass.CLOCK: Delays(2 * _MINUTE_S, 5 * _MINUTE_S, floor_s=_MINUTE_S),
    DelayClass.CREDENTIALS: Delays(2 * _MINUTE_S, 30 * _MINUTE_S, floor_s=_MINUTE_S),
    DelayClass.MENDABLE: Delays(_MINUTE_S, 30 * _MINUTE_S, floor_s=_MINUTE_S / 2),
    DelayClass.SLOW: Delays(30 * _MINUTE_S, LONGEST_S, floor_s=15 * _MINUTE_S),
}


class Delay(Protocol):
    """Seconds until the next try; `delay_s` with the dock's own figures."""

    def __call__(
        self, delay_class: DelayClass, attempts: int, retry_after_s: float | None = None
    ) -> float:
        """As `delay_s`."""
        ...


def delay_s(
    delay_class: DelayClass,
    attempts: int,
    retry_after_s: float | None = None,
    *,
    uniform: Callable[[float, float], float],
    short: Delays = TABLE[DelayClass.SHORT],
) -> float:
    """Seconds until the next try, drawn evenly between the bounds ("full jitter").

    Args:
        delay_class: of the fault that was met.
        attempts: failures in a row, the last one included.
        retry_after_s: what the store itself asked for, None when it did not.
        uniform: draws a figure between two, as `random.uniform`.
        short: the delays of the short class, which are configured. The other classes are what
            stores and admins ask for.

    Returns:
        Not less than the store asked for, up to 6 hours.
    """
    delays = short if delay_class is DelayClass.SHORT else TABLE[delay_class]
    return max(uniform(*delays.bounds_s(attempts)), min(retry_after_s or 0.0, LONGEST_S))


@overload
def is_due(due_ms: int, now_ms: int) -> bool: ...


@overload
def is_due(due_ms: sa.ColumnElement[int], now_ms: int) -> sa.ColumnElement[bool]: ...


def is_due(due_ms: Any, now_ms: int) -> Any:
    """Whether a due time has come; one beyond the horizon is a clock that was set back.

    Times are ms since 1970; a column makes this a condition of a query.
    """
    return (due_ms <= now_ms) | (due_ms > now_ms + HORIZON_MS)


def wait_s(due_ms: int, now_ms: int) -> float:
    """Seconds until a persisted due time comes, 0 when it has; judged as `is_due` does."""
    return 0.0 if is_due(due_ms, now_ms) else (due_ms - now_ms) / 1000


def has_lasted(since_ms: int, now_ms: int, lasting_s: float) -> bool:
    """Whether something has lasted for so long, by two readings of a clock that may be set.

    A beginning that lies in the future was written before the clock was set back. Nobody knows then
    how long it has lasted, and whoever waits for the end of that wait must not wait for a year.
    """
    age_ms = now_ms - since_ms
    return age_ms >= lasting_s * 1000 or age_ms < -_SLEW_MS


@dataclass(frozen=True, slots=True)
class UploadWindow:
    """A time of day in which uploads run, in the dock's local time; it may pass midnight.

    Minutes count from midnight, the end exclusive.
    """

    start_minute: int
    end_minute: int


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How much of the dock's line one store may use, and when.

    Args:
        bandwidth_limit_bytes_per_s: 0 sets no limit.
        windows: local times of day in which it is sent to; none means always.
        shared: the limit is for all stores together that share it; else the store's own.
    """

    bandwidth_limit_bytes_per_s: int = 0
    windows: Sequence[UploadWindow] = ()
    shared: bool = True


def closed_for_s(windows: Sequence[UploadWindow], local: dt.datetime) -> float:
    """Seconds until uploads may run at a local time: 0 inside of a window, or without any."""
    if not windows:
        return 0.0
    now_s = (local.hour * 60 + local.minute) * 60 + local.second
    waits = []
    for window in windows:
        length = (window.end_minute - window.start_minute) % _DAY_MINUTES
        since_s = (now_s - window.start_minute * 60) % (_DAY_MINUTES * 60)
        if since_s < length * 60:
            return 0.0
        waits.append(float(_DAY_MINUTES * 60 - since_s))
    return min(waits)
