"""Whether a camera is being copied from: what works beside it makes room meanwhile."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

# Between two files nothing is copied for as long as it takes to record the first.
_LINGER_S: Final = 0.5


class Activity:
    """Counts who copies or reads back now; several threads may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = 0
        self._ended_s = -math.inf

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Copying goes on for the length of the `with` block."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
                self._ended_s = time.monotonic()

    def is_on(self) -> bool:
        """Whether something is copied now, or was a moment ago."""
        with self._lock:
            return self._busy > 0 or time.monotonic() - self._ended_s < _LINGER_S
