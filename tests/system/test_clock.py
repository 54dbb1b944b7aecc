"""The daemon as a process on a dock whose clock is set: what is kept, and what goes on."""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.support.dock import Dock

DAY_S = 24 * 3600
# The clocks of this process alone run as files say: seconds by which each is ahead, and what the
# kernel says of NTP.
CLOCKS = """
import os, pathlib, sys, time
hands = pathlib.Path({hands!r})
def ahead_ns(name):
    return int((hands / name).read_text()) * 1_000_000_000
wall, since_boot = time.time_ns, time.clock_gettime_ns
time.time_ns = lambda: wall() + ahead_ns("wall")
time.time = lambda: time.time_ns() / 1e9
time.clock_gettime_ns = lambda which: since_boot(which) + ahead_ns("boot")
from bodycam_ingest.linux import clock
clock.synchronised = lambda: (hands / "ntp").read_text() == "yes"
"""


class Hands:
    """The clocks of a dock."""

    def __init__(self, directory) -> None:
        self.directory = directory
        directory.mkdir()
        self.set(wall=0, boot=0, ntp="yes")

    def set(self, **values: object) -> None:
        for name, value in values.items():
            aside = self.directory / f".{name}"
            aside.write_text(str(value))
            aside.rename(self.directory / name)


@pytest.fixture
def dock(tmp_path):
    made = Dock.ready(tmp_path, extra="[custody]\nanchor_interval_s = 1\n")
    yield made
    if made.daemon is not None:
        made.stop(kill=True)


@pytest.fixture
def hands(tmp_path):
    return Hands(tmp_path / "hands")


def start(dock: Dock, hands: Hands) -> None:
    dock.log.write_text("")
    dock.start(changed=CLOCKS.format(hands=os.fspath(hands.directory)))


def docked(dock: Dock, camera: str, count: int = 3) -> None:
    files = {f"{n}.MP4": random.Random(f"{camera}{n}").randbytes(30_000) for n in range(count)}
    dock.plug(camera, files)


def states(dock: Dock) -> set[str]:
    return set(dock.states().values())


def findings(dock: Dock) -> set[str]:
    return {finding["code"] for finding in dock.json("findings")}


def test_a_year_forward_purges_nothing_running_or_restarted_confirmed_or_not(dock, hands):
    dock.keep_days(30)
    docked(dock, "CAM1")
    start(dock, hands)
    dock.wait_state("CAM1", "confirmed")
    dock.unplug("CAM1")
    hands.set(wall=366 * DAY_S, ntp="no")
    dock.wait_for(lambda: "clock.stepped" in dock.events())
    dock.wait_for(lambda: findings(dock) == {"clock_in_doubt"})
    assert dock.stop() == 0
    start(dock, hands)
    assert findings(dock) == {"clock_in_doubt"}
    # New recordings are taken and released all the same.
    docked(dock, "CAM2")
    dock.wait_state("CAM2", "confirmed")
    dock.ok("clock", "confirm", "--reason", "compared with the radio clock")
    dock.wait_for(lambda: findings(dock) == set())
    until_s = time.monotonic() + 6
    while time.monotonic() < until_s:
        dock.wait_for(lambda: states(dock) == {"released"})
        time.sleep(0.5)
    assert dock.stop() == 0
    assert len(dock.stored()) == 6
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_copies_whose_days_have_passed_wait_for_a_clock_that_somebody_vouches_for(dock, hands):
    dock.keep_days(30)
    docked(dock, "CAM1")
    start(dock, hands)
    dock.wait_state("CAM1", "confirmed")
    dock.unplug("CAM1")
    hands.set(ntp="no")
    dock.wait_for(lambda: dock.json("clock")["doubt"] == "unsynchronised")
    # Thirty-one days pass: by both clocks alike.
    hands.set(boot=31 * DAY_S)
    hands.set(wall=31 * DAY_S)
    dock.wait_for(lambda: findings(dock) == {"clock_in_doubt"})
    assert states(dock) == {"released"}
    dock.ok("clock", "confirm", "--reason", "compared with the radio clock")
    dock.wait_for(lambda: states(dock) == {"purged"})
    assert findings(dock) == set()
    entries = dock.json("clock")
    assert (entries["vouched"], entries["doubt"]) == ("person", None)
    # Its next start remembers who vouched for it.
    assert dock.stop() == 0
    start(dock, hands)
    assert dock.json("clock")["vouched"] == "person"
    assert dock.stop() == 0
    assert dock.json("verify", "--stores")["result"] == "holds"


def test_a_clock_set_back_a_year_stops_neither_anchors_nor_release(dock, hands):
    hands.set(wall=366 * DAY_S)
    docked(dock, "CAM1")
    start(dock, hands)
    dock.wait_state("CAM1", "confirmed")
    hands.set(wall=0)
    dock.wait_for(lambda: "clock.stepped" in dock.events())
    anchored = dock.events().count("ledger.anchor_queued")
    dock.ok("retry")
    dock.wait_for(lambda: dock.events().count("ledger.anchor_queued") > anchored)
    docked(dock, "CAM2")
    assert dock.wait_state("CAM2", "confirmed")["release"]
    # And a process that finds only times of the future in its database.
    assert dock.stop() == 0
    hands.set(wall=-366 * DAY_S)
    start(dock, hands)
    docked(dock, "CAM3")
    assert dock.wait_state("CAM3", "confirmed")["release"]
    assert dock.stop() == 0
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


@pytest.mark.parametrize("back_s", [3600, 366 * DAY_S])
def test_a_store_that_was_paused_when_the_clock_was_set_back_is_asked_again(dock, hands, back_s):
    dock.edit("backoff_initial_s = 0.1", "backoff_initial_s = 5")
    dock.edit("backoff_max_s = 0.5", "backoff_max_s = 20")
    docked(dock, "CAM1")
    dock.store.rename(dock.root / "gone")
    start(dock, hands)
    dock.wait_for(lambda: dock.events().count("store.paused") >= 2)
    hands.set(wall=-back_s)
    dock.wait_for(lambda: "clock.stepped" in dock.events())
    (dock.root / "gone").rename(dock.store)
    dock.wait_state("CAM1", "confirmed", timeout_s=60)
    assert dock.stop() == 0
