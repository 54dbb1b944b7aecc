"""Docks of released versions: each is migrated, is then as a new one is made, and goes on."""

from __future__ import annotations

import sqlite3
import tarfile
from pathlib import Path

import pytest

from bodycam_ingest.db.ledger import STATE_FILE
from bodycam_ingest.db.migrate import migrate
from bodycam_ingest.db.schema_version import program_version
from bodycam_ingest.db.state_dir import DATABASE, initialise
from tests.dock import Dock

FIXTURES = Path(__file__).parents[1] / "fixtures"
# Each was left by a daemon of that schema: cameras gone and docked, copies purged, a store away.
OLD = sorted(path.name.split(".")[0] for path in FIXTURES.glob("dock-schema-*.tar.gz"))


def unpacked(name: str, root: Path) -> Path:
    with tarfile.open(FIXTURES / f"{name}.tar.gz") as archive:
        archive.extractall(root, filter="data")
    dock = root / "dock"
    for directory in (dock / "state", dock / "state/keys", dock / "staging"):
        # Extracting takes no directory's mode over.
        directory.chmod(0o700)
    return dock


def shape(database: Path) -> dict[str, object]:
    """What a database is made of, without the order and wording in which it was made."""
    connection = sqlite3.connect(database)
    try:
        objects = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
        ).fetchall()
        found: dict[str, object] = {
            name: (
                kind,
                table,
                sql if kind == "trigger" else _words(sql if kind == "index" else ""),
            )
            for kind, name, table, sql in objects
        }
        for kind, name, _table, _sql in objects:
            if kind == "table":
                columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
                found[f"{name} columns"] = {row[1:] for row in columns}
                keys = connection.execute(f"PRAGMA foreign_key_list({name})").fetchall()
                found[f"{name} references"] = {row[2:] for row in keys}
        return found
    finally:
        connection.close()


def _words(sql: str | None) -> str:
    return " ".join((sql or "").replace('"', "").split())


def test_there_are_some():
    assert OLD[0] == "dock-schema-0001"


@pytest.mark.parametrize("name", OLD)
def test_migrated_it_is_made_like_a_new_one(name, tmp_path):
    initialise(tmp_path / "new", "police.example.org/custody/dock-1")
    state = unpacked(name, tmp_path) / "state"
    migrate(state)
    assert shape(state / DATABASE) == shape(tmp_path / "new" / DATABASE)


@pytest.mark.parametrize("name", OLD)
def test_migrated_it_holds_and_goes_on(name, tmp_path):
    root = unpacked(name, tmp_path)
    dock = Dock(root)
    before = dock.run("status")
    if program_version() not in name:
        assert before.returncode != 0
        assert "bodycam-ingest migrate" in before.stderr
    dock.ok("migrate")
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"
    states = {item["item_id"]: item["state"] for item in dock.items()}
    assert sorted(set(states.values())) == ["purged", "released", "verified"]
    with dock.running():
        # What waited for the store is sent by the new program.
        dock.wait_for(lambda: {item["state"] for item in dock.items()} == {"purged", "released"})
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"
    assert len(dock.stored()) == len(states)


@pytest.mark.parametrize("name", OLD)
def test_the_database_that_was_kept_is_no_way_to_a_second_history(name, tmp_path):
    """Put back after the daemon ran on the new one, it is refused, migrated or not."""
    root = unpacked(name, tmp_path)
    dock = Dock(root)
    dock.ok("migrate", "--check")
    dock.ok("migrate")
    (kept,) = dock.state_dir.glob(f"{DATABASE}.schema-*")
    with dock.running():
        pass
    head = (dock.state_dir / STATE_FILE).read_bytes()
    for path in dock.state_dir.glob(f"{DATABASE}*"):
        if path != kept:
            path.rename(tmp_path / path.name)
    kept.rename(dock.state_dir / DATABASE)
    assert dock.run("run").returncode == 13
    dock.ok("migrate")
    refused = dock.run("run")
    assert refused.returncode == 15
    assert dock.run("verify").returncode == 1
    # Nothing was signed anew, and the right database put back goes on.
    assert (dock.state_dir / STATE_FILE).read_bytes() == head
    for path in dock.state_dir.glob(f"{DATABASE}*"):
        path.unlink()
    (tmp_path / DATABASE).rename(dock.state_dir / DATABASE)
    dock.log.unlink()
    with dock.running():
        pass
    assert dock.json("verify")["result"] == "holds"
