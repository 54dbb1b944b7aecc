"""Calls that must come to an end: what does not answer in time is left to itself.

A pipe in place of a file, a hanging mount, a server that sends a byte an hour: a thread that waits
for one of them cannot be ended from here. It is left behind, and ends with the process.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# What a store may take before it answers, s; its own time-outs are shorter.
SILENCE_MAX_S: Final = 300.0
_POLL_MAX_S: Final = 1.0


class LeftBehindError(TimeoutError):
    """It did not answer in time, and is not waited for any more."""


class _Call(Generic[T]):
    """One call in a thread of its own."""

    def __init__(self, do: Callable[[Callable[[], None]], T]) -> None:
        self._do = do
        self._left_behind = False
        self.last_beat_s = time.monotonic()
        self.value: list[T] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="patience", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.value.append(self._do(self._beat))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.error = error

    def _beat(self) -> None:
        if self._left_behind:
            raise LeftBehindError("nobody waits for this any more")
        self.last_beat_s = time.monotonic()

    def leave_behind(self) -> None:
        """Have it end at its next beat, should it ever come to one."""
        self._left_behind = True


def within(
    do: Callable[[Callable[[], None]], T], what: str, *, silence_max_s: float = SILENCE_MAX_S
) -> T:
    """Call something, and wait for it only as long as it moves.

    Args:
        do: called with a function that it calls whenever it got on.
        what: what it is, for people.
        silence_max_s: how long it may be silent, s.

    Raises:
        LeftBehindError: it was silent for too long.
        BaseException: whatever it raised.
    """
    call = _Call(do)
    while True:
        left_s = call.last_beat_s + silence_max_s - time.monotonic()
        call.thread.join(min(_POLL_MAX_S, max(0.0, left_s)))
        if not call.thread.is_alive():
            break
        if left_s <= 0:
            call.leave_behind()
            raise LeftBehindError(f"{what} did not answer within {silence_max_s:.0f} s")
    if call.error is not None:
        raise call.error
    return call.value[0]
