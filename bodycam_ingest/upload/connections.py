"""The lines to the stores: what each may use of them, and when.

A limit or window of the dock's line to the outside holds for all stores behind it together; a
store with figures of its own, such as an archive in the same room, does not wait for it.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import TYPE_CHECKING, Final

from bodycam_ingest.model.backoff import StoreLimits, closed_for_s
from bodycam_ingest.upload.attended_store import AttendedStore
from bodycam_ingest.upload.throttle import Courtesy, Throttle

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping

    from bodycam_ingest.stores import ObjectStore

_UNLIMITED: Final = StoreLimits()


class _Budget:
    """The budget that counts for one store now; a reload may give it another."""

    def __init__(self, connections: Connections, store: str) -> None:
        self._connections = connections
        self._store = store

    def take(self, count: int, heartbeat: Callable[[], None]) -> None:
        """As `Throttle.take`."""
        self._connections.throttle(self._store).take(count, heartbeat)


class Connections:
    """What every store may use of its line.

    Args:
        stores: their names.
        limits: by store, as configured now; one that is not named has no limit.
        stopping: set when the process must end.
    """

    def __init__(
        self,
        stores: Iterable[str],
        limits: Callable[[], Mapping[str, StoreLimits]],
        stopping: threading.Event,
    ) -> None:
        self.courtesy = Courtesy(stopping)
        self._limits = limits
        self._shared = Throttle(self._shared_rate, stopping)
        self._own = {
            store: Throttle(functools.partial(self._own_rate, store), stopping) for store in stores
        }

    def _shared_rate(self) -> int:
        limits = self._limits().values()
        return max((one.bandwidth_limit_bytes_per_s for one in limits if one.shared), default=0)

    def _own_rate(self, store: str) -> int:
        return self.of(store).bandwidth_limit_bytes_per_s

    def of(self, store: str) -> StoreLimits:
        """What a store may use."""
        return self._limits().get(store, _UNLIMITED)

    def throttle(self, store: str) -> Throttle:
        """The budget that counts for a store."""
        return self._shared if self.of(store).shared else self._own[store]

    def closed_for_s(self, store: str, now_ms: int) -> float:
        """Seconds until a store may be sent to; 0 inside of a window."""
        local = dt.datetime.fromtimestamp(now_ms / 1000).astimezone()
        return closed_for_s(self.of(store).windows, local)

    def attend(self, store: ObjectStore, heartbeat: Callable[[], None]) -> AttendedStore:
        """A store that keeps to its line."""
        return AttendedStore(store, _Budget(self, store.name), heartbeat, self.courtesy)
