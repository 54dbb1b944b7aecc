"""`check`: what a monitoring system hears, state for state, and that it always hears one line."""

from __future__ import annotations

import re

import pytest

from bodycam_ingest.cli.check import Limits, State, judge
from tests.support.dock import NO_ROOM, RESERVE, Dock
from tests.support.terminal import said

NOW = "2026-11-24T12:00:00.000Z"
HOUR_AGO = "2026-11-24T11:00:00.000Z"
DAY_AGO = "2026-11-23T11:00:00.000Z"
LIMITS = Limits(warning_s=1800, critical_s=86_400)
LINE = re.compile(
    r"(OK|WARNING|CRITICAL): [^|\n]+ \|( [a-z_]+=[0-9]+(s|B)?;[0-9:]*;[0-9:]*;[0-9]*)+\n?"
)


def status(**other):
    return {
        "dock": "dock-1",
        "time": NOW,
        "running": True,
        "stopped": None,
        "bays": [],
        "stores": [],
        "alarms": [],
        "behind": {"items": 0, "bytes": 0, "oldest_at": None},
        "unanchored_since": None,
        **other,
    }


def failing(since):
    return {"store": "nas", "last_error": "store_full", "failing_since": since}


@pytest.mark.parametrize(
    ("other", "state", "words"),
    [
        ({}, State.OK, "all well"),
        ({"running": False}, State.CRITICAL, "not running"),
        (
            {"running": False, "stopped": {"error": "ledger_unwritable"}},
            State.CRITICAL,
            "not running: ledger_unwritable",
        ),
        ({"alarms": [{"code": "a"}, {"code": "b"}]}, State.CRITICAL, "2 alarms (a, b)"),
        ({"stores": [failing(NOW)]}, State.WARNING, "store nas fails for 0 s: store_full"),
        ({"stores": [failing(DAY_AGO)]}, State.CRITICAL, "store nas fails for 1 day"),
        (
            {"behind": {"items": 3, "bytes": 9, "oldest_at": HOUR_AGO}},
            State.WARNING,
            "3 recordings of 9 B not proven for up to 1 h",
        ),
        ({"behind": {"items": 3, "bytes": 9, "oldest_at": DAY_AGO}}, State.CRITICAL, "1 day"),
        ({"behind": {"items": 3, "bytes": 9, "oldest_at": NOW}}, State.OK, "all well"),
        ({"unanchored_since": HOUR_AGO}, State.WARNING, "did not leave the dock for 1 h"),
        ({"unanchored_since": NOW}, State.OK, "all well"),
        # A clock that was set back must not hide anything, nor make a negative figure.
        ({"unanchored_since": "2026-11-24T13:00:00.000Z"}, State.OK, "all well"),
    ],
)
def test_each_trouble_has_its_weight_and_its_words(other, state, words):
    report = judge(status(**other), LIMITS)
    text = report.text("all well")
    assert report.state() is state
    assert words in text.partition("|")[0]
    assert LINE.fullmatch(text), text


def test_the_worst_comes_first_and_nothing_breaks_the_line():
    report = judge(status(alarms=[{"code": "a|b"}], stores=[failing(NOW)]), LIMITS)
    text = report.text("")
    assert text.startswith("CRITICAL: 1 alarm (a/b); store nas")
    assert text.count("|") == 1


@pytest.mark.long
def test_a_monitoring_system_hears_how_a_dock_stands(tmp_path):
    dock = Dock(tmp_path)
    dock.store.mkdir()
    unknown = dock.run("check")
    assert unknown.returncode == 3
    assert unknown.stdout.startswith("UNKNOWN: ")
    dock.init()
    down = dock.run("check")
    assert (down.returncode, down.stderr) == (2, "")
    assert down.stdout.startswith("CRITICAL: the daemon is not running")
    with dock.running():
        dock.plug("CAM1", {"A.MP4": b"content"})
        dock.wait_state("CAM1", "confirmed")
        well = dock.run("check")
        assert (well.returncode, well.stderr) == (0, ""), well.stdout
        assert well.stdout.startswith("OK: dock dock-1, 1 camera, no alarm | ")
        assert LINE.fullmatch(well.stdout), well.stdout
        assert " cameras=1;" in well.stdout
        assert " staging_free=" in well.stdout

        dock.edit(RESERVE, NO_ROOM)
        assert "nothing more is copied" in dock.run("check").stdout
        dock.config.write_text("nonsense")
        assert dock.run("check").returncode == 3


@pytest.mark.long
def test_a_store_that_fails_is_heard_of(tmp_path):
    dock = Dock.ready(tmp_path)
    with dock.running():
        dock.wait_for(lambda: "store.probed" in dock.events())
        dock.store.rename(tmp_path / "away")
        dock.plug("CAM1", {"A.MP4": b"content"})
        dock.wait_for(lambda: dock.run("check").returncode in {1, 2})
        assert "store nas fails for" in dock.run("check").stdout


@pytest.mark.parametrize(
    "wrong", [["--nope"], ["--warning-h", "soon"], ["--warning-h", "-1"], ["x"]]
)
def test_a_wrong_use_is_unknown_and_nothing_critical(wrong):
    done = said("check", *wrong, env={})
    assert done.returncode == State.UNKNOWN
    assert done.stdout.startswith("UNKNOWN: ")
    assert len(done.stdout.splitlines()) == 1
