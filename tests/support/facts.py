"""Facts for a ledger, as the product would record them: through its own entries."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.custody import entries, inventory, item_entries
from bodycam_ingest.db import schema
from bodycam_ingest.db.projected import ProjectedRows
from bodycam_ingest.model import rows
from bodycam_ingest.model.evidence import (
    Acquired,
    Confirmation,
    EntryKind,
    InventoryEntry,
    ProofKind,
    StatSignature,
    StoredObject,
)
from bodycam_ingest.model.lifecycle import UploadState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bodycam_ingest.custody.inventory import Line
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.model.evidence import Digests


def discover(
    txn: Txn,
    item_id: str,
    docking: rows.Docking,
    path: bytes,
    *,
    size_bytes: int = 3,
    mtime_ns: int = 0,
    recorded_at: str = "",
    officer: str = "",
) -> int:
    """An item that was seen and not read yet."""
    stamp = StatSignature(size_bytes, mtime_ns, 1, 1)
    return txn.add(
        item_entries.discovered(
            item_id,
            docking,
            InventoryEntry(path, EntryKind.FILE, stamp),
            recorded_at=recorded_at,
            officer=officer,
            verdict="new",
            reason="",
        )
    )


def acquire(txn: Txn, item_id: str, digests: Digests, staged_path: str) -> int:
    """The item was read; its copy lies at that path."""
    got = Acquired(item_id, digests, staged_path)
    return txn.add(item_entries.acquired(item_id, got, recovered=False))


def verify(txn: Txn, item_id: str, digests: Digests) -> int:
    """The item's copy was read back; every configured store waits for it."""
    return txn.add(item_entries.verified(item_id, sha256=digests.sha256, read_back="direct"))


def confirm(txn: Txn, item_id: str, store: str, *, outstanding: tuple[str, ...] = ()) -> int:
    """The store, a required one, proved that it holds the item."""
    row = txn.rows.get(rows.Item, item_id)
    assert row is not None
    assert row.sha256 is not None
    proof = Confirmation(StoredObject(rows.key_of(row)), ProofKind.READ_BACK, row.sha256.hex())
    waits = (True, outstanding)
    return txn.add(item_entries.confirmed(item_id, store, proof, sha256=row.sha256, waits=waits))


def release(
    txn: Txn, item_id: str, docking_id: str, *, dock_ms: int = 0, docked: bool = False
) -> int:
    """The item's copy on the camera may go."""
    return txn.add(
        item_entries.released(
            item_id, docking_id=docking_id, docked=docked, dock_ms=dock_ms, policy="keep"
        )
    )


@contextlib.contextmanager
def tables(*kept: Any) -> Iterator[sa.Connection]:
    """The tables in memory, with these rows in them."""
    engine = sa.create_engine("sqlite://")
    schema.metadata.create_all(engine)
    with engine.connect() as conn:
        projected = ProjectedRows(conn)
        for row in kept:
            projected.put(row)
        projected.flush()
        yield conn
    engine.dispose()


def inventory_of(
    txn: Txn, camera: str, docking_id: str, lines: list[Line], *, final: bool = True
) -> int:
    """The camera was listed, to its end."""
    return txn.add(
        entries.camera_inventoried(
            camera,
            docking_id=docking_id,
            lines=lines,
            inventory_sha256=txn.rows.keep_document(inventory.document(lines)),
            complete=True,
            final=final,
            hour_shift=0,
        )
    )


def undock(txn: Txn, camera: str, docking_id: str, manifest: bytes) -> int:
    """The camera went, after all of it was taken."""
    return txn.add(
        entries.camera_undocked(
            camera,
            docking_id=docking_id,
            reason="removed",
            complete=True,
            items={},
            manifest_sha256=txn.rows.keep_document(manifest),
        )
    )


def item_values(
    item_id: str, camera: str, docking_id: str, path: bytes, **more: Any
) -> dict[str, Any]:
    """Columns of an item's row, for tests of what merely reads rows."""
    given = {"size_bytes": 1, "mtime_ns": 1, "recorded_at": "", **more}
    row = rows.Item(
        item_id=item_id,
        camera=camera,
        docking_id=docking_id,
        volume="",
        path=path,
        seen_docking_id=docking_id,
        seen_mtime_ns=given["mtime_ns"],
        **given,
    )
    return row._asdict()


def upload_values(item_id: str, store: str, state: str) -> dict[str, Any]:
    """Columns of an upload's row, for tests of what merely reads rows."""
    return rows.Upload(item_id, store, UploadState(state))._asdict()
