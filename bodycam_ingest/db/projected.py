"""The projected tables over one connection: rows read when they are asked for, written together.

The writer, `verify` and `migrate` project through the same class; what they differ in is the
database that they give it. Statements are made once from the rows' fields, and run as SQLite's own:
a batch of small files makes thousands of rows.
"""

from __future__ import annotations

import collections
import hashlib
import zlib
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast

import sqlalchemy as sa

from bodycam_ingest.db.engine import stream
from bodycam_ingest.db.schema import document, metadata
from bodycam_ingest.model import rows
from bodycam_ingest.model.lifecycle import ItemState, UploadState
from bodycam_ingest.model.rows import KEY_FIELDS, TABLE_NAMES
from bodycam_ingest.model.store_set import StoreSet, store_set

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bodycam_ingest.custody.projection.step import R
    from bodycam_ingest.model.rows import Row

# SQLite takes 32,766 parameters at most, older ones 999.
_AT_ONCE: Final = 400

# What SQLite gives back as another type than it was given.
_READ_AS: Final[dict[type[Row], dict[str, Callable[[Any], Any]]]] = {
    rows.Camera: {"assigned": bool},
    rows.Docking: {"inventoried": bool, "complete": bool},
    rows.Item: {"state": ItemState},
    rows.Upload: {"state": UploadState},
    rows.MetadataObject: {"state": UploadState},
}


class _Statements(NamedTuple):
    """The statements of one table, and how its values are read."""

    select: str
    select_many: str
    put: str
    scan: str
    read_as: tuple[tuple[int, Callable[[Any], Any]], ...]


def _statements(kind: type[Row]) -> _Statements:
    table, fields, keys = TABLE_NAMES[kind], kind._fields, kind._fields[: KEY_FIELDS[kind]]
    columns = ", ".join(fields)
    marks = ", ".join("?" * len(fields))
    here = " AND ".join(f"{key} = ?" for key in keys)
    new = ", ".join(f"{name} = excluded.{name}" for name in fields[len(keys) :])
    read_as = _READ_AS.get(kind, {})
    return _Statements(
        select=f"SELECT {columns} FROM {table} WHERE {here}",  # noqa: S608 - our own names
        select_many=f"SELECT {columns} FROM {table} WHERE {keys[0]} IN ",  # noqa: S608 - the same
        put=f"INSERT INTO {table} ({columns}) VALUES ({marks}) "  # noqa: S608 - the same
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {new}",
        scan=f"SELECT {columns} FROM {table} NOT INDEXED ORDER BY {', '.join(keys)}",  # noqa: S608 - the same
        read_as=tuple((fields.index(name), read) for name, read in read_as.items()),
    )


_Fields: TypeAlias = tuple[int, ...]
_Values: TypeAlias = tuple[Any, ...]


def _set(kind: type[Row], fields: _Fields) -> str:
    """The statement that sets these fields of a row that is there; without any: `put`."""
    if not fields:
        return _SQL[kind].put
    keys = kind._fields[: KEY_FIELDS[kind]]
    new = ", ".join(f"{kind._fields[index]} = ?" for index in fields)
    here = " AND ".join(f"{key} = ?" for key in keys)
    return f"UPDATE {TABLE_NAMES[kind]} SET {new} WHERE {here}"  # noqa: S608 - our own names


_SQL: Final = {kind: _statements(kind) for kind in TABLE_NAMES}


def row_of(kind: type[R], values: Iterable[Any]) -> R:
    """A row from what the database gave, in the order of its fields."""
    return cast("R", _row_of(kind, values))


def _row_of(kind: type[Row], values: Iterable[Any]) -> Row:
    found = list(values)
    for index, read in _SQL[kind].read_as:
        found[index] = read(found[index])
    return kind(*found)


class ProjectedRows:
    """The rows of one database, as `custody.projection.State` asks for them.

    Belongs to one thread, and to one transaction where it writes.

    Args:
        conn: the database with the rows.
        documents: the database with the documents that entries name; the same where None.
    """

    def __init__(self, conn: sa.Connection, documents: sa.Connection | None = None) -> None:
        self._conn = conn
        self._documents = documents or conn
        self._rows: dict[type[Row], dict[tuple[Any, ...], Row | None]] = {k: {} for k in _SQL}
        # Rows to be written, each with what is in the database in its place, as far as was read.
        self._new: dict[type[Row], dict[tuple[Any, ...], Row | None]] = {k: {} for k in _SQL}
        self._kept: dict[str, bytes] = {}
        self.named: set[str] = set()
        self._stores: dict[str, rows.Store] | None = None
        self._store_set: StoreSet | None = None

    # -- for the projection --

    def get(self, kind: type[R], *key: str | int) -> R | None:
        """The row of that key, None when there is none."""
        known = self._rows[kind]
        if key in known:
            return known[key]  # type: ignore[return-value]  # each kind has a dictionary of its own
        found = self._conn.exec_driver_sql(_SQL[kind].select, key).first()
        row = None if found is None else row_of(kind, found)
        known[key] = row
        return row

    def stores(self) -> Mapping[str, rows.Store]:
        """Every store's row, by name."""
        if self._stores is None:
            self._stores = read_stores(self._conn)
        return self._stores

    def store_set(self) -> StoreSet:
        """The same stores by what they are now."""
        if self._store_set is None:
            self._store_set = store_set(self.stores().values())
        return self._store_set

    def document(self, sha256: str) -> bytes | None:
        """A document that an entry names; None when it is gone or altered."""
        self.named.add(sha256)
        return self._kept.get(sha256) or read_document(self._documents, sha256)

    # -- for whoever projects --

    def keep_document(self, body: bytes) -> str:
        """Keep a document that an entry will name; returns its SHA-256, hex."""
        digest = hashlib.sha256(body).hexdigest()
        self._kept[digest] = body
        self._conn.execute(
            document.insert().prefix_with("OR IGNORE"),
            {"sha256": bytes.fromhex(digest), "body": zlib.compress(body)},
        )
        return digest

    def prefetch(self, kind: type[Row], keys: Sequence[str]) -> None:
        """Read many rows of a table with one statement, by the first field of their key."""
        known = self._rows[kind]
        single = KEY_FIELDS[kind] == 1
        wanted = [key for key in keys if not single or (key,) not in known]
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            marks = f"({', '.join('?' * len(some))})"
            found = self._conn.exec_driver_sql(_SQL[kind].select_many + marks, tuple(some))
            if single:
                known.update(dict.fromkeys((key,) for key in some))
            for values in found.fetchall():
                row = _row_of(kind, values)
                key = row[: KEY_FIELDS[kind]]
                if known.get(key) is None:
                    known[key] = row

    def put(self, row: Row) -> None:
        """Keep a new row, or a new version of one, until `flush`."""
        kind = type(row)
        key = row[: KEY_FIELDS[kind]]
        known = self._rows[kind]
        self._new[kind].setdefault(key, known.get(key))
        known[key] = row
        if isinstance(row, rows.Store):
            self._stores = {**self.stores(), row.store: row}
            self._store_set = None

    def flush(self) -> list[Row]:
        """Write what was put since the last time; returns it."""
        written: list[Row] = []
        for kind, new in self._new.items():
            known, sets = self._rows[kind], collections.defaultdict[_Fields, list[_Values]](list)
            for key, before in sorted(new.items(), key=itemgetter(0)):
                row = cast("Row", known[key])
                written.append(row)
                if before is None:
                    sets[()].append(tuple(row))
                    continue
                # Only what differs: an index is written where one of its columns is set.
                fields = [i for i, old in enumerate(before) if old != row[i]]
                if fields:
                    sets[tuple(fields)].append((*(row[i] for i in fields), *key))
            new.clear()
            for changed, values in sets.items():
                self._conn.exec_driver_sql(_set(kind, changed), values)
        return written

    def forget(self) -> None:
        """Drop what was read and written, so that memory does not grow with the ledger."""
        for known in self._rows.values():
            known.clear()


def scan(conn: sa.Connection, kind: type[Row]) -> Iterator[tuple[Any, ...]]:
    """Every row as it lies there, in the order of its key, read past the table's indexes."""
    return stream(conn, _SQL[kind].scan)


def all_of(conn: sa.Connection, kind: type[R]) -> Iterator[R]:
    """Every row of a table in the order of its key, read past its indexes."""
    for values in scan(conn, kind):
        yield row_of(kind, values)


def read_stores(conn: sa.Connection) -> dict[str, rows.Store]:
    """Every store that was ever in the configuration, or met, by name."""
    return {row.store: row for row in all_of(conn, rows.Store)}


def chosen(conn: sa.Connection, kind: type[R], *where: sa.ColumnElement[bool]) -> list[R]:
    """The rows of a table that fit, in the order of its key."""
    table = metadata.tables[TABLE_NAMES[kind]]
    keys = (table.c[name] for name in kind._fields[: KEY_FIELDS[kind]])
    found = conn.execute(sa.select(table).where(*where).order_by(*keys))
    return [row_of(kind, values) for values in found.all()]


# -- documents -----------------------------------------------------------------------------------


def read_document(conn: sa.Connection, sha256: str) -> bytes | None:
    """A document by its digest, hex; None when it is gone or is something else."""
    try:
        here = document.c.sha256 == bytes.fromhex(sha256)
        body = zlib.decompress(conn.execute(sa.select(document.c.body).where(here)).scalar_one())
    except (sa.exc.NoResultFound, TypeError, ValueError, zlib.error):
        # None of that digest, or what this program never writes: no hex, no bytes, not compressed.
        return None
    return body if hashlib.sha256(body).hexdigest() == sha256 else None
