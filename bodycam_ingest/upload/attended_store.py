"""A store whose every call is seen to move, keeps below the line's rate, and ends when asked.

Whoever works with a store in a thread that is watched asks it through this: sending, proving,
looking, reading and listing can each take longer than a thread may be silent.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bodycam_ingest.model.evidence import (
        Confirmation,
        FoundObject,
        StoredObject,
        StoreObject,
        StoreProbe,
    )
    from bodycam_ingest.stores import ByteSource, ObjectStore, Pace, UploadJournal
    from bodycam_ingest.upload.throttle import Budget, Courtesy


class AttendedStore:
    """An `ObjectStore` in front of another.

    Args:
        store: the store.
        throttle: the budget of the line to it.
        heartbeat: called before and after each call, and at every piece of its bytes.
        courtesy: makes room for copying.
    """

    def __init__(
        self,
        store: ObjectStore,
        throttle: Budget,
        heartbeat: Callable[[], None] = lambda: None,
        courtesy: Courtesy | None = None,
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
    def _paced(self, pace: Pace | None = None) -> Iterator[Pace]:
        """Our own pace and that of whoever asked, in the thread that does the work."""
        self._pace(0)
        since_s = self._clock_s()

        def both(count: int) -> None:
            nonlocal since_s
            self._make_room(self._clock_s() - since_s)
            self._pace(count)
            if pace is not None:
                pace(count)
            since_s = self._clock_s()

        yield both
        self._make_room(self._clock_s() - since_s)
        self._heartbeat()

    def _make_room(self, spent_s: float) -> None:
        if self._courtesy is not None:
            self._courtesy.pay(spent_s, self._heartbeat)

    def _pace(self, count: int) -> None:
        self._heartbeat()
        self._throttle.take(count, self._heartbeat)
        self._heartbeat()

    def write_together(
        self, batch: Sequence[tuple[StoreObject, ByteSource]], pace: Pace | None = None
    ) -> None:
        """As `ObjectStore.write_together`.

        Raises:
            AbandonedError: the process must end.
        """
        with self._paced(pace) as both:
            self._store.write_together(batch, both)

    def send(
        self,
        obj: StoreObject,
        source: ByteSource,
        journal: UploadJournal,
        pace: Pace | None = None,
    ) -> StoredObject:
        """As `ObjectStore.send`.

        Raises:
            AbandonedError: the process must end.
        """
        with self._paced(pace) as both:
            return self._store.send(obj, source, journal, both)

    def confirm(
        self,
        obj: StoreObject,
        stored: StoredObject,
        pace: Pace | None = None,
        source: ByteSource | None = None,
    ) -> Confirmation:
        """As `ObjectStore.confirm`; what is read back counts as what is sent does.

        Raises:
            AbandonedError: the process must end.
        """
        with self._paced(pace) as both:
            return self._store.confirm(obj, stored, both, source)

    def look(self, key: str, version_id: str = "") -> FoundObject | None:
        """As `ObjectStore.look`."""
        self._pace(0)
        found = self._store.look(key, version_id)
        self._heartbeat()
        return found

    def read(self, key: str, version_id: str = "") -> Iterator[bytes]:
        """As `ObjectStore.read`.

        Raises:
            AbandonedError: the process must end.
        """
        self._pace(0)
        for chunk in self._store.read(key, version_id):
            self._pace(len(chunk))
            yield chunk

    def keys(self, prefix: str) -> Iterator[str]:
        """As `ObjectStore.keys`.

        Raises:
            AbandonedError: the process must end.
        """
        self._pace(0)
        for key in self._store.keys(prefix):
            self._pace(0)
            yield key

    def probe(self) -> StoreProbe:
        """As `ObjectStore.probe`."""
        self._pace(0)
        probe = self._store.probe()
        self._heartbeat()
        return probe

    def identity(self, *, first: bool = True) -> str:
        """As `ObjectStore.identity`."""
        self._pace(0)
        identity = self._store.identity(first=first)
        self._heartbeat()
        return identity

    def close(self) -> None:
        """As `ObjectStore.close`."""
        self._store.close()
