"""Alembic's way in; it is always called with an open connection, never from its own command."""

from __future__ import annotations

from alembic import context

from bodycam_ingest.db.schema import metadata

# Alembic runs this file under a name of its own; whoever merely imports it has no database.
if __name__ == "env_py":
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        transactional_ddl=True,
    )
    context.run_migrations()
