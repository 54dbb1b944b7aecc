"""Whether a fault has its cause in the database: a value that this program never writes.

SQLite keeps a value of any kind in any column, so what another hand put there comes back as a
`TypeError` or `ValueError` far from its cause. Whoever meets one asks here, and a person is told
which column it is, and not that the program has a defect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.db.schema import metadata
from bodycam_ingest.errors import DatabaseDamagedError, IngestError
from bodycam_ingest.model.lifecycle import ItemState, UploadState

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOLD_AT_MOST: Final = 5
_WORDS: Final[dict[tuple[str, str], Iterable[str]]] = {
    ("item", "state"): ItemState,
    ("upload", "state"): UploadState,
    ("metadata_object", "state"): UploadState,
    ("finding", "severity"): ("alarm", "notice"),
}
_JSON: Final = frozenset({("store_work", "probe"), ("ledger_entry", "body")})
_TIME_LENGTH: Final = 24


def explain(engine: sa.Engine) -> DatabaseDamagedError | None:
    """What in the database cannot be there; None where all is as this program writes it.

    Reads every row: only for when something went wrong.
    """
    try:
        with engine.connect() as conn:
            rows = conn.execute(
                sa.text("SELECT name FROM sqlite_master WHERE type = 'table'")
            ).scalars()
            there = set(rows)
            told = [f"the table {t.name} is missing" for t in _tables() if t.name not in there]
            for table in _tables():
                if table.name in there:
                    told += _odd_values(conn, table)
            if "ledger_log" in there:
                told += _number_of_logs(conn)
    except DatabaseDamagedError as error:
        return error
    except IngestError:
        # The disk, not what lies on it: the fault that was met stands.
        return None
    if not told:
        return None
    more = f", and {len(told) - _TOLD_AT_MOST} more" if len(told) > _TOLD_AT_MOST else ""
    words = "; ".join(told[:_TOLD_AT_MOST])
    return DatabaseDamagedError(f"the database holds what this program never writes: {words}{more}")


def _tables() -> list[sa.Table]:
    return list(metadata.tables.values())


def _number_of_logs(conn: sa.Connection) -> list[str]:
    count = conn.exec_driver_sql("SELECT count(*) FROM ledger_log").scalar()
    return [] if count == 1 else [f"ledger_log has {count} rows, not one"]


def _odd_values(conn: sa.Connection, table: sa.Table) -> list[str]:
    columns = list(table.columns)
    # Names in brackets: in double quotes a column that is gone would be taken for a text.
    sums = ", ".join(f"coalesce(sum(NOT coalesce({_usual(table, c)}, 0)), 0)" for c in columns)
    counts = conn.exec_driver_sql(
        f"SELECT {sums} FROM [{table.name}] NOT INDEXED"  # noqa: S608 - our own names
    ).one()
    return [
        f"{table.name}.{column.name} ({count} row{'s' if count > 1 else ''})"
        for column, count in zip(columns, counts, strict=True)
        if count
    ]


def _usual(table: sa.Table, column: sa.Column[object]) -> str:
    """SQL for: a value that this program may have written."""
    name = f"[{column.name}]"
    test = _test(table, column, name)
    return f"({name} IS NULL OR {test})" if column.nullable else f"({test})"


def _test(table: sa.Table, column: sa.Column[object], name: str) -> str:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return f"typeof({name}) = 'integer' AND {name} IN (0, 1)"
    if isinstance(kind, sa.Integer):
        return f"typeof({name}) = 'integer'"
    if isinstance(kind, sa.LargeBinary):
        test = f"typeof({name}) = 'blob'"
        if kind.length is not None:
            test += f" AND length({name}) = {kind.length}"
    else:
        test = f"typeof({name}) = 'text'"
    key = (table.name, column.name)
    if key in _WORDS:
        words = ", ".join(f"'{word}'" for word in _WORDS[key])
        test += f" AND {name} IN ({words})"
    elif key in _JSON:
        test += f" AND ({name} = '' OR json_valid(CAST({name} AS TEXT)))"
    elif isinstance(kind, sa.String) and kind.length == _TIME_LENGTH:
        # RFC 3339, or empty where a time is not known yet; julianday knows the form.
        test += f" AND ({name} = '' OR julianday({name}) IS NOT NULL)"
    return test
