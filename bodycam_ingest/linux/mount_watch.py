"""Tells at once when something was mounted or unmounted, without asking again and again."""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class MountWatch:
    """Calls `wake` after each change of what is mounted, from a thread of its own."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._stopping, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, name="mount-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; to be called once, after `start`."""
        os.close(self._stop)
        self._thread.join()
        os.close(self._stopping)

    def _run(self) -> None:
        with open("/proc/self/mountinfo", "rb") as mounts:  # noqa: PTH123 - its descriptor is polled
            # Changes show as an error and as exceptional data (proc_pid_mounts(5)).
            poller = select.poll()
            poller.register(mounts, select.POLLERR | select.POLLPRI)
            poller.register(self._stopping, select.POLLHUP)
            while self._stopping not in dict(poller.poll()):
                self._wake()
