"""Staging that is full, gone or refused: one trouble, told once, over when its cause is over."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time

import pytest

from tests.support.dock import NO_ROOM, RESERVE, sha256

pytestmark = pytest.mark.timeout(400)

DEFAULT_BACKOFF = ("backoff_initial_s = 0.1\nbackoff_max_s = 0.5\n", "")
WATCHED_S = 15


def alarms(dock):
    return sorted(alarm["code"] for alarm in dock.json("status")["alarms"])


def commits_in(dock, span_s):
    """How often the database was seen to change, looked at twenty times a second."""
    with sqlite3.connect(f"file:{dock.state_dir}/bodycam.db?mode=ro", uri=True) as conn:
        seen, changes = None, -1
        until_s = time.monotonic() + span_s
        while time.monotonic() < until_s:
            now = conn.execute("PRAGMA data_version").fetchone()[0]
            changes += now != seen
            seen = now
            time.sleep(0.05)
    return changes


def test_a_thousand_files_that_wait_for_a_full_disk_are_one_trouble(dock):
    dock.edit(RESERVE, NO_ROOM)
    dock.edit(*DEFAULT_BACKOFF)
    dock.plug("CAM1", {f"{n:04}.MP4": random.Random(n).randbytes(50) for n in range(1000)})
    with dock.running():
        bay = dock.wait_state("CAM1", "attention")
        assert any("staging full: 1000 items wait" in reason for reason in bay["reasons"])
        # The docking learns a moment after the database that none of it moves.
        dock.wait_for(lambda: dock.bay("CAM1")["percent"] is None)
        bay = dock.bay("CAM1")
        assert bay["time_left_s"] is None
        assert bay["mb_per_s"] is None
        assert alarms(dock) == ["staging_full"]
        lines = len(dock.lines())
        commits = commits_in(dock, WATCHED_S)
        # At most twenty of each a minute.
        assert commits <= 20 * WATCHED_S / 60
        assert len(dock.lines()) - lines <= 20 * WATCHED_S / 60
        assert dock.events().count("staging.full") == 1

        dock.edit(NO_ROOM, RESERVE)
        dock.signal(signal.SIGHUP)
        dock.wait_for(lambda: dock.json("status")["bays"][0]["state"] == "copied", 120)
        assert alarms(dock) == []
        assert dock.events().count("staging.well") == 1


def test_a_file_larger_than_all_of_staging_waits_alone(dock):
    card = dock.plug("CAM1", {"small.MP4": b"x" * 50})
    with (card / "huge.MP4").open("wb") as file:
        file.truncate(2**43)
    with dock.running():
        dock.wait_state("CAM1", "attention")
        dock.wait_for(lambda: dock.states()["small.MP4"] != "discovered")
        dock.wait_for(lambda: alarms(dock) == ["file_size_absurd", "staging_too_small"])
        for alarm in dock.json("status")["alarms"]:
            assert "CAM1" in alarm["detail"]
            assert "huge.MP4" in alarm["detail"]
        # The small one's own way to its store has to be over first.
        dock.wait_for(lambda: commits_in(dock, 2) == 0)
        lines = len(dock.lines())
        assert commits_in(dock, 5) <= 3
        assert len(dock.lines()) - lines <= 3
        # Gone from the card, it holds up nothing any more but its own record.
        (card / "huge.MP4").unlink()
        dock.wait_for(lambda: alarms(dock) == ["item_vanished"])


def test_staging_that_goes_away_is_told_at_once_and_comes_back_by_itself(dock):
    with dock.running():
        aside = dock.staging.with_name("elsewhere")
        dock.staging.rename(aside)
        dock.wait_for(lambda: alarms(dock) == ["staging"], 20)
        dock.plug("CAM1", {"A.MP4": b"recording"})
        bay = dock.wait_state("CAM1", "attention")
        assert any("staging" in reason for reason in bay["reasons"])
        lines = len(dock.lines())
        assert commits_in(dock, 5) <= 3
        assert len(dock.lines()) - lines <= 3
        aside.rename(dock.staging)
        dock.wait_state("CAM1", "confirmed")
        assert alarms(dock) == []


def test_staging_that_was_removed_and_made_again_is_used_again(dock):
    dock.plug("CAM1", {"A.MP4": b"recording"})
    with dock.running():
        dock.wait_state("CAM1", "confirmed")
        dock.staging.rename(dock.root / "gone")
        dock.wait_for(lambda: alarms(dock) == ["staging"], 20)
        dock.staging.mkdir()
        (dock.mnt / "CAM1" / "B.MP4").write_bytes(b"another")
        dock.wait_for(lambda: "staging" not in alarms(dock), 20)
        dock.wait_for(lambda: dock.states().get("B.MP4") == "released")


def test_a_start_without_staging_is_an_alarm_and_no_end(dock):
    aside = dock.staging.with_name("elsewhere")
    dock.staging.rename(aside)
    dock.plug("CAM1", {"A.MP4": os.urandom(50)})
    with dock.running():
        dock.wait_state("CAM1", "attention")
        assert alarms(dock) == ["staging"]
        aside.rename(dock.staging)
        dock.wait_state("CAM1", "confirmed")
        assert alarms(dock) == []


def test_a_copy_that_was_deleted_is_read_again_and_its_alarm_ends(dock):
    (dock.store).rename(dock.root / "away")
    dock.plug("CAM1", {"A.MP4": b"one", "B.MP4": b"two"})
    with dock.running():
        dock.wait_state("CAM1", "copied")
        dock.unplug("CAM1")
    for path in dock.staging.rglob("*-*"):
        if path.is_file():
            path.unlink()
    dock.log.unlink()
    with dock.running():
        assert alarms(dock)[:2] == ["staging_missing", "staging_missing"]
        (dock.root / "away").rename(dock.store)
        dock.replug("CAM1")
        dock.wait_for(
            lambda: (
                {i["state"] for i in dock.items()} == {"verified"}
                or {i["state"] for i in dock.items()} == {"released"}
            )
        )
        dock.wait_for(lambda: "staging_missing" not in alarms(dock))


def test_copies_that_a_crash_left_are_taken_and_odd_ones_hold_up_no_start(dock):
    files = {f"{n}.MP4": random.Random(n).randbytes(5000) for n in range(4)}
    dock.plug("CAM1", files)
    dock.edit(RESERVE, NO_ROOM)
    with dock.running():
        dock.wait_for(lambda: len(dock.items()) == 4)
        dock.wait_state("CAM1", "attention")
        dock.unplug("CAM1")
        dock.wait_for(lambda: dock.bay("CAM1") is None)
    # As after a power cut between a copy's name and the entry about it.
    places = []
    for item in dock.items():
        directory = dock.staging / item["docking_id"]
        directory.mkdir(exist_ok=True)
        places.append(directory / f"{item['item_id']}-{sha256(files[item['path']])}")
    places[0].write_bytes(files["0.MP4"])
    places[1].write_bytes(b"other bytes than the name says")
    os.mkfifo(places[2])
    places[3].symlink_to("/dev/zero")
    dock.log.unlink()
    with dock.running():
        dock.wait_for(lambda: dock.events().count("item.recovered") == 1)
        dock.wait_for(
            lambda: alarms(dock) == ["local_copy_damaged", "staging_full", "staging_strange"]
        )
        dock.wait_for(lambda: dock.items()[0]["state"] in {"confirmed", "released"})
        places[2].unlink()
        places[3].unlink()
        dock.edit(NO_ROOM, RESERVE)
        dock.signal(signal.SIGHUP)
        dock.replug("CAM1")
        dock.wait_for(lambda: {i["state"] for i in dock.items()} == {"released"})
        assert "local_copy_damaged" not in alarms(dock)
    assert sorted(dock.stored().values()) == sorted(sha256(data) for data in files.values())
    dock.log.unlink()
    with dock.running():
        dock.wait_for(lambda: alarms(dock) == [])
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


@pytest.mark.parametrize("put_back", ["whole", "damaged"])
def test_a_copy_that_was_put_back_is_taken_again_at_the_start_if_it_is_what_was_read(
    dock, put_back
):
    (dock.store).rename(dock.root / "away")
    dock.plug("CAM1", {"A.MP4": b"one"})
    with dock.running():
        dock.wait_state("CAM1", "copied")
        dock.unplug("CAM1")
    (copy,) = (path for path in dock.staging.rglob("*-*") if path.is_file())
    content = copy.read_bytes()
    aside = dock.root / "aside"
    copy.rename(aside)
    dock.log.unlink()
    with dock.running():
        assert alarms(dock)[0] == "staging_missing"
    (dock.root / "away").rename(dock.store)
    # An empty directory of a docking is taken away.
    copy.parent.mkdir(mode=0o700, exist_ok=True)
    aside.rename(copy)
    if put_back == "damaged":
        copy.chmod(0o600)
        copy.write_bytes(content[:-1] + b"?")
    dock.log.unlink()
    with dock.running():
        if put_back == "whole":
            dock.wait_for(lambda: dock.items()[0]["state"] == "released")
            assert "staging_missing" not in alarms(dock)
            assert next(iter(dock.stored().values())) == dock.items()[0]["sha256"]
        else:
            dock.wait_for(lambda: "item.not_taken_back" in dock.events())
            assert dock.items()[0]["state"] == "quarantined"
            assert "staging_missing" in alarms(dock)
            assert dock.stored() == {}
    dock.ok("verify")


def test_a_copy_that_was_put_back_and_reinstated_ends_its_alarm(dock):
    dock.plug("CAM1", {"A.MP4": b"one"})
    dock.store.rename(dock.root / "away")
    with dock.running():
        dock.wait_state("CAM1", "copied")
        dock.unplug("CAM1")
    (copy,) = (path for path in dock.staging.rglob("*-*") if path.is_file())
    aside = dock.root / "aside"
    copy.rename(aside)
    (dock.root / "away").rename(dock.store)
    dock.log.unlink()
    with dock.running():
        assert alarms(dock)[0] == "staging_missing"
        copy.parent.mkdir(mode=0o700, exist_ok=True)
        aside.rename(copy)
        (item,) = dock.items()
        dock.ok("quarantine", "reinstate", item["item_id"])
        dock.wait_for(lambda: dock.items()[0]["state"] == "released")
        assert "staging_missing" not in alarms(dock)
