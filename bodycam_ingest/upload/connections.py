"""The stores as uploads use them: seen to move, below their rate, out of the way of copying.

A limit or window of the dock's connection to the outside holds for all stores behind it together; a
store with limits of its own, such as an archive on the same site, does not wait for it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import threading
import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import AbandonedError
from bodycam_ingest.model.backoff import StoreLimits, closed_for_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bodycam_ingest.model.evidence import (
        Confirmation,
        FoundObject,
        StoredObject,
        StoreObject,
        StoreProbe,
    )
    from bodycam_ingest.stores import ByteSource, ObjectStore, Pace, UploadJournal

_UNLIMITED: Final = StoreLimits()
_PIECE_BYTES: Final = 256 * 1024
# At a low rate even one piece is a long wait.
_HEARTBEAT_EVERY_S: Final = 5.0
# Measured: a tenth of the machine leaves copying more than 80 % of its speed.
_WAIT_FOR_EACH: Final = 9.0
_SPENT_MAX_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.1


def _check(stop: threading.Event) -> None:
    if stop.is_set():
        raise AbandonedError("the daemon is stopping")


class Throttle:
    """A budget of bytes a second that all who ask share, in the order in which they ask.

    The rate is as configured now; 0 sets no limit.
    """

    def __init__(self, rate: Callable[[], int], stop: threading.Event) -> None:
        self._rate = rate
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at_s = 0.0

    def wait_for(self, count: int, heartbeat: Callable[[], None] = lambda: None) -> None:
        """Wait until `count` bytes may be sent, calling `heartbeat` meanwhile.

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
                self._free_at_s = max(time.monotonic(), self._free_at_s) + piece / rate
                free_at_s = self._free_at_s
            while (wait_s := free_at_s - time.monotonic()) > 0:
                heartbeat()
                if self._stop.wait(min(wait_s, _HEARTBEAT_EVERY_S)):
                    break
            _check(self._stop)
        _check(self._stop)


class Courtesy:
    """Leaves the machine to copying, for as long as something is copied.

    Uploads pay for the time that they took of the machine by waiting nine times as long, all of
    them one after the other: so they have a tenth of it together, and never less.
    """

    def __init__(self, stop: threading.Event, copying: Callable[[], bool] = lambda: False) -> None:
        self.copying = copying
        self._stop = stop
        self._lock = threading.Lock()
        self._free_at_s = 0.0

    def pay(self, spent_s: float, heartbeat: Callable[[], None]) -> None:
        """Wait for time that was spent, s of processor or disk; not at all while nothing is copied.

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


class AttendedStore:
    """An `ObjectStore` in front of another, for threads that are watched.

    Sending, confirming, looking, reading and listing can each take longer than a thread may be
    silent: each is seen to move, keeps below the rate that counts for it now, and ends by
    `AbandonedError` when asked.
    """

    def __init__(
        self,
        store: ObjectStore,
        throttle: Callable[[], Throttle],
        heartbeat: Callable[[], None],
        courtesy: Courtesy,
    ) -> None:
        self.name = store.name
        self.on_disk = store.on_disk
        self._store = store
        self._throttle = throttle
        self._heartbeat = heartbeat
        self._courtesy = courtesy
        # What its work takes of this machine: of its disks too, or of its processors alone.
        self._clock_s = time.monotonic if store.on_disk else time.thread_time

    @contextlib.contextmanager
    def _paced(self, pace: Pace | None) -> Iterator[Pace]:
        """Our own pace and that of whoever asked, in the thread that does the work."""
        self._pace(0)
        since_s = self._clock_s()

        def both(count: int) -> None:
            nonlocal since_s
            self._courtesy.pay(self._clock_s() - since_s, self._heartbeat)
            self._pace(count)
            if pace is not None:
                pace(count)
            since_s = self._clock_s()

        yield both
        self._courtesy.pay(self._clock_s() - since_s, self._heartbeat)
        self._heartbeat()

    def _pace(self, count: int) -> None:
        self._heartbeat()
        self._throttle().wait_for(count, self._heartbeat)
        self._heartbeat()

    @contextlib.contextmanager
    def _one_answer(self) -> Iterator[None]:
        self._pace(0)
        yield
        self._heartbeat()

    def write_together(
        self, batch: Sequence[tuple[StoreObject, ByteSource]], pace: Pace | None = None
    ) -> None:
        """As `ObjectStore.write_together`."""
        with self._paced(pace) as both:
            self._store.write_together(batch, both)

    def send(
        self,
        obj: StoreObject,
        source: ByteSource,
        journal: UploadJournal,
        pace: Pace | None = None,
    ) -> StoredObject:
        """As `ObjectStore.send`."""
        with self._paced(pace) as both:
            return self._store.send(obj, source, journal, both)

    def confirm(
        self,
        obj: StoreObject,
        stored: StoredObject,
        pace: Pace | None = None,
        source: ByteSource | None = None,
    ) -> Confirmation:
        """As `ObjectStore.confirm`; what is read back counts as what is sent does."""
        with self._paced(pace) as both:
            return self._store.confirm(obj, stored, both, source)

    def look(self, key: str, version_id: str = "") -> FoundObject | None:
        """As `ObjectStore.look`."""
        with self._one_answer():
            return self._store.look(key, version_id)

    def read(self, key: str, version_id: str = "") -> Iterator[bytes]:
        """As `ObjectStore.read`."""
        self._pace(0)
        for chunk in self._store.read(key, version_id):
            self._pace(len(chunk))
            yield chunk

    def keys(self, prefix: str) -> Iterator[str]:
        """As `ObjectStore.keys`."""
        self._pace(0)
        for key in self._store.keys(prefix):
            self._pace(0)
            yield key

    def probe(self) -> StoreProbe:
        """As `ObjectStore.probe`."""
        with self._one_answer():
            return self._store.probe()

    def identity(self, *, first: bool = True) -> str:
        """As `ObjectStore.identity`."""
        with self._one_answer():
            return self._store.identity(first=first)

    def close(self) -> None:
        """As `ObjectStore.close`."""
        self._store.close()


class Connections:
    """What every store may use of the dock's connection, and when.

    Limits are as configured now, by store; one that is not named has none.
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
        return self._of(store).bandwidth_limit_bytes_per_s

    def _of(self, store: str) -> StoreLimits:
        return self._limits().get(store, _UNLIMITED)

    def _throttle(self, store: str) -> Throttle:
        """The budget that counts for a store now; a reload may give it another."""
        return self._shared if self._of(store).shared else self._own[store]

    def closed_for_s(self, store: str, now_ms: int) -> float:
        """Seconds until a store may be sent to; 0 inside of a window."""
        local = dt.datetime.fromtimestamp(now_ms / 1000).astimezone()
        return closed_for_s(self._of(store).windows, local)

    def attend(self, store: ObjectStore, heartbeat: Callable[[], None]) -> AttendedStore:
        """A store that keeps to its limits."""
        throttle = functools.partial(self._throttle, store.name)
        return AttendedStore(store, throttle, heartbeat, self.courtesy)
