"""Which schema version a database has, and the way to this program's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from bodycam_ingest.db.guards import GUARDS
from bodycam_ingest.db.schema import metadata
from bodycam_ingest.errors import DatabaseDamagedError, SchemaUnknownError

if TYPE_CHECKING:
    import sqlalchemy as sa

_SCRIPTS: Final = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    return config


def program_version() -> str:
    """The schema version that this program works with."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def database_version(conn: sa.Connection) -> str:
    """The schema version of a database.

    Raises:
        DatabaseDamagedError: it has none, or several: no program of ours leaves one like that.
    """
    heads = MigrationContext.configure(conn).get_current_heads()
    if len(heads) != 1 or not isinstance(heads[0], str):
        raise DatabaseDamagedError(
            f"the database has {len(heads) or 'no'} schema versions, not one"
        )
    return heads[0]


def is_known(version: str) -> bool:
    """Whether this program can bring a database of that version to its own."""
    return version in {script.revision for script in _script_directory().walk_revisions()}


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


def _script_directory() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def create_schema(conn: sa.Connection) -> None:
    """Make every table, index and guard in an empty database, inside of the caller's transaction.

    A new database never runs the migrations: they are for old ones.
    """
    metadata.create_all(conn)
    for statement in GUARDS.values():
        conn.exec_driver_sql(statement)
    config = _config()
    config.attributes["connection"] = conn
    command.stamp(config, "head")


def upgrade(conn: sa.Connection) -> None:
    """Bring an old database to this program's schema, inside of the caller's transaction."""
    config = _config()
    config.attributes["connection"] = conn
    command.upgrade(config, "head")
