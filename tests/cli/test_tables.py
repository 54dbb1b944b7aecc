"""Tables at 80 columns: nothing that may be copied is broken, nothing is too wide."""

from __future__ import annotations

import re

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodycam_ingest.cli.tables import Column, Table, cells, paragraph

ID = "01M878BJ0A7MVAYHBJVAKW59A6"
ITEMS = [
    Column("ITEM"),
    Column("CAMERA"),
    Column("PATH", cut=3, tail=True),
    Column(">SIZE"),
    Column("SHA-256", cut=1, may_go=True),
    Column("STATE"),
    Column("STORES", cut=2, may_go=True),
]
ROW = [
    ID,
    "X60A1001",
    "DCIM/100BWC/X60A1001_20261123_200000_0000.MP4",
    "21.0 MB",
    "08ba91ee50f4505f",
    "released",
    "archive: confirmed",
]


def render(columns, rows, width):
    return Table(columns, width).lines(rows)


def plain(lines):
    return [click.unstyle(line) for line in lines]


def test_a_pipe_gets_whole_lines_without_trailing_blanks():
    head, line = plain(render(ITEMS, [ROW], None))
    assert head.split() == ["ITEM", "CAMERA", "PATH", "SIZE", "SHA-256", "STATE", "STORES"]
    assert line == "  ".join(ROW)
    assert head == head.rstrip()


def test_the_least_useful_columns_go_first():
    head, line = plain(render(ITEMS, [ROW], 80))
    assert head.split() == ["ITEM", "CAMERA", "PATH", "SIZE", "STATE"]
    assert re.fullmatch(rf"{ID}  X60A1001  …\S+_0000\.MP4  21.0 MB  released", line)
    assert len(line) <= 80
    head, line = plain(render(ITEMS, [ROW], 125))
    assert line.split("  ")[-1] == "archive: confirmed"


def test_what_cannot_fit_is_shown_as_records():
    first, *rest = plain(render(ITEMS, [ROW], 50))
    assert first == ID
    assert [line.split()[0] for line in rest] == [
        "camera",
        "path",
        "size",
        "sha-256",
        "state",
        "stores",
    ]
    assert rest[0] == "  camera   X60A1001"


def test_a_word_is_never_broken():
    lines = paragraph(f"item:{ID} is " + "long " * 30 + "p" * 200, 60, first="  ", other="    ")
    assert f"item:{ID}" in lines[0]
    assert "    " + "p" * 200 in lines
    assert all(len(line) <= 60 for line in lines[:-1])


@pytest.mark.parametrize("width", range(30, 90))
def test_a_time_is_one_word(width):
    at = "2026-11-24 20:12:04 +01:00"
    lines = paragraph(f"it ended without a word; last entry {at} in the ledger", width)
    assert sum(at in line for line in lines) == 1
    assert all(len(line) <= width for line in lines)


def test_a_time_in_a_table_is_whole_or_not_there():
    columns = [Column("CAMERA"), Column("BAY"), Column("ENDED", cut=1, whole=True)]
    row = ["X60A1001", "usb:1-2", "2026-11-24 20:12:04 +01:00"]
    for width in range(17, 60):
        _, line = plain(render(columns, [row], width))
        assert line == "  ".join(row if width >= 45 else row[:2])


def test_figures_stand_to_the_right():
    _, one, two = plain(
        render([Column(">SIZE"), Column("X")], [["1 B", "a"], ["21.0 MB", "b"]], 80)
    )
    assert (one, two) == ("    1 B  a", "21.0 MB  b")


def test_nothing_to_show():
    assert plain(render(ITEMS, [], 80)) == ["ITEM  CAMERA  PATH  SIZE  SHA-256  STATE  STORES"]


NAMES = st.text(st.characters(categories=["L", "N"]), max_size=90)


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES, NAMES), max_size=5), st.integers(20, 100))
def test_no_line_of_a_table_is_wider_than_the_terminal_and_ids_are_whole(names, width):
    columns = [Column("ID"), Column("A", cut=2), Column("B", cut=1, may_go=True), Column("C")]
    rows = [[ID, *texts] for texts in names]
    lines = plain(render(columns, rows, width))
    for line in lines:
        assert line == line.rstrip()
        longest = max((cells(word) for word in line.split()), default=0)
        assert cells(line) <= max(width, longest + 6)
    assert sum(ID in line for line in lines) == len(rows)


def test_later_blocks_are_drawn_as_the_first_and_lose_nothing():
    """A list of everything is printed a block at a time: widths come from the first."""
    table = Table([Column("ITEM"), Column("PATH", cut=1), Column("STATE")], 40)
    assert len(table.lines([["A", "p" * 10, "new"]])) == 2
    assert plain(table.lines([["B" * 30, "q" * 20, "new"]])) == [f"{'B' * 30}  {'q' * 9}…  new"]
    piped = Table([Column("ITEM"), Column("PATH", cut=1)], None)
    piped.lines([["A", "p"]])
    assert plain(piped.lines([["B" * 30, "q" * 20]])) == [f"{'B' * 30}  {'q' * 20}"]
