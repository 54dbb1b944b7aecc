"""Lengths, numbers and spans of time as text for people."""

from __future__ import annotations

from typing import Final

_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
# Below this many of a unit the next smaller one is told too.
_EXACT_BELOW: Final = 10


def size(size_bytes: int) -> str:
    """A length for people: `1.5 GB`, decimal units as on the card's label."""
    figure = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if figure < 1000:  # noqa: PLR2004 - decimal units
            return f"{figure:.0f} {unit}" if unit == "B" else f"{figure:.1f} {unit}"
        figure /= 1000
    return f"{figure:.1f} TB"


def count(number: int, one: str, many: str = "") -> str:
    """A number with its noun: `1 entry`, `1,000 items`.

    Where `many` is empty, it is `one` with an s.
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def span(seconds: float) -> str:
    """A length of time for people: `8 s`, `12 min`, `3 h 20 min`, `2 days`."""
    whole = max(0, round(seconds))
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min"
    if whole < _DAY_S:
        hours, minutes = whole // _HOUR_S, whole % _HOUR_S // _MINUTE_S
        return f"{hours} h {minutes} min" if minutes and hours < _EXACT_BELOW else f"{hours} h"
    return count(whole // _DAY_S, "day")
