"""How many recordings, and of how many bytes: sums that cannot overflow.

A camera may claim lengths whose sum 64 bits do not hold: their halves are added up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.db.schema import item, upload

if TYPE_CHECKING:
    from collections.abc import Sequence

_HALF_BITS: Final = 32
_COUNTED: Final = (
    sa.func.count(),
    sa.func.sum(item.c.size_bytes.op(">>")(_HALF_BITS)),
    sa.func.sum(item.c.size_bytes.op("&")((1 << _HALF_BITS) - 1)),
)
UPLOADS: Final = item.join(upload, upload.c.item_id == item.c.item_id)
"""Every item once for each store that it was to be sent to."""


@dataclass(frozen=True, slots=True)
class Amount:
    """So many recordings of so many bytes."""

    items: int = 0
    size_bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.items + other.items, self.size_bytes + other.size_bytes)

    def __str__(self) -> str:
        noun = "recording" if self.items == 1 else "recordings"
        return f"{self.items} {noun} ({self.size_bytes} bytes)"


def amounts(
    conn: sa.Connection,
    *where: sa.ColumnElement[bool],
    by: Sequence[sa.ColumnElement[Any]],
    among: sa.FromClause = item,
) -> dict[tuple[Any, ...], Amount]:
    """The items for which all of this holds, by the values of some columns."""
    query = sa.select(*by, *_COUNTED).select_from(among).where(*where).group_by(*by)
    return {
        tuple(values): Amount(number, ((high or 0) << _HALF_BITS) + (low or 0))
        for *values, number, high, low in conn.execute(query)
    }


def amount(
    conn: sa.Connection, *where: sa.ColumnElement[bool], among: sa.FromClause = item
) -> Amount:
    """The items for which all of this holds."""
    return amounts(conn, *where, by=(), among=among)[()]
