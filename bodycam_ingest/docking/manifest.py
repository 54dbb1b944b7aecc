"""The docking manifest: what a docking brought, as one object beside its items (pure)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import rfc8785

from bodycam_ingest.model.evidence import encode_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bodycam_ingest.db.dockings import InventoryRow
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.model.rows import Docking


def _line(row: InventoryRow) -> dict[str, Any]:
    return {
        "path": encode_path(row.path),
        "kind": row.kind.value,
        "size_bytes": None if row.size_bytes is None else str(row.size_bytes),
        "mtime_ns": None if row.mtime_ns is None else str(row.mtime_ns),
        "verdict": row.verdict.value,
        "item_id": row.item_id,
    }


def inventory_sha256(rows: Iterable[InventoryRow]) -> str:
    """One digest for a whole inventory.

    Args:
        rows: the inventory.

    Returns:
        Hex SHA-256 over the lines in the order of their paths' bytes, each line RFC 8785 JSON
        followed by a newline. The figures stand as text, since they can pass 2^53.
    """
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row.path):
        digest.update(rfc8785.dumps(_line(row)) + b"\n")
    return digest.hexdigest()


def build_manifest(
    *,
    dock: str,
    origin: str,
    docking: Docking,
    ledger_entry: int,
    rows: Iterable[InventoryRow],
    items: Mapping[str, ItemRow],
    keys: Mapping[str, str],
) -> bytes:
    """The manifest of a docking that ended.

    Args:
        dock: this dock.
        origin: the ledger's origin.
        docking: the docking with its end.
        ledger_entry: its `camera.undocked` entry.
        rows: its inventory.
        items: the items that the inventory names, by id.
        keys: object key of each item that has one, by id.

    Returns:
        RFC 8785 JSON. A file that was not read stands in it without a digest, in its state.
    """
    listed = sorted(rows, key=lambda row: row.path)
    lines = []
    for row in listed:
        line = _line(row)
        known = items.get(row.item_id) if row.item_id else None
        if known is not None:
            line["state"] = known.state.value
            line["sha256"] = known.sha256.hex() if known.sha256 else None
            line["key"] = keys.get(known.item_id)
        lines.append(line)
    return rfc8785.dumps(
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
            "inventory_sha256": inventory_sha256(listed),
            "ledger_entry": ledger_entry,
            "entries": lines,
        }
    )
