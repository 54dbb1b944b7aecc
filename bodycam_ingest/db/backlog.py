"""What is behind: recordings not proven by all stores, entries under no anchored checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.db import own_objects
from bodycam_ingest.db.figures import halves, whole
from bodycam_ingest.db.schema import item
from bodycam_ingest.model.lifecycle import BEHIND

if TYPE_CHECKING:
    from collections.abc import Sequence


def behind(conn: sa.Connection) -> dict[str, Any]:
    """Recordings that not every required store has proven: how many, bytes, since when."""
    number, oldest, *sums = conn.execute(
        sa.select(sa.func.count(), sa.func.min(item.c.discovered_at), *halves(item.c.size_bytes))
        .select_from(item)
        .where(item.c.state.in_(BEHIND))
    ).one()
    return {"items": number, "bytes": whole(sums), "oldest_at": oldest}


def unanchored_since(conn: sa.Connection, required: Sequence[str]) -> str | None:
    """When the first entry was written that no checkpoint off this dock covers; None for none.

    Args:
        conn: an open connection.
        required: names of the required stores.
    """
    return own_objects.first_news_at(conn, own_objects.anchored_size(conn, required))
