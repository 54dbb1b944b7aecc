"""Which schema version a database has, and the way to this program's.

Alembic is imported only where a database is made or migrated: every command opens the database,
and alembic takes longer to import than most of them take to answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.db.guards import GUARDS
from bodycam_ingest.db.schema import metadata
from bodycam_ingest.errors import DatabaseDamagedError, SchemaUnknownError

if TYPE_CHECKING:
    from alembic.config import Config

_SCRIPTS: Final = Path(__file__).parent / "migrations"
_VERSION_TABLE: Final = sa.table("alembic_version", sa.column("version_num"))


def _config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def _revisions() -> list[str]:
    """Every schema version, oldest first: a script is named after its own, `v0002_weeks.py`."""
    return sorted(path.name[1:5] for path in (_SCRIPTS / "versions").glob("v[0-9]*.py"))


def program_version() -> str:
    """The schema version that this program works with."""
    return _revisions()[-1]


def database_version(conn: sa.Connection) -> str:
    """The schema version of a database.

    Raises:
        DatabaseDamagedError: it has none, or several: no program of ours leaves one like that.
    """
    # Without the table there is no version either, and asking for its rows would be a fault.
    heads = (
        conn.execute(sa.select(_VERSION_TABLE.c.version_num)).scalars().all()
        if sa.inspect(conn).has_table(_VERSION_TABLE.name)
        else []
    )
    if len(heads) != 1 or not isinstance(heads[0], str):
        raise DatabaseDamagedError(
            f"the database has {len(heads) or 'no'} schema versions, not one"
        )
    return heads[0]


def is_known(version: str) -> bool:
    """Whether this program can bring a database of that version to its own."""
    return version in _revisions()


def check_version(conn: sa.Connection) -> None:
    """Refuse a database of another schema version.

    Raises:
        SchemaUnknownError: it has another version than this program.
        DatabaseDamagedError: it has none at all.
    """
    found, wanted = database_version(conn), program_version()
    if found != wanted:
        hint = (
            "Stop the daemon and run `bodycam-ingest migrate`."
            if is_known(found)
            else "Install the version of bodycam-ingest that made this database, or a newer one."
        )
        raise SchemaUnknownError(
            f"the database has schema {found}, this program works with {wanted}",
            hint=hint,
        )


def create_schema(conn: sa.Connection) -> None:
    """Make every table, index and guard in an empty database, inside of the caller's transaction.

    A new database never runs the migrations: they are for old ones.
    """
    metadata.create_all(conn)
    for statement in GUARDS.values():
        conn.exec_driver_sql(statement)
    from alembic import command  # noqa: PLC0415 - see above

    config = _config()
    config.attributes["connection"] = conn
    command.stamp(config, "head")


def upgrade(conn: sa.Connection) -> None:
    """Bring an old database to this program's schema, inside of the caller's transaction."""
    from alembic import command  # noqa: PLC0415 - see above

    config = _config()
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
