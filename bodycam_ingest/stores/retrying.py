"""Draws how long a retry waits. Tenacity is the engine; nothing here sleeps.

A worker does not sit on a retry: the time is written into the database, and whoever is free
then takes the work up, also after a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import tenacity


if TYPE_CHECKING:
    from bodycam_ingest.backoff import Schedule
    from bodycam_ingest.errors import DelayClass

_DAY_S = 86_400.0


class NextDelay:
    """Exponential back-off with full jitter, by the class of the fault.

    Args:
        schedule: the delays of this dock.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule

    def __call__(
        self, delay_class: DelayClass, attempts: int, retry_after_s: float | None = None
    ) -> float:
        """Seconds until the next try.

        Args:
            delay_class: of the fault.
            attempts: failures in a row, from 1.
            retry_after_s: what the store asked for, s; it is waited for at least, a day at most.

        Returns:
            Seconds, within the bounds of `Schedule.delays` or later where the store says so.
        """
        delays = self._schedule.delays(delay_class)
        wait = tenacity.wait_random_exponential(
            multiplier=delays.initial_s, max=delays.max_s, min=delays.floor_s
        )
        state = tenacity.RetryCallState(
            retry_object=tenacity.Retrying(), fn=None, args=(), kwargs={}
        )
        state.attempt_number = max(1, attempts)
        drawn_s = float(wait(state))
        return max(drawn_s, min(retry_after_s or 0.0, _DAY_S))
