"""What `verify --stores` asks of the stores: evidence, manifests and anchors, read-only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bodycam_ingest import objectkeys
from bodycam_ingest.custody.verify import Finding
from bodycam_ingest.errors import IngestError, StoreConflictError, StoreMismatchError
from bodycam_ingest.evidence import StoredObject, StoreObject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bodycam_ingest.db.audit import ConfirmedObject, ConfirmedUpload
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.upload import ObjectStore

# A checkpoint has a few hundred bytes; whatever was put there instead is not read to its end.
_ANCHOR_BYTES_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A checkpoint to be judged.

    Args:
        source: where it was found, for people.
        note: the signed note.
        size: the size under which it is kept, None where nothing says.
    """

    source: str
    note: str
    size: int | None = None


@dataclass
class StoreCheck:
    """Looks at what the stores confirmed.

    Args:
        stores: by name.
        progress: told of bytes that were looked at.
        findings: what does not hold.
        unreachable: what could not be checked.
    """

    stores: Mapping[str, ObjectStore]
    progress: Callable[[int], None]
    findings: list[Finding] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)

    def anchors(self, origin: str) -> list[SignedNote]:
        """Every checkpoint object of a log in every store."""
        found: list[SignedNote] = []
        prefix = objectkeys.checkpoint_key(origin, 0).rpartition("/")[0] + "/"
        for name, store in self.stores.items():
            try:
                for key in store.keys(prefix):
                    note = _read_start(store, key).decode("utf-8", "replace")
                    number = key.removeprefix(prefix)
                    size = int(number) if number.isascii() and number.isdigit() else -1
                    found.append(SignedNote(f"anchor {key} in {name}", note, size))
            except IngestError as error:
                self.unreachable.append(f"anchors in {name}: {error.message}")
        return found

    def evidence(self, rows: Sequence[ItemRow], uploads: Sequence[ConfirmedUpload]) -> int:
        """Have every confirmed recording proven again; returns how many were looked at."""
        by_id = {row.item_id: row for row in rows}
        checked = 0
        for upload in uploads:
            store = self._store(upload.store)
            row = by_id.get(upload.item_id)
            # A row without its digest was tampered with, which is a finding already.
            if store is not None and row is not None and row.sha256 is not None:
                checked += self._prove(store, row, upload)
        return checked

    def _store(self, name: str) -> ObjectStore | None:
        store = self.stores.get(name)
        if store is None:
            text = f"{name} is not in the configuration"
            if text not in self.unreachable:
                self.unreachable.append(text)
        return store

    def _prove(self, store: ObjectStore, row: ItemRow, upload: ConfirmedUpload) -> bool:
        digests = row.digests()
        obj = StoreObject(upload.key, digests, upload.metadata)
        try:
            store.confirm(obj, StoredObject(upload.key, upload.version_id, upload.etag))
        except (StoreMismatchError, StoreConflictError) as error:
            code = "object_missing" if _is_gone(store, upload) else "object_altered"
            self._find(code, upload.store, upload.key, error.message, f"item:{row.item_id}")
        except IngestError as error:
            self.unreachable.append(f"{upload.store}: {upload.key}: {error.message}")
            return False
        self.progress(digests.size_bytes)
        return True

    def own_objects(self, objects: Sequence[ConfirmedObject]) -> int:
        """Read every confirmed manifest and checkpoint again; returns how many were read."""
        checked = 0
        for one in objects:
            store = self._store(one.store)
            if store is not None:
                checked += self._compare(store, one)
        return checked

    def _compare(self, store: ObjectStore, one: ConfirmedObject) -> bool:
        subject = f"store:{one.store}"
        try:
            if store.look(one.key) is None:
                self._find("object_missing", one.store, one.key, "it is gone", subject)
                return True
            hashed, size_bytes = hashlib.sha256(), 0
            for chunk in store.read(one.key):
                hashed.update(chunk)
                size_bytes += len(chunk)
        except IngestError as error:
            self.unreachable.append(f"{one.store}: {one.key}: {error.message}")
            return False
        if hashed.digest() != one.sha256:
            message = f"it has SHA-256 {hashed.hexdigest()}"
            self._find("object_altered", one.store, one.key, message, subject)
        self.progress(size_bytes)
        return True

    def _find(self, code: str, store: str, key: str, message: str, subject: str) -> None:
        self.findings.append(Finding(code, f"{store}: {key}: {message}", subject=subject))


def _read_start(store: ObjectStore, key: str) -> bytes:
    read = bytearray()
    for chunk in store.read(key):
        read += chunk
        if len(read) > _ANCHOR_BYTES_MAX:
            break
    return bytes(read)


def _is_gone(store: ObjectStore, upload: ConfirmedUpload) -> bool:
    try:
        return store.look(upload.key, upload.version_id) is None
    except IngestError:
        # It answered a moment ago that the object is not as it was.
        return False
