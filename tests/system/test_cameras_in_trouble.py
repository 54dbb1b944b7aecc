"""Cameras that refuse or leave too early, a mount root that is gone: told, then healed."""

from __future__ import annotations

import os
import sys

import pytest

from tests.dock import Dock

pytestmark = [pytest.mark.system, pytest.mark.timeout(200)]

# Root without the rights that make it root: a closed directory is closed to it as well.
WITHOUT_OVERRIDE = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
RUN = [sys.executable, "-m", "bodycam_ingest", "run"]


@pytest.fixture
def dock(tmp_path):
    made = Dock(tmp_path)
    made.store.mkdir()
    made.init()
    yield made
    if made.daemon is not None:
        made.stop(kill=True)


def alarms(dock):
    return {alarm["code"]: alarm for alarm in dock.json("status")["alarms"]}


def count(dock, event):
    return dock.events().count(event)


@pytest.mark.parametrize("closed", [".", "DCIM"])
def test_a_camera_that_cannot_be_listed_wants_attention_and_goes_on_by_itself(dock, closed):
    card = dock.plug("CAM1", {"DCIM/A.MP4": os.urandom(50)})
    (card / closed).chmod(0)
    command = WITHOUT_OVERRIDE + RUN if os.geteuid() == 0 else RUN
    dock.start(command=command)
    bay = dock.wait_state("CAM1", "attention", 20)
    assert any("EACCES" in reason for reason in bay["reasons"]), bay
    assert not any("growing" in reason for reason in bay["reasons"]), bay
    assert bay["percent"] is None
    (alarm,) = dock.wait_for(lambda: list(alarms(dock).values()))
    assert alarm["code"] == ("camera_unlistable" if closed == "." else "inventory_incomplete")
    assert "CAM1" in alarm["detail"]
    assert "EACCES" in alarm["detail"]
    (card / closed).chmod(0o755)
    dock.wait_state("CAM1", "confirmed")
    assert alarms(dock) == {}
    assert count(dock, "camera.not_listed") == 1
    assert count(dock, "camera.listed_again") == 1
    assert dock.stop() == 0
