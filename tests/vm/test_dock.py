"""The dock itself: what is installed, how closely it is held, and that it goes without a trace."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.timeout(1200)

RULES = "/etc/udev/rules.d/90-bodycam-ingest.rules"
EXPOSURE_MAX = 2.0


def test_the_service_is_held_closely(station):
    answer = station.machine.ok("systemd-analyze security --no-pager bodycam-ingest.service")
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", answer)
    assert found, answer
    assert float(found[1]) < EXPOSURE_MAX
    user = station.machine.ok("ps -o user= -C bodycam-ingest").split()
    assert set(user) <= {"bodycam-ingest", "bodycam+"}, user


def test_doctor_finds_a_dock_in_order_and_says_what_is_not(station, new_camera):
    camera, card = new_camera("fat32", sizes=(500_000,))
    before = card.sha256()
    camera.plug(station.machine, port=1)
    station.wait_done(camera.serial)
    checks = {check["name"]: check for check in station.command("doctor")["checks"]}
    dock = {name: check for name, check in checks.items() if name.startswith("usb.")}
    assert len(dock) > 8
    assert {name: check for name, check in dock.items() if check["outcome"] != "ok"} == {}
    station.machine.ok(f"mv {RULES} /root/ && udevadm control --reload")
    try:
        told = station.command("doctor", code=1)["checks"]
    finally:
        station.machine.ok(f"mv /root/{RULES.rpartition('/')[2]} {RULES}")
        station.machine.ok("udevadm control --reload")
    assert "usb.rules" in {check["name"] for check in told if check["outcome"] == "fail"}
    station.pull(camera)
    station.check(camera, card, before)
    station.check_ledger()
