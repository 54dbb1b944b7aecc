"""Rows of the projected tables: what the ledger's entries make of the dock (pure).

`custody.projection` computes them; `db.projected` keeps them. A row's fields are the columns of its
table in order; the first of them are its key (`KEY_FIELDS`). Times are RFC 3339 text in UTC with
milliseconds, digests are raw bytes, paths are raw bytes as on the card.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

from bodycam_ingest.errors import UsageError
from bodycam_ingest.model import object_keys
from bodycam_ingest.model.evidence import Digests, ProofKind, StoredObject

if TYPE_CHECKING:
    from bodycam_ingest.model.lifecycle import ItemState, UploadState

REQUIRED: Final = "required"
OPTIONAL: Final = "optional"
MANIFEST: Final = "manifest"
CHECKPOINT: Final = "checkpoint"


class Camera(NamedTuple):
    """A camera that was docked here.

    Args:
        camera: serial.
        assigned: a profile or a person says that it is one of ours.
        profile: name of the profile that matched at its last docking, empty when none did.
        officer_seq: entry that says who carries it, None before; the name is sealed there.
    """

    camera: str
    assigned: bool
    profile: str
    officer_seq: int | None
    first_docked_at: str
    last_docked_at: str


class Docking(NamedTuple):
    """One camera's volume from attach to detach.

    Args:
        docking_id: ULID.
        camera: serial.
        bay: USB port of the dock.
        volume: which of the camera's volumes.
        ended_at: None while it lasts.
        end_reason: empty while it lasts.
        inventoried: it was listed to its end, twice with one result, the camera present after.
        complete: all that was listed was on the dock when it ended.
        inventory_sha256: digest of the newest inventory, a document; empty before the first.
        released_at: when the camera's copies were released together, None before.
    """

    docking_id: str
    camera: str
    bay: str
    volume: str
    mount_path: bytes
    started_at: str
    ended_at: str | None = None
    end_reason: str = ""
    inventoried: bool = False
    complete: bool = False
    inventory_sha256: str = ""
    released_at: str | None = None


class Item(NamedTuple):
    """One file found on a camera.

    Args:
        item_id: ULID.
        camera: serial of its camera.
        docking_id: docking in which it was discovered.
        volume: the camera's volume that it lay on.
        path: relative to that volume's root.
        size_bytes: as listed, then as read.
        mtime_ns: raw modification time as listed, ns since 1970.
        recorded_at: when the camera says that it was recorded, as far as a profile can tell.
        seen_docking_id: docking that saw it last, or in which it was found to be gone.
        seen_mtime_ns: its modification time then; clocks of cameras shift.
        sha256: digest taken while it was read, None before.
        sample_sha256: sample digest taken while it was read, None before.
        part_size_bytes: upload part size, None before it was read.
        staged_path: relative to staging.dir; empty while there is no copy.
        verified_seq: entry that says that its copy was read back, None before.
        confirmed_seq: entry of the confirmation that was the last required one, None before.
        released_at: when its camera's copy was released, None before.
        released_dock_ms: the dock's own time then, ms; None before. Purger counts from it.
        purging_seq: entry of the intent to purge the staged copy, None before.
        quarantine_reason: why it is in quarantine, empty when it is not.
    """

    item_id: str
    camera: str
    docking_id: str
    volume: str
    path: bytes
    size_bytes: int
    mtime_ns: int
    state: ItemState
    discovered_at: str
    recorded_at: str
    seen_docking_id: str
    seen_mtime_ns: int
    sha256: bytes | None = None
    sample_sha256: bytes | None = None
    part_size_bytes: int | None = None
    staged_path: str = ""
    verified_seq: int | None = None
    confirmed_seq: int | None = None
    released_at: str | None = None
    released_dock_ms: int | None = None
    purging_seq: int | None = None
    quarantine_reason: str = ""


class ItemFacts(Protocol):
    """What an item is known by: a row, or one with what waits for it."""

    @property
    def item_id(self) -> str: ...  # noqa: D102 - as in `Item`
    @property
    def camera(self) -> str: ...  # noqa: D102 - the same
    @property
    def docking_id(self) -> str: ...  # noqa: D102 - the same
    @property
    def path(self) -> bytes: ...  # noqa: D102 - the same
    @property
    def size_bytes(self) -> int: ...  # noqa: D102 - the same
    @property
    def discovered_at(self) -> str: ...  # noqa: D102 - the same
    @property
    def sha256(self) -> bytes | None: ...  # noqa: D102 - the same
    @property
    def sample_sha256(self) -> bytes | None: ...  # noqa: D102 - the same
    @property
    def part_size_bytes(self) -> int | None: ...  # noqa: D102 - the same


def key_of(item: ItemFacts) -> str:
    """The key of an item's object, the same in every store."""
    moment = dt.datetime.fromisoformat(item.discovered_at)
    return object_keys.evidence_key(item.camera, moment, item.docking_id, item.item_id, item.path)


def digests_of(item: ItemFacts) -> Digests:
    """What an item's one reading yielded.

    Raises:
        UsageError: it was never read.
    """
    if item.sha256 is None or item.sample_sha256 is None or item.part_size_bytes is None:
        raise UsageError(f"item {item.item_id} was never read")
    return Digests(
        size_bytes=item.size_bytes,
        sha256=item.sha256,
        part_size_bytes=item.part_size_bytes,
        sample_sha256=item.sample_sha256,
    )


class Upload(NamedTuple):
    """What one store has of one item.

    Args:
        state: `queued`, `stored`, `confirmed` or `refused`.
        version_id: the version that is ours, empty where the store has none.
        etag: the store's own tag.
        proof: how the store's copy was proven, empty before.
        checksum: the checksum that proved it, empty before.
        confirmed_at: when it was proven, empty before.
    """

    item_id: str
    store: str
    state: UploadState
    version_id: str = ""
    etag: str = ""
    proof: str = ""
    checksum: str = ""
    confirmed_at: str = ""


class Sent(Protocol):
    """What a store said of an upload: a row, or one with the work on it."""

    @property
    def version_id(self) -> str: ...  # noqa: D102 - as in `Upload`
    @property
    def etag(self) -> str: ...  # noqa: D102 - the same
    @property
    def proof(self) -> str: ...  # noqa: D102 - the same
    @property
    def checksum(self) -> str: ...  # noqa: D102 - the same


def stored_object(key: str, sent: Sent) -> StoredObject:
    """The object of an upload, to be proven again."""
    parts = sent.checksum if sent.proof == ProofKind.PART_CHECKSUMS else ""
    return StoredObject(key, sent.version_id, sent.etag, parts)


class Finding(NamedTuple):
    """Something that a person has to know of.

    Args:
        code: what is wrong, a constant word.
        severity: `alarm` needs a person and holds up the release it touches; `notice` does not.
        subject: whom it is about, such as `item:<ulid>` or `store:<name>`.
        docking_id: the docking that it touches, None for none.
        item_id: the item that it touches, None for none.
        detail: for people.
        closed_at: None while it is open.
    """

    finding_id: str
    code: str
    severity: str
    subject: str
    docking_id: str | None
    item_id: str | None
    detail: str
    opened_at: str
    closed_at: str | None = None


class Store(NamedTuple):
    """A store that was ever in the configuration, or met.

    Args:
        type: `directory` or `s3`, empty before a start of the daemon noted it.
        identity: what it was at first contact, empty before.
        role: `required` or `optional`, as the configuration has it or had it last; empty: never
            noted.
        left_at: when it was taken out of the configuration, empty while it is there.
        retired_at: when a person gave it up, empty else.
    """

    store: str
    type: str = ""
    identity: str = ""
    role: str = ""
    left_at: str = ""
    retired_at: str = ""

    @property
    def configured(self) -> bool:
        """Whether it is in the configuration."""
        return bool(self.role) and not self.left_at

    @property
    def required(self) -> bool:
        """Whether it is required, or was when it was taken out."""
        return self.role == REQUIRED


class MetadataObject(NamedTuple):
    """A small object that the daemon made: a docking's manifest, or a checkpoint in a store.

    Args:
        kind: `manifest` or `checkpoint`.
        sha256: digest of its bytes.
        state: `queued`, `confirmed` or `refused`.
        ledger_size: entries that a checkpoint covers, None for a manifest.
        seq: entry that says so.
    """

    store: str
    key: str
    kind: str
    sha256: bytes
    state: UploadState
    ledger_size: int | None
    seq: int


class Setting(NamedTuple):
    """One key of the configuration as it was last recorded; no secret stands here.

    Args:
        key: such as `staging.keep_days`.
        value: JSON text; empty when the key was taken out.
    """

    key: str
    value: str


THE_CLOCK: Final = 1


class DockClock(NamedTuple):
    """The dock's own time, and who vouches for its clock.

    Args:
        clock: always 1; there is one.
        boot: the kernel's id of the boot in which the clocks were checked last.
        mono_ms: CLOCK_BOOTTIME then, ms.
        checked_at: the time of day then.
        dock_ms: the dock's own time then, ms: what is known to have passed since its first start.
        vouched: `ntp`, `person`, or empty while nobody does.
        doubt: why nobody does, empty while somebody does.
        since: when the doubt began, empty without one.
    """

    clock: int
    boot: str
    mono_ms: int
    checked_at: str
    dock_ms: int
    vouched: str = ""
    doubt: str = ""
    since: str = ""


Row: TypeAlias = (
    Camera | Docking | Item | Upload | Finding | Store | MetadataObject | Setting | DockClock
)

# In the order in which rows may refer to one another.
TABLE_NAMES: Final[dict[type[Row], str]] = {
    Camera: "camera",
    Docking: "docking",
    Item: "item",
    Store: "store",
    Upload: "upload",
    Finding: "finding",
    MetadataObject: "metadata_object",
    Setting: "setting",
    DockClock: "dock_clock",
}
KEY_FIELDS: Final[dict[type[Row], int]] = {
    kind: 2 if kind in {Upload, MetadataObject} else 1 for kind in TABLE_NAMES
}
