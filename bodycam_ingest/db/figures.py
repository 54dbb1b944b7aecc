"""Sums that cannot overflow: a camera may claim lengths whose sum 64 bits do not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Sequence

_HALF_BITS: Final = 32


def halves(column: sa.Column[int]) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    """The sums of a column's upper and lower halves, for `whole`."""
    return (
        sa.func.sum(column.op(">>")(_HALF_BITS)),
        sa.func.sum(column.op("&")((1 << _HALF_BITS) - 1)),
    )


def whole(sums: Sequence[int | None]) -> int:
    """The sum of a column from the two that `halves` asked for; 0 where there was no row."""
    high, low = (value or 0 for value in sums)
    return (high << _HALF_BITS) + low
