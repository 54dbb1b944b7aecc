"""A limit on the bytes a second that all uploads together take from staging."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import AbandonedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.stores.contract import ByteSource

_BURST_S: Final = 1.0


class Bandwidth:
    """A token bucket that all workers share.

    Args:
        limit_bytes_per_s: bytes a second; 0 sets no limit. It can be set while uploads run.
        monotonic_s: a clock, s.
        wait: waits so many seconds; tells whether to give up.
    """

    def __init__(
        self,
        limit_bytes_per_s: int,
        monotonic_s: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.limit_bytes_per_s = limit_bytes_per_s
        self._monotonic_s = monotonic_s
        self._wait = wait or threading.Event().wait
        self._lock = threading.Lock()
        # When what was handed out so far is paid for.
        self._paid_s = monotonic_s()

    def take(self, size_bytes: int) -> None:
        """Wait until so many bytes may be sent.

        Raises:
            AbandonedError: the daemon is stopping.
        """
        limit = self.limit_bytes_per_s
        if not limit:
            return
        with self._lock:
            now_s = self._monotonic_s()
            start_s = max(self._paid_s, now_s - _BURST_S)
            self._paid_s = start_s + size_bytes / limit
            wait_s = start_s - now_s
        if wait_s > 0 and self._wait(wait_s):
            raise AbandonedError("stopped while waiting for bandwidth")


class LimitedSource:
    """Bytes that are taken no faster than a limit allows.

    Args:
        source: the bytes.
        bandwidth: the limit.
    """

    def __init__(self, source: ByteSource, bandwidth: Bandwidth) -> None:
        self._source = source
        self._bandwidth = bandwidth

    def read_at(self, offset: int, length: int) -> bytes:
        """As the source's; waits its turn first.

        Raises:
            AbandonedError: the daemon is stopping.
        """
        self._bandwidth.take(length)
        return self._source.read_at(offset, length)
