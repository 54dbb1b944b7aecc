"""A store whose every call is seen to move, keeps below the line's rate, and ends when asked.

Whoever works with a store in a thread that is watched asks it through this: sending, proving,
looking, reading and listing can each take longer than a thread may be silent.
"""

from __future__ import annotations

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
    from bodycam_ingest.upload.throttle import Budget


class AttendedStore:
    """An `ObjectStore` in front of another.

    Args:
        store: the store.
        throttle: the budget of the line to it.
        moving: called before and after each call, and at every piece of its bytes.
    """

    def __init__(
        self, store: ObjectStore, throttle: Budget, moving: Callable[[], None] = lambda: None
    ) -> None:
        self.name = store.name
        self._store = store
        self._throttle = throttle
        self._moving = moving

    def _both(self, pace: Pace | None) -> Pace:
        """Our own pace and that of whoever asked."""
        self._pace(0)

        def both(count: int) -> None:
            self._pace(count)
            if pace is not None:
                pace(count)

        return both

    def _pace(self, count: int) -> None:
        self._moving()
        self._throttle.take(count, self._moving)
        self._moving()

    def write_together(
        self, batch: Sequence[tuple[StoreObject, ByteSource]], pace: Pace | None = None
    ) -> None:
        """As `ObjectStore.write_together`.

        Raises:
            AbandonedError: the process must end.
        """
        self._store.write_together(batch, self._both(pace))
        self._moving()

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
        stored = self._store.send(obj, source, journal, self._both(pace))
        self._moving()
        return stored

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
        confirmation = self._store.confirm(obj, stored, self._both(pace), source)
        self._moving()
        return confirmation

    def look(self, key: str, version_id: str = "") -> FoundObject | None:
        """As `ObjectStore.look`."""
        self._pace(0)
        found = self._store.look(key, version_id)
        self._moving()
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
        self._moving()
        return probe

    def identity(self, *, first: bool = True) -> str:
        """As `ObjectStore.identity`."""
        self._pace(0)
        identity = self._store.identity(first=first)
        self._moving()
        return identity

    def close(self) -> None:
        """As `ObjectStore.close`."""
        self._store.close()
