"""Draws the next wait after a persisted number of failures, with tenacity's full-jitter strategy.

The loop itself is not tenacity's: failures and next times live in the database, so that a restart
neither forgets nor repeats a wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenacity import RetryCallState, Retrying, wait_random_exponential

from bodycam_ingest.model.backoff import LONGEST_S, Schedule

if TYPE_CHECKING:
    from bodycam_ingest.errors import DelayClass


class RetryPolicy:
    """Waits by delay class.

    Args:
        initial_s: highest first wait after a transient fault, s.
        max_s: highest wait after a transient fault, s.
    """

    def __init__(self, initial_s: float, max_s: float) -> None:
        self._schedule = Schedule(initial_s, max_s)

    def delay_s(
        self, delay_class: DelayClass, attempts: int, retry_after_s: float | None = None
    ) -> float:
        """Seconds until the next try.

        Args:
            delay_class: of the fault that was met.
            attempts: failures in a row, the last one included.
            retry_after_s: what the store itself asked for, None when it did not.

        Returns:
            A wait drawn anew at each call; not shorter than the store asked for, up to 6 hours.
        """
        delays = self._schedule.delays(delay_class)
        draw = wait_random_exponential(
            multiplier=delays.initial_s, max=delays.max_s, min=delays.floor_s
        )
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = max(1, attempts)
        drawn = max(delays.floor_s, draw(state))
        if retry_after_s is not None:
            drawn = max(drawn, min(retry_after_s, LONGEST_S))
        return drawn
