"""Whether a database is one that this program made: schema, pages, indexes, kinds of values.

What an index says is believed by every query that uses it, so one that was made anew to leave a
row out hides that row from the daemon and from people. `verify` reads past the indexes, and has
them compared here with what the program makes. Read-only; nothing is fixed.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.db.schema import metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

_VERSION_TABLE: Final = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
# Our tables have none of these; each changes what a row may be or how it is found.
_CLAUSES: Final = re.compile(r"\b(check|collate|generated|conflict|strict|without)\b")
_TOLD_AT_MOST: Final = 50
_CACHE_KIB: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class _Table:
    """What a table is, whatever words made it.

    Of each column: type, NOT NULL, place in the primary key, whether hidden. Unique are the indexes
    that constraints made; clauses are words that change the meaning of its rows.
    """

    kind: str
    columns: dict[str, tuple[Any, ...]]
    references: frozenset[tuple[Any, ...]]
    unique: frozenset[tuple[Any, ...]]
    clauses: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Schema:
    """Tables and views by name; indexes by name with their own words."""

    tables: dict[str, _Table]
    indexes: dict[str, tuple[Any, ...]]


def _words(sql: str | None) -> str:
    return re.sub(r"\s+", " ", re.sub(r'["`\[\]]', "", str(sql or ""))).strip().lower()


def _rows(conn: sa.Connection, statement: str, *values: str) -> list[Any]:
    return list(conn.exec_driver_sql(statement, values).all())


def _index(conn: sa.Connection, name: str) -> tuple[Any, ...]:
    return tuple(
        (row.name, row.desc, row.coll)
        for row in _rows(conn, "SELECT * FROM pragma_index_xinfo(?) WHERE key", name)
    )


def _table(conn: sa.Connection, name: str, kind: str, sql: str | None) -> _Table:
    return _Table(
        kind=kind,
        columns={
            row.name: (_words(row.type), row.notnull, row.pk, row.hidden)
            for row in _rows(conn, "SELECT * FROM pragma_table_xinfo(?)", name)
        },
        references=frozenset(
            (row[2], row[3], row[4], row.on_update, row.on_delete)
            for row in _rows(conn, "SELECT * FROM pragma_foreign_key_list(?)", name)
        ),
        unique=frozenset(
            (row.origin, row.unique, row.partial, _index(conn, row.name))
            for row in _rows(conn, "SELECT * FROM pragma_index_list(?)", name)
            if row.origin != "c"
        ),
        clauses=frozenset(_CLAUSES.findall(_words(sql))),
    )


def _read(conn: sa.Connection) -> _Schema:
    tables: dict[str, _Table] = {}
    indexes: dict[str, tuple[Any, ...]] = {}
    for kind, name, table, sql in _rows(
        conn, "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type <> 'trigger'"
    ):
        if str(name).startswith("sqlite_"):
            # Its own: made by constraints, which are compared with their table, or statistics.
            continue
        if kind == "index":
            indexes[name] = (table, _words(sql), _index(conn, name))
        else:
            tables[name] = _table(conn, name, kind, sql)
    return _Schema(tables, indexes)


@functools.cache
def _made_by_us() -> _Schema:
    engine = sa.create_engine("sqlite://")
    try:
        with engine.connect() as conn:
            metadata.create_all(conn)
            conn.exec_driver_sql(_VERSION_TABLE)
            return _read(conn)
    finally:
        engine.dispose()


def schema_faults(conn: sa.Connection) -> list[str]:
    """How tables, columns, indexes and views differ from what this program makes."""
    ours, found = _made_by_us(), _read(conn)
    faults = []
    for name, wanted in ours.tables.items():
        table = found.tables.get(name)
        if table is None:
            faults.append(f"the table {name} is missing")
        elif table.kind != wanted.kind:
            faults.append(f"{name} is a {table.kind}, not a table")
        else:
            faults += _differences(name, wanted, table)
    faults += [
        f"the {found.tables[name].kind} {name} is none of ours"
        for name in sorted(found.tables.keys() - ours.tables.keys())
    ]
    for name, made in ours.indexes.items():
        if name not in found.indexes:
            faults.append(f"the index {name} is missing")
        elif found.indexes[name] != made:
            faults.append(f"the index {name} is not as this program makes it")
    faults += [
        f"the index {name} is none of ours"
        for name in sorted(found.indexes.keys() - ours.indexes.keys())
    ]
    return faults


def _differences(name: str, wanted: _Table, table: _Table) -> Iterator[str]:
    for column, made in wanted.columns.items():
        if column not in table.columns:
            yield f"the column {name}.{column} is missing"
        elif table.columns[column] != made:
            yield f"the column {name}.{column} is not as this program makes it"
    for column in sorted(table.columns.keys() - wanted.columns.keys()):
        yield f"the column {name}.{column} is none of ours"
    if table.references != wanted.references:
        yield f"the foreign keys of {name} are not as this program makes them"
    if table.unique != wanted.unique:
        yield f"the keys of {name} are not as this program makes them"
    for clause in sorted(table.clauses - wanted.clauses):
        yield f"the table {name} was made with {clause.upper()}"


def page_faults(conn: sa.Connection) -> list[str]:
    """What SQLite itself finds wrong: pages, indexes against rows, references to no row."""
    # Rows are looked for in each index, in no order: SQLite's own 2 MiB hold too little of them.
    conn.exec_driver_sql(f"PRAGMA cache_size = -{_CACHE_KIB}")
    faults = [
        str(word)
        for word in conn.exec_driver_sql(f"PRAGMA integrity_check({_TOLD_AT_MOST})").scalars()
    ]
    if faults == ["ok"]:
        faults = []
    orphans = conn.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(_TOLD_AT_MOST)
    faults += [f"row {row[1]} of {row[0]} refers to no row of {row[2]}" for row in orphans]
    return faults


def value_faults(conn: sa.Connection, table: sa.Table) -> list[str]:
    """Columns of a table that hold values of another kind than they were made for.

    SQLite keeps a value of any kind in any column.
    """
    columns = list(table.columns)
    counts = ", ".join(
        f"sum(typeof({_quoted(c.name)}) NOT IN ({_kinds(c)})) AS n{number}"
        for number, c in enumerate(columns)
    )
    row = conn.exec_driver_sql(
        f"SELECT {counts} FROM {_quoted(table.name)} NOT INDEXED"  # noqa: S608 - our names
    ).one()
    return [
        f"{table.name}.{column.name}: {count} values are of another kind than the column"
        for column, count in zip(columns, row, strict=True)
        if count
    ]


def _quoted(name: str) -> str:
    # In double quotes a column that is gone would be taken for a text.
    return f"[{name}]"


def _kinds(column: sa.Column[Any]) -> str:
    kind = column.type
    if isinstance(kind, (sa.Integer, sa.Boolean)):
        allowed = "'integer'"
    else:
        allowed = "'blob'" if isinstance(kind, sa.LargeBinary) else "'text'"
    return f"{allowed}, 'null'" if column.nullable else allowed


def our_tables() -> list[sa.Table]:
    """Every table of this program's schema."""
    return list(metadata.sorted_tables)
