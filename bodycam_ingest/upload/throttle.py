"""Keeps uploads below a rate, and out of the way of copying; a long wait is seen to be one."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from bodycam_ingest.errors import AbandonedError

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE_BYTES: Final = 256 * 1024
# A slow line makes even one piece a long wait.
_BEAT_EVERY_S: Final = 5.0
# Measured: a tenth of the machine leaves copying more than 80 % of its speed.
_WAIT_FOR_EACH: Final = 9.0
_SPENT_MAX_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.1


class Budget(Protocol):
    """What says when bytes may move."""

    def take(self, count: int, heartbeat: Callable[[], None]) -> None:
        """As `Throttle.take`."""
        ...


class Throttle:
    """A budget of bytes a second that all who ask share, in the order in which they ask.

    Args:
        rate: bytes a second, as configured now; 0 sets no limit.
        stop: set when the process must end.
    """

    def __init__(self, rate: Callable[[], int], stop: threading.Event) -> None:
        self._rate = rate
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at_s = 0.0

    def take(self, count: int, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Wait until `count` bytes may be sent.

        Args:
            count: bytes.
            heartbeat: called while it waits, so that a long wait is seen to be one.

        Raises:
            AbandonedError: the process must end.
        """
        while count > 0:
            piece = min(count, _PIECE_BYTES)
            count -= piece
            with self._lock:
                rate = self._rate()
                if not rate:
                    break
                now_s = time.monotonic()
                self._free_at_s = max(now_s, self._free_at_s) + piece / rate
                free_at_s = self._free_at_s
            while (wait_s := free_at_s - time.monotonic()) > 0:
                heartbeat()
                if self._stop.wait(min(wait_s, _BEAT_EVERY_S)):
                    break
            self._check()
        self._check()

    def _check(self) -> None:
        if self._stop.is_set():
            raise AbandonedError("the daemon is stopping")


class Courtesy:
    """Leaves the machine to copying, for as long as something is copied.

    Uploads pay for the time that they took of the machine by waiting nine times as long, all of
    them one after the other: so they have a tenth of it together, and never less.

    Args:
        stop: set when the process must end.
        copying: whether something is copied now.
    """

    def __init__(self, stop: threading.Event, copying: Callable[[], bool] = lambda: False) -> None:
        self.copying = copying
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at_s = 0.0

    def pay(self, spent_s: float, heartbeat: Callable[[], None]) -> None:
        """Wait for time that was spent; not at all while nothing is copied.

        Args:
            spent_s: s of the machine's time, of its processor or its disk.
            heartbeat: called while it waits.

        Raises:
            AbandonedError: the process must end.
        """
        if spent_s <= 0 or not self.copying():
            return
        with self._lock:
            # What hangs takes time and nothing of the machine.
            cost_s = min(spent_s, _SPENT_MAX_S) * _WAIT_FOR_EACH
            self._free_at_s = max(time.monotonic(), self._free_at_s) + cost_s
            free_at_s = self._free_at_s
        while (wait_s := free_at_s - time.monotonic()) > 0:
            if not self.copying():
                with self._lock:
                    self._free_at_s = 0.0
                return
            heartbeat()
            if self._stop.wait(min(wait_s, _LOOK_EVERY_S)):
                raise AbandonedError("the daemon is stopping")
