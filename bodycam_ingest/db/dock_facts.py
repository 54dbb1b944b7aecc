"""Facts about the dock that outlive a process, by name."""

from __future__ import annotations

import sqlalchemy as sa

from bodycam_ingest.db.schema import dock_fact


def get(conn: sa.Connection, name: str) -> str:
    """A fact's value, empty when it was never put."""
    return conn.execute(sa.select(dock_fact.c.value).where(dock_fact.c.name == name)).scalar() or ""


def put(conn: sa.Connection, name: str, value: str) -> None:
    """Set a fact's value."""
    changed = conn.execute(
        dock_fact.update().where(dock_fact.c.name == name).values(value=value)
    ).rowcount
    if not changed:
        conn.execute(dock_fact.insert().values(name=name, value=value))
