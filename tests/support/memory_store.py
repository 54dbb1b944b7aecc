"""A store in memory that enforces the rules: create-only, digests, parts under their upload id.

It stands for a server and its client in one, so it keeps the same protocol as a real one: look
first, abort strange uploads, go on with what the journal knows. Faults can be set in both forms:
before a call (not done) and after it (done, the answer lost).
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bodycam_ingest.errors import (
    LocalCopyDamagedError,
    StoreConflictError,
    StoreIntegrityError,
    StoreMismatchError,
    StoreUnreachableError,
)
from bodycam_ingest.model.evidence import (
    Confirmation,
    FoundObject,
    ProofKind,
    StoredObject,
    StoreProbe,
)
from bodycam_ingest.stores.contract import at_once, check, check_key, is_ours, must_be_ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bodycam_ingest.errors import IngestError
    from bodycam_ingest.model.evidence import StoreObject
    from bodycam_ingest.stores.contract import ByteSource, Pace, UploadJournal


@dataclass
class _Kept:
    body: bytes
    metadata: dict[str, str]
    etag: str
    checksum: str


@dataclass
class _Open:
    key: str
    parts: dict[int, tuple[str, bytes]] = field(default_factory=dict)


@dataclass
class Fault:
    """A fault to come.

    Args:
        call: `put`, `create`, `part`, `complete`, `look`, `confirm`, `list_parts`, `abort`,
            `probe` or `identity`.
        error: what is raised.
        done: the call is carried out and its answer lost; else it is not carried out.
        times: how often; -1 for ever.
        matches: which keys.
    """

    call: str
    error: Callable[[], IngestError] = lambda: StoreUnreachableError("injected")
    done: bool = False
    times: int = 1
    matches: Callable[[str], bool] = lambda _key: True


class MemoryStore:
    """An object store in memory.

    Args:
        name: its name.
        identity: who it says it is; its name where empty.
    """

    on_disk = False

    def __init__(self, name: str, identity: str = "") -> None:
        self.name = name
        self.identity_now = identity or f"memory:{name}"
        self.objects: dict[str, _Kept] = {}
        self.open: dict[str, _Open] = {}
        self.faults: list[Fault] = []
        self.calls: list[tuple[str, str]] = []
        self.aborted: list[str] = []
        self.probes = 0
        # Read back in pieces of so many bytes when objects are confirmed; 0 for not at all.
        self.read_back_bytes = 0
        self._lock = threading.RLock()
        self._ids = itertools.count(1)

    # -- the server's side: each call is atomic --

    def _call(self, name: str, key: str, do: Callable[[], object]) -> object:
        with self._lock:
            self.calls.append((name, key))
            for fault in self.faults:
                if fault.call == name and fault.times and fault.matches(key):
                    fault.times -= 1
                    if fault.done:
                        do()
                    raise fault.error()
            return do()

    def _put(self, obj: StoreObject, body: bytes) -> None:
        if hashlib.sha256(body).digest() != obj.digests.sha256:
            raise StoreIntegrityError(f"{obj.key}: the bytes do not fit their digest")
        self._keep(obj, body, base64.b64encode(obj.digests.sha256).decode())

    def _keep(self, obj: StoreObject, body: bytes, checksum: str) -> None:
        if obj.key in self.objects:
            raise StoreConflictError(f"{obj.key} exists")
        etag = hashlib.md5(body).hexdigest()
        self.objects[obj.key] = _Kept(body, dict(obj.metadata), etag, checksum)

    def _put_part(self, upload_id: str, obj: StoreObject, number: int, body: bytes) -> str:
        etag = f"{number}-{hashlib.md5(body).hexdigest()}-{next(self._ids)}"
        self.open[upload_id].parts[number] = (etag, body)
        return etag

    def _complete(self, upload_id: str, obj: StoreObject, etags: dict[int, str]) -> None:
        there = self.open[upload_id]
        numbers = list(range(1, obj.digests.parts + 1))
        if sorted(etags) != numbers or any(there.parts[n][0] != etags[n] for n in numbers):
            raise StoreIntegrityError(f"{obj.key}: a part is not the one that was sent")
        body = b"".join(there.parts[n][1] for n in numbers)
        digests = b"".join(hashlib.sha256(there.parts[n][1]).digest() for n in numbers)
        composite = base64.b64encode(hashlib.sha256(digests).digest()).decode()
        self._keep(obj, body, f"{composite}-{len(numbers)}")
        del self.open[upload_id]

    def _abort(self, upload_id: str) -> None:
        self.aborted.append(upload_id)
        del self.open[upload_id]

    # -- the client's side --

    def write_together(
        self, batch: Sequence[tuple[StoreObject, ByteSource]], pace: Pace = at_once
    ) -> None:
        """As `ObjectStore.write_together`: nothing."""

    def send(
        self, obj: StoreObject, source: ByteSource, journal: UploadJournal, pace: Pace = at_once
    ) -> StoredObject:
        check(obj)
        found = self.look(obj.key)
        if found is None:
            if obj.digests.size_bytes <= obj.digests.part_size_bytes:
                self._send_whole(obj, source, pace)
            else:
                self._send_parts(obj, source, journal, pace)
            found = self.look(obj.key)
        if found is None:
            raise StoreUnreachableError(f"{obj.key} is not there")
        must_be_ours(obj, found)
        self._abort_all(obj.key)
        return StoredObject(obj.key, "", found.etag)

    def _send_whole(self, obj: StoreObject, source: ByteSource, pace: Pace) -> None:
        body = source.read_at(0, obj.digests.size_bytes)
        if hashlib.sha256(body).digest() != obj.digests.sha256:
            raise LocalCopyDamagedError(f"the copy of {obj.key} is damaged")
        pace(len(body))
        self._call("put", obj.key, lambda: self._put(obj, body))

    def _send_parts(
        self, obj: StoreObject, source: ByteSource, journal: UploadJournal, pace: Pace
    ) -> None:
        self._call("list_parts", obj.key, lambda: None)
        if journal.upload_id not in self.open:
            self._abort_all(obj.key)
            upload_id = f"{self.name}-{next(self._ids)}"

            def create() -> None:
                self.open[upload_id] = _Open(obj.key)

            self._call("create", obj.key, create)
            journal.begun(upload_id)
        size = obj.digests.part_size_bytes
        there = self.open[journal.upload_id].parts
        whole = hashlib.sha256()
        for number in range(1, obj.digests.parts + 1):
            offset = (number - 1) * size
            body = source.read_at(offset, min(size, obj.digests.size_bytes - offset))
            whole.update(body)
            if number in there and there[number][0] == journal.etags.get(number):
                continue
            pace(len(body))
            etag = self._call(
                "part",
                obj.key,
                lambda n=number, b=body: self._put_part(  # type: ignore[misc]
                    journal.upload_id, obj, n, b
                ),
            )
            journal.part_stored(number, str(etag))
        if whole.digest() != obj.digests.sha256:
            self._abort_all(obj.key)
            journal.forgotten()
            raise LocalCopyDamagedError(f"the copy of {obj.key} is damaged")
        journal.completing_now()
        etags = dict(journal.etags)
        self._call("complete", obj.key, lambda: self._complete(journal.upload_id, obj, etags))

    def _abort_all(self, key: str) -> None:
        for upload_id in [u for u, there in self.open.items() if there.key == key]:
            self._call("abort", key, lambda u=upload_id: self._abort(u))  # type: ignore[misc]

    def confirm(
        self,
        obj: StoreObject,
        stored: StoredObject,
        pace: Pace = at_once,
        source: ByteSource | None = None,
    ) -> Confirmation:

        def do() -> str:
            kept = self.objects.get(obj.key)
            if (
                kept is None
                or hashlib.sha256(kept.body).digest() != obj.digests.sha256
                or stored.checksum not in {"", kept.checksum}
            ):
                raise StoreMismatchError(f"{obj.key} is not what was stored")
            found = self._found(obj.key)
            if found is None or not is_ours(obj, found):
                raise StoreMismatchError(f"{obj.key} is another's")
            return kept.checksum

        checksum = str(self._call("confirm", obj.key, do))
        left = obj.digests.size_bytes if self.read_back_bytes else 0
        while left > 0:
            pace(min(self.read_back_bytes, left))
            left -= self.read_back_bytes
        single = obj.digests.parts == 1
        proof = ProofKind.STORE_CHECKSUM if single else ProofKind.PART_CHECKSUMS
        return Confirmation(stored, proof, checksum)

    def look(self, key: str, version_id: str = "") -> FoundObject | None:
        check_key(key)
        found = self._call("look", key, lambda: self._found(key))
        assert found is None or isinstance(found, FoundObject)
        return found

    def _found(self, key: str) -> FoundObject | None:
        kept = self.objects.get(key)
        if kept is None:
            return None
        return FoundObject(
            key=key,
            size_bytes=len(kept.body),
            metadata=dict(kept.metadata),
            etag=kept.etag,
            checksum_sha256=kept.checksum,
        )

    def read(self, key: str, version_id: str = "") -> Iterator[bytes]:
        yield self.objects[key].body

    def keys(self, prefix: str) -> Iterator[str]:
        yield from sorted(key for key in self.objects if key.startswith(prefix))

    def probe(self) -> StoreProbe:
        self._call("probe", "", lambda: None)
        self.probes += 1
        return StoreProbe(
            verifies_checksum=True,
            verifies_payload=True,
            returns_checksum=True,
            reads_back=False,
        )

    def identity(self, *, first: bool = True) -> str:
        self._call("identity", "", lambda: None)
        return self.identity_now

    def close(self) -> None:
        """As `ObjectStore.close`."""
