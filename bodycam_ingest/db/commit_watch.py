"""Spares a worker its questions to the database while nothing can be new in there.

Whatever changes there is committed by the one ledger writer. While its count of commits stands
still, only the passing of time makes something due, and a worker knows when that will be.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# Not longer than this without a look, whatever was thought: clocks are set, programs have defects.
LONGEST_S: Final = 15.0


class CommitWatch:
    """Whether there may be something new for one worker; used by that worker's thread alone.

    What is committed within `gather_s` after a look is looked at together; for `settles_s` after a
    commit time alone may make something due.
    """

    def __init__(
        self,
        commits: Callable[[], int],
        *,
        gather_s: float = 0.0,
        settles_s: float = 0.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._commits = commits
        self._gather_s = gather_s
        self._settles_s = settles_s
        self._now_s = now_s
        self._seen = -1
        self._changed_s = 0.0
        self._not_before_s = 0.0
        self._until_s = 0.0

    def due(self) -> bool:
        """Whether the worker should look; asked before it does, so that nothing falls between."""
        commits, now_s = self._commits(), self._now_s()
        if commits != self._seen and now_s >= self._not_before_s:
            self._seen, self._changed_s = commits, now_s
            return True
        return now_s >= self._until_s or now_s < self._changed_s + self._settles_s

    def wait_s(self) -> float:
        """Seconds until the worker should look if nothing is committed; a commit wakes it."""
        next_s = self._until_s
        if self._commits() != self._seen:
            next_s = min(next_s, self._not_before_s)
        return max(0.0, next_s - self._now_s())

    def looked(self, wait_s: float | None = None) -> None:
        """Note that it looked; `wait_s` until something will be due, None when nothing waits."""
        now_s = self._now_s()
        self._not_before_s = now_s + self._gather_s
        self._until_s = now_s + (LONGEST_S if wait_s is None else min(wait_s, LONGEST_S))
