"""Whatever lies in the database: `verify` answers "holds", "broken" or "could not be checked"."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from bodycam_ingest.db.schema import metadata
from tests.support.goldendock import build
from tests.support.ledgers import shell, sql

pytestmark = pytest.mark.long

VALUES = [
    "text",
    "",
    7,
    -1,
    2**62,
    1.5,
    b"",
    b"\xff\x00",
    b"x" * 40,
    None,
    "\0",
    "../../x",
    "[" * 3000,
    "{}",
]
TABLES = {table.name: table for table in metadata.sorted_tables}


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """As the others', but with rows in every table and nothing that guards them."""
    dock = build(tmp_path_factory.mktemp("golden") / "dock")
    loosen(dock)
    fill(dock)
    return dock


def loosen(dock):
    """Take NOT NULL off every column, by the text of the schema."""
    change = "UPDATE sqlite_master SET sql = replace(sql, ' NOT NULL', '') WHERE type = 'table'"
    sql(dock.state, "PRAGMA writable_schema = ON", change)


def fill(dock):
    """A row of its kind in each table that has none."""
    with shell(dock.state) as raw:
        for name, table in TABLES.items():
            if not raw.execute(f"SELECT count(*) FROM {name}").fetchone()[0]:
                row = [
                    b"x" if "BLOB" in str(c.type) else 1 if c.type.python_type is int else "x"
                    for c in table.columns
                ]
                raw.execute(f"INSERT INTO {name} VALUES ({', '.join('?' * len(row))})", row)


def poison(dock, table, column, first):
    """Put values of many kinds into rows of a column, another one into each."""
    with shell(dock.state) as raw:
        for (trigger,) in raw.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            raw.execute(f"DROP TRIGGER {trigger}")
        rows = raw.execute(f"SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT {len(VALUES)}")
        for number, (rowid,) in enumerate(rows.fetchall()):
            value = VALUES[(first + number) % len(VALUES)]
            with contextlib.suppress(sqlite3.Error):
                # Such as text as a number of rows: SQLite does not take it.
                raw.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", [value, rowid])


@pytest.mark.parametrize("table", TABLES)
def test_values_of_any_kind_in_any_column_are_answered(dock, table):
    pristine = (dock.state / "bodycam.db").read_bytes()
    for number, column in enumerate(TABLES[table].columns):
        (dock.state / "bodycam.db").write_bytes(pristine)
        poison(dock, table, column.name, number)
        report = dock.verify(files=True, stores=True)
        assert report.result() == "broken", (column.name, report)
        assert "schema_differs" in {finding.code for finding in report.findings}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_gone_is_told(dock, table):
    dock.sql((f"DROP TABLE {table}",), guards=False)
    report = dock.verify(files=True, stores=True)
    assert any(
        finding.code == "schema_differs" and f"table {table} is missing" in finding.message
        for finding in report.findings
    )
