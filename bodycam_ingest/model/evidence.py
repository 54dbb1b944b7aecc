"""The values that the stages hand to one another: what was seen, read, sent and confirmed.

Pure: no I/O, no clock. Paths from a camera are bytes, because that is what they are on the card.
"""

from __future__ import annotations

import base64
import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bodycam_ingest.model.lifecycle import ItemState

_MIB: Final = 1024 * 1024
PART_SIZE_BYTES_DEFAULT: Final = 16 * _MIB
# S3 takes no more parts of one object.
PARTS_MAX: Final = 10_000


def part_size_for(size_bytes: int, least_bytes: int) -> int:
    """The size of an item's upload parts: whole MiB where the configured size makes too many."""
    wanted = -(-size_bytes // PARTS_MAX)
    return max(least_bytes, -(-wanted // _MIB) * _MIB)


class EntryKind(enum.StrEnum):
    """What a directory entry on a camera is; only files are ever opened."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    SOCKET = "socket"
    FIFO = "fifo"
    DEVICE = "device"
    OTHER_MOUNT = "other_mount"
    UNREADABLE = "unreadable"


class Verdict(enum.StrEnum):
    """What comparing an inventory entry with the camera's history says."""

    NEW = "new"
    SAME = "same"
    CHANGED = "changed"
    MISSING = "missing"
    IGNORED = "ignored"


class BayState(enum.StrEnum):
    """What a bay shows; these words stand wherever the state is shown."""

    READING = "reading"
    COPIED = "copied"
    CONFIRMED = "confirmed"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class StatSignature:
    """Identity, size and time of a file as `fstat` gave them; equal ones mean an untouched file.

    Args:
        mtime_ns: raw modification time as the kernel gave it, ns since 1970.
        device: `st_dev` of the file system.
    """

    size_bytes: int
    mtime_ns: int
    inode: int
    device: int


@dataclass(frozen=True, slots=True)
class InventoryEntry:
    """One directory entry of a camera's volume, as listed.

    Args:
        path: relative to the volume's root, no leading slash.
        signature: of a regular file; None for everything else.
        detail: why it is ignored or unreadable, for people.
    """

    path: bytes
    kind: EntryKind
    signature: StatSignature | None = None
    detail: str = ""


class KnownItem(NamedTuple):
    """An item of a camera's history, as its files are compared with it.

    Args:
        mtime_ns: raw modification time when it was last listed; clocks may have changed since.
        sample_sha256: its sample digest, None when it was never read.
    """

    item_id: str
    path: bytes
    size_bytes: int
    mtime_ns: int
    state: ItemState
    sample_sha256: bytes | None


@dataclass(frozen=True, slots=True)
class Digests:
    """Everything that one pass over an item's bytes yields.

    Args:
        sha256: of the whole, 32 bytes.
        part_size_bytes: upload part size, fixed from now on.
        sample_sha256: of the sample windows, see `bodycam_ingest.model.sampling`.
    """

    size_bytes: int
    sha256: bytes
    part_size_bytes: int
    sample_sha256: bytes

    @property
    def parts(self) -> int:
        """How many upload parts there are; one for an empty file."""
        return max(1, -(-self.size_bytes // self.part_size_bytes))


@dataclass(frozen=True, slots=True)
class CopyRequest:
    """An item to be read off a camera.

    Args:
        docking_id: the docking that it is read at.
        path: relative to the volume's root.
        signature: what the file was when it was listed.
        part_size_bytes: upload part size, fixed from now on.
    """

    item_id: str
    docking_id: str
    path: bytes
    signature: StatSignature
    part_size_bytes: int


@dataclass(frozen=True, slots=True)
class Acquired:
    """A durable, sealed copy.

    Args:
        digests: what was read off the camera.
        staged_path: relative to the staging directory.
    """

    item_id: str
    digests: Digests
    staged_path: str


@dataclass(frozen=True, slots=True)
class StoreObject:
    """An object as it shall stand in a store.

    Args:
        key: safe characters only.
        digests: what the bytes must be.
        metadata: lower-case keys, ASCII values; `item-id` and `sha256` decide whose it is.
    """

    key: str
    digests: Digests
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A store's answer that an object is complete, not yet the proof of its bytes.

    Args:
        version_id: the version that is ours; empty where the store has no versions.
        etag: the store's own tag, as given.
        checksum: what the store tells of these bytes if it tells a checksum, taken from the digests
            of the parts as they were sent; empty where it follows from the item's SHA-256 alone, or
            where nobody knows it any more.
    """

    key: str
    version_id: str = ""
    etag: str = ""
    checksum: str = ""


class ProofKind(enum.StrEnum):
    """How a store's copy was proven."""

    READ_BACK = "read_back"
    STORE_CHECKSUM = "store_checksum"
    PART_CHECKSUMS = "part_checksums"


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The proof that a store holds an object's bytes.

    Args:
        checksum: the store's checksum as it gave it, or the hex digest of what was read back.
    """

    stored: StoredObject
    proof: ProofKind
    checksum: str


@dataclass(frozen=True, slots=True)
class FoundObject:
    """What a look at a key shows.

    Args:
        metadata: lower-case keys.
        version_id: version looked at; empty where there are none.
        etag: the store's own tag.
        checksum_sha256: base64 as given, with `-N` for composites; empty where there is none.
    """

    key: str
    size_bytes: int
    metadata: Mapping[str, str]
    version_id: str = ""
    etag: str = ""
    checksum_sha256: str = ""


@dataclass(frozen=True, slots=True)
class StoreProbe:
    """What a store really verifies, as found by trying it.

    Args:
        verifies_checksum: it refused bytes that differ from `x-amz-checksum-sha256`, or reads back.
        verifies_payload: it refused bytes that differ from the signed payload digest.
        returns_checksum: it tells an object's SHA-256 afterwards.
        reads_back: objects are confirmed by reading them, whatever the store says.
        creates_only: it refused to create what exists already.
    """

    verifies_checksum: bool
    verifies_payload: bool
    returns_checksum: bool
    reads_back: bool
    creates_only: bool = False


def encode_path(path: bytes) -> str | dict[str, str]:
    """A camera's path for JSON, for `decode_path`: text where it is UTF-8, else `{"base64": …}`."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(path).decode("ascii")}


def decode_path(value: str | Mapping[str, str]) -> bytes:
    """The bytes that `encode_path` was given."""
    if isinstance(value, str):
        return value.encode("utf-8")
    return base64.b64decode(value["base64"], validate=True)


def printable_path(path: bytes) -> str:
    """A camera's path for people: control characters and invalid bytes escaped, never raw."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
