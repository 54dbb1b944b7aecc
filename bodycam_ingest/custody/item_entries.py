"""Constructors of the entries about items and what stores have of them; as `custody.entries`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bodycam_ingest.custody.entries import Draft
from bodycam_ingest.custody.entry import figure
from bodycam_ingest.errors import LedgerEntryError
from bodycam_ingest.model import subjects
from bodycam_ingest.model.evidence import encode_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bodycam_ingest.model.evidence import (
        Acquired,
        Confirmation,
        InventoryEntry,
        StatSignature,
        StoredObject,
    )
    from bodycam_ingest.model.rows import Docking as Docked
    from bodycam_ingest.model.subjects import Subject


# -- from the camera -----------------------------------------------------------------------------


def discovered(
    item_id: str,
    docking: Docked,
    entry: InventoryEntry,
    *,
    recorded_at: str,
    officer: str,
    verdict: str,
    reason: str,
) -> Draft:
    """A file that was never met before, or has other content than the one of its name.

    Args:
        item_id: given to it here.
        docking: the docking that lists it.
        entry: the file as listed.
        recorded_at: when the camera says that it was recorded, empty where nothing tells.
        officer: who recorded it, by its name on the card; sealed. Empty where nothing tells.
        verdict: `new` or `changed`.
        reason: why, for people.
    """
    if entry.signature is None:
        raise LedgerEntryError(f"item {item_id} is no file")
    data = {
        "docking_id": docking.docking_id,
        "camera": docking.camera,
        "volume": docking.volume,
        "path": encode_path(entry.path),
        "size_bytes": figure(entry.signature.size_bytes),
        "mtime_ns": str(entry.signature.mtime_ns),
        "recorded_at": recorded_at,
        "verdict": verdict,
        "reason": reason,
    }
    sealed = {"officer": officer} if officer else {}
    return Draft("item.discovered", subjects.item(item_id), data, sealed)


def changed(item_id: str, signature: StatSignature) -> Draft:
    """The camera went on writing before the item was read."""
    data = {"size_bytes": figure(signature.size_bytes), "mtime_ns": str(signature.mtime_ns)}
    return Draft("item.changed", subjects.item(item_id), data)


def acquired(item_id: str, got: Acquired, *, recovered: bool) -> Draft:
    """It was read once, hashed while it was read, and its copy is durable.

    `recovered`: the copy was found after a crash and hashed again.
    """
    digests = got.digests
    data = {
        "sha256": digests.sha256.hex(),
        "size_bytes": figure(digests.size_bytes),
        "part_size_bytes": digests.part_size_bytes,
        "sample_sha256": digests.sample_sha256.hex(),
        "staged": got.staged_path,
        "recovered": recovered,
    }
    return Draft("item.acquired", subjects.item(item_id), data)


def verified(item_id: str, *, sha256: bytes, read_back: str) -> Draft:
    """Its copy was read back from the medium and is equal; every configured store waits for it.

    `read_back` is `direct` (past the page cache) or `cache_dropped`.
    """
    data = {"sha256": sha256.hex(), "read_back": read_back}
    return Draft("item.verified", subjects.item(item_id), data)


def copy_rejected(item_id: str, *, reason: str, quarantined: str) -> Draft:
    """Its copy was no good and lies in quarantine; it is read again."""
    data = {"reason": reason, "quarantined": quarantined}
    return Draft("item.copy_rejected", subjects.item(item_id), data)


def quarantined(item_id: str, *, reason: str, store: str = "") -> Draft:
    """It waits for a person; its copy stays where it is. `store` met the reason, if one did."""
    data = {"reason": reason}
    if store:
        data["store"] = store
    return Draft("item.quarantined", subjects.item(item_id), data)


def requeued(item_id: str, *, reason: str, quarantined: str = "", docking_id: str = "") -> Draft:
    """It is read again.

    `quarantined` is where its copy lies now, empty where there is none; `docking_id` the docking in
    which its camera was found to have it still, empty for none.
    """
    data = {"reason": reason, "quarantined": quarantined}
    if docking_id:
        data["docking_id"] = docking_id
    return Draft("item.requeued", subjects.item(item_id), data)


def reinstated(item_id: str, *, sha256: bytes) -> Draft:
    """Its copy was hashed again and is what was read; every configured store waits for it."""
    return Draft("item.reinstated", subjects.item(item_id), {"sha256": sha256.hex()})


def vanished(item_id: str, docking_id: str) -> Draft:
    """It was seen, never read, and is gone from a camera that is there."""
    return Draft("item.vanished", subjects.item(item_id), {"docking_id": docking_id})


def reappeared(item_id: str, docking_id: str) -> Draft:
    """A vanished one is there again."""
    return Draft("item.reappeared", subjects.item(item_id), {"docking_id": docking_id})


# -- in the stores -------------------------------------------------------------------------------


def _where(
    stored: StoredObject, store: str, sha256: bytes, waits: tuple[bool, Sequence[str]]
) -> dict[str, Any]:
    required, outstanding = waits
    return {
        "store": store,
        "required": required,
        "outstanding": list(outstanding),
        "key": stored.key,
        "version_id": stored.version_id,
        "etag": stored.etag,
        "sha256": sha256.hex(),
    }


def stored(
    item_id: str, store: str, got: StoredObject, *, sha256: bytes, waits: tuple[bool, Sequence[str]]
) -> Draft:
    """A store says that it has it; the proof of its bytes is still to come.

    `waits`: whether the store is required now, and which other stores are waited for.
    """
    return Draft("item.stored", subjects.item(item_id), _where(got, store, sha256, waits))


def confirmed(
    item_id: str,
    store: str,
    proof: Confirmation,
    *,
    sha256: bytes,
    waits: tuple[bool, Sequence[str]],
    because: str = "",
) -> Draft:
    """A store proved that it holds these bytes; `waits` is as in `stored`.

    `because` is `stores_changed` where it says again what was proven before, since the set of
    stores changed.
    """
    data = {
        **_where(proof.stored, store, sha256, waits),
        "proof": str(proof.proof),
        "checksum": proof.checksum,
    }
    if because:
        data["because"] = because
    return Draft("item.confirmed", subjects.item(item_id), data)


def upload_repeated(item_id: str, store: str, reason: str) -> Draft:
    """A store is asked again for the item: `store_lost`, `by_request`."""
    return Draft("upload.repeated", subjects.item(item_id), {"store": store, "reason": reason})


def upload_refused(item_id: str, store: str, *, key: str, reason: str) -> Draft:
    """A store will not take it; a person has to look."""
    data = {"store": store, "key": key, "reason": reason}
    return Draft("upload.refused", subjects.item(item_id), data)


def upload_retried(subject: Subject, *, store: str, uploads: int) -> Draft:
    """A person had what waits tried at once, of the daemon or of one item: so many uploads.

    `store` is the one that was meant, empty for all.
    """
    data = {"store": store, "uploads": uploads, "by_request": True}
    return Draft("upload.retried", subject, data)


def backfilled(store: str, item_ids: Sequence[str]) -> Draft:
    """Items older than a store wait for it from now on; at most 1,000 an entry."""
    return Draft(
        "store.backfilled", subjects.store(store), {"store": store, "items": list(item_ids)}
    )


# -- on the way out ------------------------------------------------------------------------------


def released(item_id: str, *, docking_id: str, docked: bool, dock_ms: int, policy: str) -> Draft:
    """The camera's copy may go.

    Args:
        item_id: the item.
        docking_id: the docking with which it was released.
        docked: the camera is there, and all of it is released together.
        dock_ms: the dock's own time, ms; retention counts from it.
        policy: `keep`.
    """
    data = {"docking_id": docking_id, "docked": docked, "dock_ms": dock_ms, "policy": policy}
    return Draft("item.released", subjects.item(item_id), data)


def purging(item_id: str, staged: str) -> Draft:
    """The intent to purge the dock's own copy; it is anchored before the act."""
    return Draft("item.purging", subjects.item(item_id), {"staged": staged})


def purged(item_id: str, staged: str) -> Draft:
    """The dock's own copy is gone."""
    return Draft("item.purged", subjects.item(item_id), {"staged": staged})
