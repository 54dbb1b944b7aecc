"""Draws the next wait of a persisted number of tries, with tenacity's full-jitter strategy.

The loop itself is not tenacity's: attempts and next times live in the database, so that a restart
neither forgets nor repeats a wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenacity import RetryCallState, Retrying, wait_random_exponential

from bodycam_ingest.backoff import INITIAL_S_DEFAULT, LONGEST_S, MAX_S_DEFAULT, delay_bounds

if TYPE_CHECKING:
    from bodycam_ingest.errors import DelayClass


class RetryDelays:
    """Waits by delay class.

    Args:
        initial_s: limit of the first wait after a transient fault.
        max_s: limit of every wait after a transient fault.
    """

    def __init__(self, initial_s: float = INITIAL_S_DEFAULT, max_s: float = MAX_S_DEFAULT) -> None:
        self._bounds = delay_bounds(initial_s, max_s)
        self._waits = {
            delay_class: wait_random_exponential(
                multiplier=bounds.initial_s, max=bounds.max_s, min=bounds.floor_s
            )
            for delay_class, bounds in self._bounds.items()
        }

    def next_delay_s(
        self, delay_class: DelayClass, attempts: int, retry_after_s: float | None = None
    ) -> float:
        """Seconds until the next try.

        Args:
            delay_class: of the fault that was met.
            attempts: failed tries in a row, the last one included; 1 after the first.
            retry_after_s: what the store itself asked for, None when it did not.

        Returns:
            A wait drawn anew at each call; never shorter than the store asked for, up to 6 hours.
        """
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = max(1, attempts)
        drawn = self._waits[delay_class](state)
        if retry_after_s is not None:
            drawn = max(drawn, min(retry_after_s, LONGEST_S))
        return drawn
