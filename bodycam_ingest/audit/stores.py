"""What `verify --stores` asks of the stores: evidence, manifests and anchors, read-only.

Whoever can write to a store can put anything at any key: every read has an end in bytes and in
time, and what one object does is that object's finding, never the end of the run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from bodycam_ingest.custody.log_check import Finding
from bodycam_ingest.errors import (
    IngestError,
    StoreConflictError,
    StoreMismatchError,
    UncheckedError,
)
from bodycam_ingest.linux.time_limit import SILENCE_MAX_S, LeftBehindError, within
from bodycam_ingest.model import object_keys, subjects
from bodycam_ingest.model.evidence import StoreObject
from bodycam_ingest.model.rows import digests_of, key_of, stored_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from bodycam_ingest.model.rows import Item, MetadataObject, Upload
    from bodycam_ingest.stores import ObjectStore

T = TypeVar("T")

# A checkpoint has a few hundred bytes; whatever was put there instead is not read to its end.
_ANCHOR_BYTES_MAX: Final = 16_384
_ANCHORS_MAX: Final = 200_000
# A manifest of the largest card that is taken stays below.
_OWN_OBJECT_BYTES_MAX: Final = 256 * 1024 * 1024
# A store may read a recording back without a word: slower than this it counts as hanging.
_BYTES_PER_S_MIN: Final = 100_000
_HANGING_MAX: Final = 3
_FAULTS_IN_A_ROW: Final = 3
# A key that no store holds: whether it can be looked for tells whether the store is there.
_SOME_KEY: Final = "ledger/nothing"
# What a value that somebody else wrote can do to code that expects another one.
STRANGE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)
_DEFECTS: Final = (*STRANGE, OSError)


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A checkpoint to be judged.

    Args:
        source: where it was found, for people.
        note: the signed note.
        size: under which it is kept, entries; None where nothing says.
        anchor: it lies off this machine.
    """

    source: str
    note: str
    size: int | None = None
    anchor: bool = False


@dataclass
class StoreCheck:
    """Looks at what the stores confirmed.

    Args:
        stores: by name.
        progress: told of bytes that were looked at.
        retired: names of stores that were taken out for good: nobody asks them any more.
        silence_max_s: how long a store may be silent, s.
        findings: what does not hold.
        unreachable: what could not be checked.
    """

    stores: Mapping[str, ObjectStore]
    progress: Callable[[int], None]
    retired: frozenset[str] = frozenset()
    silence_max_s: float = SILENCE_MAX_S
    findings: list[Finding] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    _given_up: dict[str, str] = field(default_factory=dict)
    _not_asked: Counter[str] = field(default_factory=Counter)
    _hanging: Counter[str] = field(default_factory=Counter)
    _in_a_row: Counter[str] = field(default_factory=Counter)

    # -- asking --

    def _ask(
        self, store: ObjectStore, what: str, do: Callable[[Callable[[], None]], T], size_bytes: int
    ) -> T:
        """One question to a store, with an end.

        Raises:
            UncheckedError: the store was given up, or its answer could not be used.
            IngestError: as the store says.
        """
        name = store.name
        if name in self._given_up:
            self._not_asked[name] += 1
            raise UncheckedError(self._given_up[name])
        limit_s = self.silence_max_s + max(0, size_bytes) / _BYTES_PER_S_MIN
        try:
            answer = within(do, f"{name}: {what}", silence_max_s=limit_s)
        except (StoreMismatchError, StoreConflictError):
            self._in_a_row[name] = 0
            raise
        except LeftBehindError as error:
            self._hanging[name] += 1
            if self._hanging[name] >= _HANGING_MAX:
                self._given_up[name] = str(error)
            raise UncheckedError(str(error)) from error
        except IngestError as error:
            self._count_fault(store, error)
            raise
        except _DEFECTS as error:
            raise UncheckedError(f"its answer cannot be used: {error!r:.200}") from error
        self._in_a_row[name] = 0
        return answer

    def _count_fault(self, store: ObjectStore, error: IngestError) -> None:
        """Stop asking a store that is not there: each question may take its time-out."""
        name = store.name
        self._in_a_row[name] += 1
        if self._in_a_row[name] < _FAULTS_IN_A_ROW:
            return
        self._in_a_row[name] = 0
        try:
            within(lambda _beat: store.look(_SOME_KEY), f"{name}", silence_max_s=self.silence_max_s)
        except (IngestError, *_DEFECTS):
            self._given_up[name] = error.message

    def settle(self) -> None:
        """Say of how much nobody asked, once everything was looked at."""
        self.unreachable += [
            f"{name}: {count} more objects were not asked for: {self._given_up[name]}"
            for name, count in self._not_asked.items()
        ]
        self._not_asked.clear()

    def _answer(
        self, store: ObjectStore, what: str, do: Callable[[Callable[[], None]], T]
    ) -> T | None:
        """As `_ask`; None where there was no answer, which is reported."""
        try:
            return self._ask(store, what, do, 0)
        except IngestError as error:
            self._unproven(store.name, what, error)
            return None

    def _unproven(self, store: str, what: str, error: IngestError) -> None:
        if store not in self._given_up or not self._not_asked[store]:
            self.unreachable.append(f"{store}: {what}: {error.message}")

    def _find(self, code: str, store: str, key: str, message: str, subject: str) -> None:
        self.findings.append(Finding(code, f"{store}: {key}: {message}", subject=subject))

    def _store(self, name: str) -> ObjectStore | None:
        store = self.stores.get(name)
        if store is None and name not in self.retired:
            text = f"{name} is not in the configuration"
            if text not in self.unreachable:
                self.unreachable.append(text)
        return store

    # -- who they are --

    def identities(self, pinned: Mapping[str, str]) -> None:
        """Hold each store against the others and its `pinned` identity, that of first contact."""
        seen: dict[str, str] = {}
        for name, store in self.stores.items():
            if name not in pinned:
                continue
            found = self._answer(store, "its mark", partial(_mark, store))
            if found is None:
                continue
            if found != pinned[name]:
                message = f"it is {found}, at first contact it was {pinned[name]}"
                self._find("store_replaced", name, "its mark", message, subjects.store(name))
            if found in seen:
                message = f"{seen[found]} is the same place: what both hold is one copy"
                self._find("stores_are_one", name, "its mark", message, subjects.store(name))
            seen.setdefault(found, name)

    # -- anchors --

    def anchors(self, origin: str) -> list[SignedNote]:
        """Every checkpoint object of a log in every store."""
        found: list[SignedNote] = []
        prefix = object_keys.checkpoint_key(origin, 0).rpartition("/")[0] + "/"
        for name, store in self.stores.items():
            keys = self._answer(store, "anchors", partial(_listed, store, prefix)) or []
            if len(keys) > _ANCHORS_MAX:
                self.unreachable.append(f"{name}: more than {_ANCHORS_MAX} anchors lie there")
            for key in keys[:_ANCHORS_MAX]:
                note = self._anchor(store, key, prefix)
                if note is not None:
                    found.append(note)
        return found

    def _anchor(self, store: ObjectStore, key: str, prefix: str) -> SignedNote | None:
        raw = self._answer(store, key, partial(_read, store, key, _ANCHOR_BYTES_MAX))
        if raw is None:
            return None
        number = key.removeprefix(prefix)
        # Also where it was moved to, because its own key was taken.
        size = object_keys.checkpoint_size(number)
        return SignedNote(
            f"anchor {key} in {store.name}",
            raw.decode("utf-8", "replace") if len(raw) <= _ANCHOR_BYTES_MAX else "",
            -1 if size is None else size,
            anchor=True,
        )

    # -- recordings --

    def evidence(self, confirmed: Iterable[tuple[Item, Upload]]) -> int:
        """Have confirmed recordings proven again; returns how many were looked at.

        Items and uploads are as the ledger's entries make them.
        """
        return sum(
            self._prove(store, item, upload)
            for item, upload in confirmed
            if (store := self._store(upload.store)) is not None
        )

    def _prove(self, store: ObjectStore, item: Item, upload: Upload) -> bool:
        subject, key = subjects.item(item.item_id), key_of(item)
        try:
            digests = digests_of(item)
            # What decides whose an object is.
            said = {"item-id": item.item_id, "sha256": digests.sha256.hex()}
            obj = StoreObject(key, digests, said)
            stored = stored_object(key, upload)
            self._ask(store, key, lambda _: store.confirm(obj, stored), digests.size_bytes)
        except (StoreMismatchError, StoreConflictError) as error:
            gone = self._is_gone(store, key, upload.version_id)
            code = "object_missing" if gone else "object_altered"
            self._find(code, upload.store, key, error.message, subject)
        except IngestError as error:
            self._unproven(upload.store, key, error)
            return False
        else:
            self.progress(digests.size_bytes)
        return True

    def _is_gone(self, store: ObjectStore, key: str, version_id: str) -> bool:
        try:
            found = self._ask(store, key, lambda _: store.look(key, version_id), 0)
        except IngestError:
            # It answered a moment ago that the object is not as it was.
            return False
        return found is None

    # -- manifests and checkpoints --

    def own_objects(self, objects: Iterable[MetadataObject]) -> int:
        """Read every confirmed manifest and checkpoint again; returns how many were read."""
        return sum(
            self._compare(store, one)
            for one in objects
            if (store := self._store(one.store)) is not None
        )

    def _compare(self, store: ObjectStore, one: MetadataObject) -> bool:
        subject = subjects.store(one.store)
        try:
            found = self._ask(store, one.key, lambda _: store.look(one.key), 0)
            if found is None:
                self._find("object_missing", one.store, one.key, "it is gone", subject)
                return True
            if found.size_bytes > _OWN_OBJECT_BYTES_MAX:
                told = f"it has {found.size_bytes} bytes, more than the daemon ever wrote there"
                self._find("object_altered", one.store, one.key, told, subject)
                return True
            # Not a byte more than it said: a device or a pipe has no end.
            raw = self._ask(store, one.key, partial(_hashed, store, one.key, found.size_bytes), 0)
        except IngestError as error:
            self._unproven(one.store, one.key, error)
            return False
        if raw != one.sha256:
            message = f"it has SHA-256 {raw.hex()}" if raw else "it has more bytes than it says"
            self._find("object_altered", one.store, one.key, message, subject)
        self.progress(found.size_bytes)
        return True


def _mark(store: ObjectStore, _beat: Callable[[], None]) -> str:
    """Who a store is; nothing is written."""
    return store.identity(first=False)


def _listed(store: ObjectStore, prefix: str, beat: Callable[[], None]) -> list[str]:
    keys: list[str] = []
    for key in store.keys(prefix):
        beat()
        keys.append(key)
        if len(keys) > _ANCHORS_MAX:
            break
    return keys


def _chunks(
    store: ObjectStore, key: str, size_max: int, beat: Callable[[], None]
) -> Iterator[bytes]:
    """An object's bytes, until there are more than `size_max`."""
    size_bytes = 0
    for chunk in store.read(key):
        beat()
        yield chunk
        size_bytes += len(chunk)
        if size_bytes > size_max:
            return


def _read(store: ObjectStore, key: str, size_max: int, beat: Callable[[], None]) -> bytes:
    return b"".join(_chunks(store, key, size_max, beat))


def _hashed(store: ObjectStore, key: str, size_max: int, beat: Callable[[], None]) -> bytes:
    """SHA-256 of an object, empty where it has more bytes than it said."""
    hashed, size_bytes = hashlib.sha256(), 0
    for chunk in _chunks(store, key, size_max, beat):
        hashed.update(chunk)
        size_bytes += len(chunk)
    return hashed.digest() if size_bytes <= size_max else b""
