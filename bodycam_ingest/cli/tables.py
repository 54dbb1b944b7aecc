"""Tables and records as text, times and states in them as people read them.

Nothing that a person may want to copy is ever broken over lines.

A table that is wider than the terminal loses the ends of its least useful columns. What is still
too wide is shown as records, one value a line. A pipe has no width: it gets whole tables.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from bodycam_ingest.linux import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_GAP: Final = "  "
_CUT_MIN: Final = 8
# A time for people has blanks in it and is one word all the same.
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d", re.ASCII)
# No text that is shown has this letter: it does not print, so it was escaped.
_TIED: Final = "\x00"

_WORDS: Final = {
    "green": "confirmed released purged ok holds running whole complete",
    "yellow": "discovered acquired verified stored reading copied queued sending waiting notice "
    "warn unchecked unknown docked",
    "red": "attention alarm ALARM fail quarantined vanished broken refused FINDING incomplete",
}
_COLOURS: Final = {
    **{word: hue for hue, states in _WORDS.items() for word in states.split()},
    **dict.fromkeys(["NOT RUNNING", "NOT TAKEN"], "red"),
}


def colour(state: str) -> str | None:
    """The colour of a state's word: green is done, yellow is under way, red wants a person."""
    return _COLOURS.get(state)


def local(moment: str | None) -> str:
    """A time of the ledger or a table as people read it: `2026-11-24 20:12:04 +01:00`.

    None or empty gives an empty text, and what is no time stays as it is.
    """
    if not moment:
        return ""
    try:
        found = clock.parse_rfc3339(moment).astimezone()
    except (ValueError, OverflowError):
        return moment
    text = found.isoformat(sep=" ", timespec="seconds")
    # 19 characters of date and time, then the offset.
    return f"{text[:19]} {text[19:]}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Args:
        heading: in capitals; one that starts with `>` is right-aligned.
        value: what stands in it, by its key in a row, or made from the row.
        cut: 0 for what is never cut (ids, times, figures, states). Else its place in the order in
            which columns are cut, the least useful first.
        may_go: it may be left out as a whole; `items ITEM` and a pipe still have it.
        whole: it is shown whole or not at all, as a part of a time or an id helps nobody.
        tail: its end tells more than its beginning, as in a path.
    """

    heading: str
    value: str | Callable[[Any], Any] = ""
    cut: int = 0
    may_go: bool = False
    whole: bool = False
    tail: bool = False

    def of(self, row: Any) -> Any:
        """What stands in it in a row."""
        return row[self.value] if isinstance(self.value, str) else self.value(row)

    def name(self) -> str:
        """The heading as it is shown."""
        return self.heading.removeprefix(">")


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - for rare names alone

    return cell_len(text)


class Table:
    """A table whose rows come in blocks; the first block decides how it is drawn.

    Args:
        columns: what each row has, at least one.
        width: of the terminal; None for a pipe.
        ellipsis: stands where something was cut.
    """

    def __init__(
        self, columns: Sequence[Column], width: int | None, *, ellipsis: str = "…"
    ) -> None:
        self._columns = columns
        self._width = width
        self._ellipsis = ellipsis
        self._widths: list[int] = []
        self._as_records = False

    def lines(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """The lines of further rows, of safe texts; the heading stands before the first of them."""
        columns, lines = self._columns, []
        if not self._widths:
            self._widths = [
                max([cells(column.name()), *(cells(row[at]) for row in rows)])
                for at, column in enumerate(columns)
            ]
            fits = self._width is None or _narrow(columns, self._widths, self._width)
            self._as_records = not fits
            if fits:
                lines.append(self._line([column.name() for column in columns], head=True))
        if self._as_records:
            return _records(columns, rows, self._width or 0)
        return lines + [self._line(row) for row in rows]

    def _line(self, row: Sequence[str], *, head: bool = False) -> str:
        parts = []
        shown = [at for at in range(len(self._columns)) if self._widths[at]]
        for at in shown:
            column, width = self._columns[at], self._widths[at]
            cut = self._width is not None and column.cut
            text = _cut(row[at], width, self._ellipsis, tail=column.tail) if cut else row[at]
            blank = " " * (width - cells(text))
            drawn = click.style(text, bold=True) if head else _coloured(text)
            right = column.heading.startswith(">")
            # No trailing blanks: what is copied or piped is what is there.
            parts.append(blank + drawn if right else drawn + (blank if at != shown[-1] else ""))
        return _GAP.join(parts).rstrip()


def _narrow(columns: Sequence[Column], widths: list[int], width: int) -> bool:
    """Make widths fit, in place; a width of 0 leaves the column out. Whether it worked."""
    for at in sorted((at for at, c in enumerate(columns) if c.cut), key=lambda at: columns[at].cut):
        excess = _total(widths) - width
        if excess <= 0:
            return True
        if columns[at].whole:
            widths[at] = 0
            continue
        least = max(_CUT_MIN, cells(columns[at].name()))
        if widths[at] - excess >= least:
            widths[at] -= excess
        else:
            widths[at] = 0 if columns[at].may_go else min(widths[at], least)
    return _total(widths) <= width


def _total(widths: Sequence[int]) -> int:
    shown = [each for each in widths if each]
    return sum(shown) + len(_GAP) * (len(shown) - 1)


def _coloured(text: str) -> str:
    found = colour(text)
    return click.style(text, fg=found) if found else text


def _cut(text: str, width: int, ellipsis: str, *, tail: bool) -> str:
    if cells(text) <= width:
        return text
    room = width - cells(ellipsis)
    kept = text[-room:] if tail else text[:room]
    while cells(kept) > room:
        kept = kept[1:] if tail else kept[:-1]
    return ellipsis + kept if tail else kept + ellipsis


def _records(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    label = max([len(column.name()) for column in columns[1:]], default=0)
    lines = []
    for row in rows:
        lines.append(click.style(row[0], bold=True))
        for column, value in zip(columns[1:], row[1:], strict=True):
            if not value:
                continue
            head = f"  {column.name().lower():<{label}}  "
            if cells(head) + cells(value) <= width:
                lines.append(head + _coloured(value))
            else:
                lines += paragraph(value, width, first=head, other=" " * len(head))
    return lines


def paragraph(text: str, width: int | None, *, first: str = "", other: str = "  ") -> list[str]:
    """Words of a sentence over several lines; a word (an id, a path) is never broken.

    Args:
        text: what is said.
        width: of the terminal; None for a pipe, which gets one line.
        first: stands before the first line.
        other: stands before each other line.
    """
    if width is None:
        return [(first + text).rstrip()]
    folded = textwrap.wrap(
        _TIME.sub(lambda found: found[0].replace(" ", _TIED), text),
        width,
        initial_indent=first,
        subsequent_indent=other,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_TIED, " ") for line in folded] or [first.rstrip()]
