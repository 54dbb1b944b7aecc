"""The docking manifest: what a docking brought, as one object beside its items (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bodycam_ingest.custody.entry import canonical
from bodycam_ingest.model.rows import key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bodycam_ingest.model.rows import Docking, Item


def build_manifest(
    *,
    dock: str,
    origin: str,
    docking: Docking,
    ledger_entry: int,
    lines: Sequence[dict[str, Any]],
    items: Mapping[str, Item | None],
) -> bytes:
    """The manifest of a docking that ended, as RFC 8785 JSON.

    Its inventory is filled up with what became of each file; one that was not read stands in it
    without a digest, in its state. `ledger_entry` is the `camera.undocked` entry, which names the
    manifest's digest.
    """
    for line in lines:
        known = items.get(line["item_id"])
        if known is not None:
            line["state"] = known.state.value
            line["sha256"] = known.sha256.hex() if known.sha256 else None
            line["key"] = None if known.verified_seq is None else key_of(known)
    return canonical(
        {
            "v": 1,
            "dock": dock,
            "origin": origin,
            "docking_id": docking.docking_id,
            "camera": docking.camera,
            "bay": docking.bay,
            "volume": docking.volume,
            "started_at": docking.started_at,
            "ended_at": docking.ended_at,
            "inventoried": docking.inventoried,
            "complete": docking.complete,
            "inventory_sha256": docking.inventory_sha256,
            "ledger_entry": ledger_entry,
            "entries": lines,
        }
    )
