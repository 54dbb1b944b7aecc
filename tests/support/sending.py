"""What the tests of stores send: bytes in memory, and a journal that outlives a cut-off try."""

from __future__ import annotations

import hashlib
import itertools
import random
from typing import TYPE_CHECKING

from bodycam_ingest.model.evidence import Digests, StoreObject

if TYPE_CHECKING:
    from pathlib import Path

    from bodycam_ingest.model.evidence import StoredObject
    from bodycam_ingest.stores.contract import ObjectStore

PART_BYTES = 5 * 1024 * 1024
_numbers = itertools.count(1)


def some_bytes(size_bytes: int, seed: int = 0) -> bytes:
    return random.Random(f"{seed}/{size_bytes}").randbytes(size_bytes)


def digests_of(data: bytes, part_bytes: int = PART_BYTES) -> Digests:
    return Digests(
        size_bytes=len(data),
        sha256=hashlib.sha256(data).digest(),
        part_size_bytes=part_bytes,
        sample_sha256=b"",
    )


def object_of(data: bytes, key: str = "", **metadata: str) -> StoreObject:
    """An object under a key of its own, with the metadata that says whose it is."""
    number = next(_numbers)
    digests = digests_of(data)
    return StoreObject(
        key=key or f"evidence/cam/2026/01/02/docking/item-{number}/clip.mp4",
        digests=digests,
        metadata={
            "item-id": f"item-{number}",
            "sha256": digests.sha256.hex(),
            **{name.replace("_", "-"): value for name, value in metadata.items()},
        },
    )


def clip(size_bytes: int) -> tuple[bytes, StoreObject]:
    """Bytes, and the object that they are to become."""
    data = some_bytes(size_bytes)
    return data, object_of(data)


def sent(store: ObjectStore, size_bytes: int) -> tuple[bytes, StoreObject, StoredObject]:
    """The same, and what the store that has it now says of it."""
    data, obj = clip(size_bytes)
    return data, obj, store.send(obj, Bytes(data), Journal())


def everything(root: Path) -> list[str]:
    """All that lies in a directory store."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def unfinished(root: Path) -> list[str]:
    """What was begun there."""
    return [path for path in everything(root) if path.endswith(".part")]


class Bytes:
    """A source in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_at(self, offset: int, length: int) -> bytes:
        assert offset + length <= len(self.data)
        return self.data[offset : offset + length]


class Sent:
    """A pace that counts what is sent."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def __call__(self, count: int) -> None:
        self.size_bytes += count


class Journal:
    """A journal whose every call is durable."""

    def __init__(self) -> None:
        self.upload_id = ""
        self.completing = False
        self.etags: dict[int, str] = {}

    def begun(self, upload_id: str) -> None:
        self.upload_id, self.completing, self.etags = upload_id, False, {}

    def part_stored(self, number: int, etag: str) -> None:
        self.etags[number] = etag

    def completing_now(self) -> None:
        self.completing = True

    def forgotten(self) -> None:
        self.begun("")
