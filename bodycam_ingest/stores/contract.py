"""The contract of a store: what it does, what it asks of the sender, which objects are its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from bodycam_ingest.errors import StoreConflictError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bodycam_ingest.model.evidence import (
        Confirmation,
        FoundObject,
        StoredObject,
        StoreObject,
        StoreProbe,
    )

# Called with the bytes that are about to be sent, or that were read back since the last call: it
# may take its time, so that a line's limit holds, and it raises AbandonedError once the process
# must end.
Pace: TypeAlias = Callable[[int], None]

ITEM_ID: Final = "item-id"
SHA256: Final = "sha256"
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
_VALUE: Final = re.compile(r"[\x21-\x7e]+( [\x21-\x7e]+)*|")
_METADATA_KEY: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_KEY_BYTES_MAX: Final = 900
_METADATA_BYTES_MAX: Final = 2048


def at_once(_count: int) -> None:
    """The pace of whoever has no limit and nobody to tell."""


class ByteSource(Protocol):
    """The sealed local copy that is sent."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`.

        Raises:
            LocalCopyDamagedError: the copy is shorter.
            StagingError: the medium failed.
        """


class UploadJournal(Protocol):
    """How far one upload in parts got; every call is durable when it returns."""

    upload_id: str
    completing: bool

    @property
    def etags(self) -> Mapping[int, str]:
        """Tags of the parts that the store took under `upload_id`, by number from 1."""

    def begun(self, upload_id: str) -> None:
        """The store began an upload of this id; parts of another count no more."""

    def part_stored(self, number: int, etag: str) -> None:
        """The store took a part."""

    def completing_now(self) -> None:
        """All parts are there; from now on the object may exist."""

    def forgotten(self) -> None:
        """The store knows the upload id no more."""


class ObjectStore(Protocol):
    """A place for objects that are created once and never overwritten."""

    name: str
    # Whether its work takes this machine's disks, and not its processors and line alone.
    on_disk: bool

    def write_together(
        self, batch: Sequence[tuple[StoreObject, ByteSource]], pace: Pace = ...
    ) -> None:
        """Create many small objects at once, where that is quicker than one after the other.

        Each is sent afterwards all the same: `send` finds done what was done here, and tells of
        what failed.
        """

    def send(
        self, obj: StoreObject, source: ByteSource, journal: UploadJournal, pace: Pace = ...
    ) -> StoredObject:
        """Create an object, going on where an earlier try stopped; ours already there is fine.

        Raises:
            StoreConflictError: another object lies at the key.
            LocalCopyDamagedError: the local copy has other bytes.
            StoreError: as its subclass says.
        """

    def confirm(
        self,
        obj: StoreObject,
        stored: StoredObject,
        pace: Pace = ...,
        source: ByteSource | None = ...,
    ) -> Confirmation:
        """Prove that the store holds the bytes of an object that `send` answered for.

        The local copy is read where it takes that to know what the store must tell.

        Raises:
            StoreMismatchError: it holds others, or none.
            StoreError: as its subclass says.
        """

    def look(self, key: str, version_id: str = "") -> FoundObject | None:
        """What lies at a key, None when nothing does."""

    def read(self, key: str, version_id: str = "") -> Iterator[bytes]:
        """The bytes of an object."""

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys of all objects that begin with a prefix."""

    def probe(self) -> StoreProbe:
        """Find out what the store really verifies; leaves nothing behind."""

    def identity(self, *, first: bool = True) -> str:
        """Who the store is; pinned at first contact, after which nothing is written to find out."""

    def close(self) -> None:
        """Let go of connections."""


def check(obj: StoreObject) -> None:
    """Refuse an object whose key or metadata not every store keeps as they are.

    Raises:
        StoreError: the key has unsafe characters, or the metadata is not plain ASCII in 2 KB.
    """
    check_key(obj.key)
    size_bytes = 0
    for key, value in obj.metadata.items():
        if not _METADATA_KEY.fullmatch(key) or not _VALUE.fullmatch(value):
            raise StoreError(f"metadata {key!r}: {value!r} cannot be kept by every store")
        size_bytes += len(key) + len(value)
    if size_bytes > _METADATA_BYTES_MAX:
        raise StoreError(f"{size_bytes} bytes of metadata, stores take {_METADATA_BYTES_MAX}")
    if obj.metadata.get(SHA256) != obj.digests.sha256.hex() or not obj.metadata.get(ITEM_ID):
        raise StoreError(f"metadata of {obj.key} does not say whose it is")


def check_key(key: str) -> None:
    """Refuse a key that is unsafe as a path or in a request, by `StoreError`."""
    if len(key) > _KEY_BYTES_MAX or not all(_SEGMENT.fullmatch(part) for part in key.split("/")):
        raise StoreError(f"{key!r} is no safe key")


def is_ours(obj: StoreObject, found: FoundObject) -> bool:
    """Whether the object at a key says that it is this one: item id, digest and length."""
    return (
        found.size_bytes == obj.digests.size_bytes
        and found.metadata.get(ITEM_ID) == obj.metadata[ITEM_ID]
        and found.metadata.get(SHA256) == obj.metadata[SHA256]
    )


def must_be_ours(obj: StoreObject, found: FoundObject) -> None:
    """Refuse to continue when another object lies at the key, by `StoreConflictError`."""
    if not is_ours(obj, found):
        raise StoreConflictError(
            f"{obj.key} is taken: {found.size_bytes} bytes, item {found.metadata.get(ITEM_ID)!r}, "
            f"SHA-256 {found.metadata.get(SHA256)!r}"
        )
