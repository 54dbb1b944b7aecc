"""Every column of every projected table is held to the ledger: `verify` names what was changed."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

from bodycam_ingest.custody import entries
from bodycam_ingest.db.schema import metadata
from bodycam_ingest.db.state_dir import initialise
from bodycam_ingest.model import object_keys, rows, subjects
from bodycam_ingest.model.rows import KEY_FIELDS, TABLE_NAMES
from tests.support import facts
from tests.support.dockbench import digests_of, docked
from tests.support.goldendock import DOCKING, Dock
from tests.support.ledgers import ORIGIN, opened

if TYPE_CHECKING:
    from pathlib import Path

    from bodycam_ingest.model.rows import Row

MANIFEST = b"{}"
# So many entries of each kind that every projected table has a row.
DRAFTS = [
    entries.clock_checked(
        dock_ms=7,
        vouched="",
        doubt="unsynchronised",
        since="2026-11-24T19:12:04.123Z",
        step_ms=0,
        ntp_synchronised=False,
    ),
    entries.config_changed(
        sha256="00" * 32, before="", values={"staging.keep_days": "30"}, waits=(), at="start"
    ),
    docked("CAM1", DOCKING),
    entries.camera_assigned("CAM1", "Erika M."),
    entries.camera_inventoried(
        "CAM1",
        docking_id=DOCKING,
        lines=[],
        inventory_sha256=hashlib.sha256(b"").hexdigest(),
        complete=True,
        final=True,
        hour_shift=0,
    ),
    entries.store_added("main", type="directory", required=True, returned=False),
    entries.camera_undocked(
        "CAM1",
        docking_id=DOCKING,
        reason="removed",
        complete=True,
        items={},
        manifest_sha256=hashlib.sha256(MANIFEST).hexdigest(),
    ),
    entries.object_confirmed(
        "main",
        key=object_keys.checkpoint_key(ORIGIN, 1),
        kind=rows.CHECKPOINT,
        sha256=bytes(32),
        size=1,
    ),
    entries.store_pinned("main", identity="directory:1"),
    entries.finding_raised(
        "01J0000000000000000000FND1",
        code="store_full",
        severity="alarm",
        about=subjects.store("main"),
        detail="no room",
    ),
]

COLUMNS = [(kind, name) for kind in TABLE_NAMES for name in kind._fields]
ITEM = "01J00000000000000000000AAA"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root: Path = tmp_path_factory.mktemp("made") / "dock"
    initialise(root / "state", ORIGIN)
    with opened(root / "state") as (_, ledger), ledger.transaction() as txn:
        txn.rows.keep_document(b"")
        txn.rows.keep_document(MANIFEST)
        for draft in DRAFTS:
            txn.add(draft)
        digests = digests_of(b"abc", 1024)
        docking = rows.Docking(DOCKING, "CAM1", "1", "", b"/x", "")
        facts.discover(txn, ITEM, docking, b"A.MP4")
        facts.acquire(txn, ITEM, digests, f"{DOCKING}/{ITEM}")
        facts.verify(txn, ITEM, digests)
        facts.confirm(txn, ITEM, "main")
        facts.release(txn, ITEM, DOCKING, docked=True)
    return root


@pytest.fixture
def dock(made: Path, tmp_path: Path) -> Dock:
    shutil.copytree(made, tmp_path / "dock")
    (tmp_path / "dock/state").chmod(0o700)
    return Dock(tmp_path / "dock")


def another(column: sa.Column[object]) -> str:
    """SQL for another value of the column's own kind."""
    name = column.name
    if isinstance(column.type, sa.Boolean):
        return f"NOT {name}"
    if isinstance(column.type, sa.Integer):
        return f"coalesce({name}, 0) + 1"
    if isinstance(column.type, sa.LargeBinary):
        return f"zeroblob(length(coalesce({name}, x'00')))"
    return "'2020-02-02T02:02:02.020Z'" if name.endswith(("_at", "since")) else "'other'"


@pytest.mark.parametrize("kind", TABLE_NAMES)
def test_a_tables_columns_are_its_rows_fields(kind: type[Row]) -> None:
    table = metadata.tables[TABLE_NAMES[kind]]
    assert tuple(table.c.keys()) == kind._fields
    assert tuple(table.primary_key.c.keys()) == kind._fields[: KEY_FIELDS[kind]]


def test_what_the_entries_make_holds(dock: Dock) -> None:
    assert dock.verify().findings == []


@pytest.mark.parametrize(("kind", "name"), COLUMNS, ids=lambda one: getattr(one, "__name__", one))
def test_a_changed_column_is_named(dock: Dock, kind: type[Row], name: str) -> None:
    table = TABLE_NAMES[kind]
    column = metadata.tables[table].c[name]
    one = f"rowid = (SELECT min(rowid) FROM {table})"
    before = dock.rows(f"SELECT * FROM {table} WHERE {one}")
    dock.sql((f"UPDATE {table} SET {name} = {another(column)} WHERE {one}",))
    assert dock.rows(f"SELECT * FROM {table} WHERE {one}") != before
    found = [(f.code, f.message) for f in dock.verify().findings if f.code.startswith("row_")]
    if column.primary_key:
        assert sorted(code for code, _ in found) == ["row_missing", "row_planted"]
        assert all(message.startswith(f"{table}: ") for _, message in found)
    else:
        ((code, message),) = found
        assert (code, message.partition(" is ")[0]) == ("row_differs", f"{table}: {name}")
