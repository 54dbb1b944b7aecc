"""Figures, times and states as people read them."""

from __future__ import annotations

import time

import pytest

from bodycam_ingest.cli import tables
from bodycam_ingest.model import amounts


@pytest.fixture(params=["Europe/Berlin", "America/New_York", "UTC"])
def zone(request, monkeypatch):
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2_500_000_000, "2.5 GB"), (10**13, "10.0 TB")],
)
def test_sizes_read_as_on_the_card(size_bytes, text):
    assert amounts.size(size_bytes) == text


def test_times_are_local_with_their_offset(zone):
    winter, summer = {
        "Europe/Berlin": ("2026-11-24 20:12:04 +01:00", "2026-07-01 14:00:00 +02:00"),
        "America/New_York": ("2026-11-24 14:12:04 -05:00", "2026-07-01 08:00:00 -04:00"),
        "UTC": ("2026-11-24 19:12:04 +00:00", "2026-07-01 12:00:00 +00:00"),
    }[zone]
    assert tables.local("2026-11-24T19:12:04.987Z") == winter
    assert tables.local("2026-07-01T12:00:00.000Z") == summer


@pytest.mark.parametrize(("text", "shown"), [(None, ""), ("", ""), ("2026-13-99", "2026-13-99")])
def test_what_is_no_time_stays_as_it_is(text, shown):
    assert tables.local(text) == shown


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 entries"), (1, "1 entry"), (52_310, "52,310 entries")]
)
def test_plurals(number, text):
    assert amounts.count(number, "entry", "entries") == text
    assert amounts.count(number, "item") == text.replace("entry", "item").replace(
        "entries", "items"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (86_399, "23 h"),
        (86_400, "1 day"),
        (200_000, "2 days"),
    ],
)
def test_spans(seconds, text):
    assert amounts.span(seconds) == text


def test_states_have_colours():
    found = [tables.colour(s) for s in ("confirmed", "reading", "attention", "NOT RUNNING", "CAM1")]
    assert found == ["green", "yellow", "red", "red", None]
