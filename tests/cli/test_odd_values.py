"""Whatever another hand puts into any column: every reading command ends in words and a code."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bodycam_ingest.cli import main
from bodycam_ingest.db.engine import open_database
from bodycam_ingest.db.schema import metadata
from bodycam_ingest.db.soundness import explain
from bodycam_ingest.db.state_dir import initialise
from tests.support.dock import SMALL_CONFIG
from tests.support.ledgers import shell, sql
from tests.support.terminal import said

# Some thousand commands.
pytestmark = pytest.mark.system
ITEM = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
NOW = "2026-03-14T10:00:00.000Z"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("status", "--json"),
    ("items",),
    ("items", "--json"),
    ("items", ITEM),
    ("findings",),
    ("cameras",),
    ("dockings",),
    ("quarantine",),
    ("check",),
)
DOCUMENTED = {
    int(code)
    for code in re.findall(
        r"(?m)^\| (\d+) \|", (Path(__file__).parents[2] / "docs/exit-codes.md").read_text()
    )
}
# Plain values by column; the rest follow from the column's type.
VALUES: dict[str, Any] = {
    "state": "quarantined",
    "item_id": ITEM,
    "docking_id": ITEM,
    "camera": "CAM1",
    "severity": "alarm",
    "ended_at": None,
    "closed_at": None,
    "verdict": "new",
    "metadata": "{}",
    "probe": "{}",
    "proof": "checksum",
    "path": b"DCIM/A.MP4",
}


def plain(table: sa.Table, column: sa.Column[Any]) -> Any:
    if column.name in VALUES:
        value = VALUES[column.name]
        return "queued" if value == "quarantined" and table.name != "item" else value
    if column.name == "kind":
        return "file" if table.name == "inventory" else "manifest"
    if isinstance(column.type, sa.Boolean):
        return True
    if isinstance(column.type, sa.Integer):
        return 1
    if isinstance(column.type, sa.LargeBinary):
        return bytes(column.type.length or 32)
    return NOW if column.type.length == 24 else "words"  # type: ignore[attr-defined]  # String


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """A state directory with a row in every table; its tables take any value."""
    root: Path = tmp_path_factory.mktemp("filled")
    for name in ("cameras", "staging", "archive"):
        (root / name).mkdir()
    (root / "config.toml").write_text(SMALL_CONFIG)
    initialise(root / "state", "police.example.org/custody/dock-7")
    engine = open_database(root / "state/bodycam.db")
    with shell(root / "state") as raw:
        for table in metadata.sorted_tables:
            if not table.name.startswith("ledger_"):
                row = [plain(table, column) for column in table.columns]
                marks = ", ".join("?" * len(row))
                raw.execute(f"INSERT INTO {table.name} VALUES ({marks})", row)
    assert explain(engine) is None
    engine.dispose()
    with shell(root / "state") as raw:
        for table in metadata.sorted_tables:
            raw.execute(f"CREATE TABLE loose AS SELECT * FROM {table.name}")
            raw.execute(f"DROP TABLE {table.name}")
            raw.execute(f"ALTER TABLE loose RENAME TO {table.name}")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return root


def cases() -> list[tuple[str, str, str, tuple[tuple[str, ...], ...]]]:
    """Table, column, odd value and commands: each command meets each column once."""
    found = []
    for table in metadata.sorted_tables:
        for column in table.columns:
            odd = ["NULL", "'many'", "x'ff00'", "CAST(x'ff5b1b' AS TEXT)"]
            if isinstance(column.type, (sa.Integer, sa.Boolean)):
                odd = ["NULL", "'many'", "x'ff00'"]
            elif not isinstance(column.type, sa.LargeBinary):
                odd = ["NULL", "x'ff00'", "'a word'"]
            found += [
                (table.name, column.name, value, COMMANDS[number :: len(odd)])
                for number, value in enumerate(odd)
            ]
    return found


@pytest.mark.parametrize("size", ["9223372036854775807", "9e999", "-1", "'many'", "x'ff'", "NULL"])
def test_verify_on_a_terminal_judges_sizes_that_no_file_has(filled, tmp_path, size):
    root = tmp_path / "dock"
    shutil.copytree(filled, root)
    sql(
        root / "state",
        f"UPDATE item SET size_bytes = {size}, staged_path = 'a/b'",
        "INSERT INTO item SELECT * FROM item",
        "UPDATE upload SET state = 'confirmed'",
    )
    env = {"BODYCAM_INGEST_CONFIG": str(root / "config.toml")}
    done = said("verify", "--files", "--stores", env=env, columns=80)
    assert done.returncode == 1, done.stderr
    assert "result: broken" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_no_value_in_any_column_ends_in_a_traceback(filled, tmp_path, monkeypatch, capfd, name):
    monkeypatch.setenv("BODYCAM_INGEST_CONFIG", str(filled / "config.toml"))
    database = filled / "state/bodycam.db"
    kept = tmp_path / "kept.db"
    shutil.copyfile(database, kept)
    try:
        for table, column, value, commands in cases():
            if table != name:
                continue
            shutil.copyfile(kept, database)
            sql(database, f"UPDATE [{table}] SET [{column}] = {value}")
            for command in commands:
                monkeypatch.setattr(sys, "argv", ["bodycam-ingest", *command])
                code = main()
                out, err = capfd.readouterr()
                what = f"{table}.{column} = {value}: {command}: {code}\n{err}"
                assert code in DOCUMENTED, what
                assert "Traceback" not in err, what
                assert "\x1b" not in out + err, what
                # 20 is the database's; the daemon does not run, and what is damaged is not there.
                assert code in {0, 1, 2, 3, 4, 13, 15, 20, 81}, what
    finally:
        shutil.copyfile(kept, database)
        for side in ("-wal", "-shm"):
            database.with_name(database.name + side).unlink(missing_ok=True)
