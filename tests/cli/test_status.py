"""What `status` says to people of stores that wait and cameras that are stuck."""

from __future__ import annotations

import pytest

from bodycam_ingest.cli import status as command
from bodycam_ingest.linux import clock

NOW_MS = 1_795_544_324_000
BAY = {
    "bay": "usb:1-2",
    "camera": "CAM1",
    "state": "reading",
    "reasons": [],
    "percent": 49,
    "mb_per_s": 112.8,
    "time_left_s": 61,
    "docked_at": "2026-11-24T19:12:04.000Z",
}
STORE = {"store": "archive", "last_error": "", "last_message": "", "failing_since": ""}


@pytest.fixture
def shown(monkeypatch, capsys):
    monkeypatch.setattr(clock, "now_ms", lambda: NOW_MS)

    def show(**more):
        told = {
            "dock": "d",
            "running": True,
            "stopped": None,
            "ledger": {"size": 1},
            "bays": [],
            "queue": {"items": {}, "uploads": {}},
            "stores": [],
            "alarms": [],
            **more,
        }
        command._print(told, ["archive"])
        return capsys.readouterr().out

    return show


def test_a_dock_of_one_entry_and_a_store_that_nothing_was_sent_to(shown):
    assert shown() == "dock d: running; ledger of 1 entry\nstore archive: nothing sent yet\n"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "49 %, 112.8 MB/s, 1 min left"),
        ({"time_left_s": 0}, "49 %, 112.8 MB/s"),
        ({"mb_per_s": 0.0, "time_left_s": 0}, "49 %"),
        ({"time_left_s": None}, "49 %, 112.8 MB/s"),
        ({"percent": 100}, "100 %, 112.8 MB/s"),
        ({"percent": None}, ""),
    ],
)
def test_no_time_is_left_for_what_does_not_move(shown, more, told):
    line = shown(bays=[{**BAY, **more}]).splitlines()[2]
    assert line == f"usb:1-2  CAM1    reading  {told}".rstrip()


@pytest.mark.parametrize(
    "due",
    [
        {"paused_until_ms": NOW_MS + 1_140_000},
        {"next_try_at": clock.ms_text(NOW_MS + 1_140_000), "paused_until_ms": 0},
    ],
)
def test_a_store_that_waits_says_until_when_and_why(shown, due):
    failing = {"last_error": "store_full", "last_message": "no room", "failing_since": "?"}
    text = shown(stores=[{**STORE, **failing, **due}])
    assert "fails since ?: store_full: no room" in text
    assert "next try in 19 min, at " in text


@pytest.mark.parametrize("paused_ms", [0, NOW_MS - 1, NOW_MS])
def test_what_is_due_is_no_next_try(shown, paused_ms):
    assert "next try" not in shown(stores=[{**STORE, "paused_until_ms": paused_ms}])


def test_the_window_and_the_limit_of_a_store(shown):
    more = {
        "reason": "its window",
        "window_opens_at": "2026-11-24T22:00:00.000Z",
        "limit_bytes_per_s": 1_500_000,
    }
    text = shown(stores=[{**STORE, **more}])
    assert "waits for its window" in text
    assert "window opens 2026-11-2" in text
    assert "limited to 1.5 MB/s" in text
