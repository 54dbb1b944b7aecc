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
from bodycam_ingest.errors import DatabaseDamagedError, IngestError
from bodycam_ingest.model.lifecycle import ItemState, UploadState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_VERSION_TABLE: Final = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
# Our tables have none of these; each changes what a row may be or how it is found.
_CLAUSES: Final = re.compile(r"\b(check|collate|generated|conflict|strict|without)\b")
_TOLD_AT_MOST: Final = 50
_CACHE_KIB: Final = 16 * 1024
_EXPLAINED_AT_MOST: Final = 5
_WORDS: Final[dict[tuple[str, str], Iterable[str]]] = {
    ("item", "state"): ItemState,
    ("upload", "state"): UploadState,
    ("metadata_object", "state"): UploadState,
    ("finding", "severity"): ("alarm", "notice"),
}
_JSON: Final = frozenset({("store_work", "probe"), ("ledger_entry", "body")})
_TIME_LENGTH: Final = 24


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


def our_tables() -> list[sa.Table]:
    """Every table of this program's schema."""
    return list(metadata.sorted_tables)


# -- values --------------------------------------------------------------------------------------


def value_faults(conn: sa.Connection, table: sa.Table) -> list[str]:
    """Columns of a table that hold values of another kind than they were made for.

    SQLite keeps a value of any kind in any column.
    """
    return [
        f"{column}: {count} values are of another kind than the column"
        for column, count in _odd_values(conn, table, _is_of_kind)
    ]


def explain(engine: sa.Engine) -> DatabaseDamagedError | None:
    """What in the database cannot be there; None where all is as this program writes it.

    What another hand put there comes back as a `TypeError` or `ValueError` far from its cause.
    Whoever meets one asks here, and a person is told which column it is, and not that the program
    has a defect. Reads every row: only for when something went wrong.
    """
    try:
        with engine.connect() as conn:
            told = _never_written(conn)
    except DatabaseDamagedError as error:
        return error
    except IngestError:
        # The disk, not what lies on it: the fault that was met stands.
        return None
    if not told:
        return None
    more = f", and {len(told) - _EXPLAINED_AT_MOST} more" if len(told) > _EXPLAINED_AT_MOST else ""
    words = "; ".join(told[:_EXPLAINED_AT_MOST])
    return DatabaseDamagedError(f"the database holds what this program never writes: {words}{more}")


def _never_written(conn: sa.Connection) -> list[str]:
    tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
    there = set(conn.exec_driver_sql(tables).scalars())
    told = [f"the table {name} is missing" for name in metadata.tables if name not in there]
    for name, table in metadata.tables.items():
        if name in there:
            told += [
                f"{column} ({count} row{'s' if count > 1 else ''})"
                for column, count in _odd_values(conn, table, _is_usual)
            ]
    if "ledger_log" in there:
        count = conn.exec_driver_sql("SELECT count(*) FROM ledger_log").scalar()
        told += [] if count == 1 else [f"ledger_log has {count} rows, not one"]
    return told


def _odd_values(
    conn: sa.Connection, table: sa.Table, test: Callable[[sa.Column[Any]], str]
) -> list[tuple[str, int]]:
    """Columns with values that do not pass a test, and how many those are."""
    sums = []
    for column in table.columns:
        passes = f"({test(column)})"
        if column.nullable:
            passes = f"({_quoted(column)} IS NULL OR {passes})"
        sums.append(f"coalesce(sum(NOT coalesce({passes}, 0)), 0)")
    counts = conn.exec_driver_sql(
        f"SELECT {', '.join(sums)} FROM [{table.name}] NOT INDEXED"  # noqa: S608 - our own names
    ).one()
    return [
        (f"{table.name}.{column.name}", count)
        for column, count in zip(table.columns, counts, strict=True)
        if count
    ]


def _quoted(column: sa.Column[Any]) -> str:
    # In double quotes a column that is gone would be taken for a text.
    return f"[{column.name}]"


def _is_of_kind(column: sa.Column[Any]) -> str:
    """SQL for: a value of the column's kind."""
    kind = "text"
    if isinstance(column.type, (sa.Integer, sa.Boolean)):
        kind = "integer"
    elif isinstance(column.type, sa.LargeBinary):
        kind = "blob"
    return f"typeof({_quoted(column)}) = '{kind}'"


def _is_usual(column: sa.Column[Any]) -> str:
    """SQL for: a value that this program may have written."""
    name, kind, test = _quoted(column), column.type, _is_of_kind(column)
    key = (column.table.name, column.name)
    if isinstance(kind, sa.Boolean):
        test += f" AND {name} IN (0, 1)"
    elif isinstance(kind, sa.LargeBinary) and kind.length is not None:
        test += f" AND length({name}) = {kind.length}"
    if key in _WORDS:
        words = ", ".join(f"'{word}'" for word in _WORDS[key])
        test += f" AND {name} IN ({words})"
    elif key in _JSON:
        test += f" AND ({name} = '' OR json_valid(CAST({name} AS TEXT)))"
    elif isinstance(kind, sa.String) and kind.length == _TIME_LENGTH:
        # RFC 3339, or empty where a time is not known yet; julianday knows the form.
        test += f" AND ({name} = '' OR julianday({name}) IS NOT NULL)"
    return test
