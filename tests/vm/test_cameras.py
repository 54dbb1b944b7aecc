"""Cameras that behave: they come to confirmed evidence and go."""

from __future__ import annotations

import pytest

from tests.vm.cards import File
from tests.vm.conftest import content

pytestmark = pytest.mark.timeout(1200)


@pytest.mark.smoke
def test_cameras_come_to_confirmed_evidence(station, new_camera):
    docked = []
    for port, kind in ((3, "fat32"), (4, "exfat")):
        camera, card = new_camera(kind, sizes=(6_000_000, 700_001, 0))
        docked.append((camera, card, card.sha256(), port))
        camera.plug(station.machine, port=port)
    for camera, card, before, port in docked:
        station.wait_done(camera.serial)
        station.wait_bay(camera.serial, "confirmed")
        station.pull(camera)
        station.check(camera, card, before)
        (docking,) = station.dockings(camera.serial)
        assert docking["complete"]
        assert docking["bay"].endswith(f"usb-{port}")
    assert {bay["camera"] for bay in station.command("status")["bays"]} == set()
    station.check_ledger()


def test_eight_cameras_at_once(station, new_camera):
    docked = []
    for port in range(1, 9):
        kind = "fat32" if port % 2 else "exfat"
        camera, card = new_camera(kind, sizes=(1_200_000 + port, 200_000 + port, port))
        docked.append((camera, card, card.sha256()))
        camera.plug(station.machine, port=port)
    station.wait_done(*(camera.serial for camera, _, _ in docked))
    for camera, _, _ in docked:
        camera.pull()
    station.wait_unmounted()
    bays = set()
    for camera, card, before in docked:
        station.wait_said("camera.undocked", camera=camera.serial)
        station.check(camera, card, before)
        bays |= {docking["bay"] for docking in station.dockings(camera.serial)}
    assert len(bays) == len(docked)
    station.check_ledger()


def test_a_camera_whose_clock_was_lost(station, new_camera):
    files = {
        "DCIM/100MEDIA/MOV0001.MP4": File(content(900_000, seed=1), time_s=0),
        "DCIM/100MEDIA/MOV0002.MP4": File(content(900_000, seed=2), time_s=0),
    }
    camera, card = new_camera("exfat", files=files)
    before = card.sha256()
    camera.plug(station.machine, port=2)
    station.wait_done(camera.serial)
    station.pull(camera)
    # Docked again, what has no time is still known by its content.
    camera.plug(station.machine, port=2)
    station.wait_said("camera.inventoried", camera=camera.serial, times=2)
    station.pull(camera)
    station.check(camera, card, before)
    keys = station.evidence(camera.serial)
    assert len(keys) == len(files)
    assert not any("/1970" in key or "/1979" in key or "/1980" in key for key in keys)
    (finding,) = station.command("findings")
    assert finding["code"] == "camera_clock"
    station.command("findings", "close", finding["finding_id"], "--reason", "battery was flat")
    station.check_ledger()


def test_a_stick_that_is_no_camera_is_left_alone(station, new_camera):
    stick, card = new_camera("fat32", vendor_id=0x0951, product="DataTraveler")
    before = card.sha256()
    stick.plug(station.machine, port=5)
    told = station.wait_said("source.device_left_alone")
    assert told["bay"].endswith("usb-5")
    stick.pull()
    station.wait_unmounted()
    assert station.items(stick.serial) == []
    assert station.dockings(stick.serial) == []
    assert stick.disk.writes == []
    assert card.sha256() == before
    station.check_ledger()
