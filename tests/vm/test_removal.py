"""Cameras that are pulled at the wrong moment, hang, or fail."""

from __future__ import annotations

import random

import pytest

from tests.vm.cards import File
from tests.vm.conftest import content
from tests.vm.station import PATIENCE_S

pytestmark = pytest.mark.timeout(1200)

MANY = 36


@pytest.mark.parametrize("pulls", [pytest.param(1, marks=pytest.mark.smoke), 5])
def test_pulled_at_random_and_then_left_in(station, new_camera, pulls):
    dice = random.Random(pulls)
    docked = [
        (*new_camera(kind, sizes=(5_000_000, 2_000_000, 700_001, 40_000, 0)), port)
        for kind, port in (("fat32", 4), ("exfat", 5))
    ]
    before = [card.sha256() for _, card, _ in docked]
    for _ in range(pulls):
        for camera, _, port in docked:
            # Less than the largest recording: there is always that much left to read.
            camera.at_byte(dice.randrange(50_000, 4_500_000), camera.drop)
            camera.plug(station.machine, port=port)
        for camera, _, _ in docked:
            assert camera.gone.wait(PATIENCE_S), station.tail()
            station.pull(camera)
    for camera, _, port in docked:
        camera.plug(station.machine, port=port)
    for (camera, card, _), digest in zip(docked, before, strict=True):
        station.wait_done(camera.serial)
        station.wait_bay(camera.serial, "confirmed")
        station.pull(camera)
        station.check(camera, card, digest)
        assert station.dockings(camera.serial)[-1]["complete"]
    assert station.said("item.vanished") == []
    assert station.findings() == []
    station.check_ledger()


def test_pulled_in_the_middle_of_a_listing(station, new_camera):
    files = {
        f"DCIM/100MEDIA/MOV{number:04}.MP4": File(content(5_000, seed=number))
        for number in range(MANY)
    }
    docked = [(*new_camera(kind, files=files), port) for kind, port in (("fat32", 3), ("exfat", 6))]
    before = [card.sha256() for _, card, _ in docked]
    for camera, card, port in docked:
        camera.at_sector(card.sector_of_name(f"MOV{MANY - 1:04}.MP4"), camera.drop)
        camera.plug(station.machine, port=port)
    for camera, _, port in docked:
        assert camera.gone.wait(PATIENCE_S), station.tail()
        station.pull(camera)
        for docking in station.dockings(camera.serial):
            assert not docking["complete"], "a listing that broke off counted as the whole card"
        camera.plug(station.machine, port=port)
    for (camera, card, _), digest in zip(docked, before, strict=True):
        station.wait_done(camera.serial, count=MANY)
        station.pull(camera)
        station.check(camera, card, digest)
    assert station.said("item.vanished") == []
    station.check_ledger()


def test_docked_again_in_another_bay_it_goes_on(station, new_camera):
    camera, card = new_camera("fat32", sizes=(6_000_000, 800_000, 700_000))
    before = card.sha256()
    camera.at_byte(4_000_000, camera.drop)
    camera.plug(station.machine, port=1)
    assert camera.gone.wait(PATIENCE_S), station.tail()
    station.pull(camera)
    camera.plug(station.machine, port=7)
    station.wait_done(camera.serial)
    station.pull(camera)
    station.check(camera, card, before)
    first, second = station.dockings(camera.serial)
    assert not first["complete"]
    assert second["complete"]
    assert first["bay"].endswith("usb-1")
    assert second["bay"].endswith("usb-7")
    station.check_ledger()


def test_a_camera_that_hangs_holds_up_neither_another_bay_nor_the_stop(station, new_camera):
    hanging, hanging_card = new_camera("fat32", sizes=(5_000_000, 100_000))
    other, other_card = new_camera("exfat", sizes=(1_000_000, 200_000))
    before, other_before = hanging_card.sha256(), other_card.sha256()
    hanging.at_byte(3_000_000, lambda: setattr(hanging, "hangs", True))
    hanging.plug(station.machine, port=1)
    station.wait_for(lambda: hanging.hangs, "the camera hangs", poll_s=0.2)
    other.plug(station.machine, port=2)
    station.wait_done(other.serial)
    # The kernel itself gives such a read up after minutes only.
    station.machine.ok("systemctl stop bodycam-ingest", timeout_s=100)
    result = station.machine.ok("systemctl show -P Result bodycam-ingest").strip()
    station.machine.ok("systemctl start bodycam-ingest", timeout_s=300)
    assert result == "success", "systemd had to kill it"
    hanging.pull()
    station.pull(other)
    hanging.plug(station.machine, port=1)
    station.wait_done(hanging.serial)
    station.pull(hanging)
    station.check(hanging, hanging_card, before)
    station.check(other, other_card, other_before)
    station.check_ledger()


def test_a_bad_sector_keeps_one_recording_back_and_says_so(station, new_camera):
    camera, card = new_camera("fat32", sizes=(2_000_000, 3_000_000, 900_000))
    before = card.sha256()
    bad_path = "DCIM/100MEDIA/MOV0001.MP4"
    sector = card.sector_of(card.files[bad_path].content[1_048_576 : 1_048_576 + 512])
    camera.disk.bad.add(sector)
    camera.plug(station.machine, port=6)
    station.wait_done(camera.serial, but=frozenset({bad_path}))
    station.wait_said("item.read_failed", path=bad_path, error="source_unreadable")
    bay = station.wait_bay(camera.serial, "attention")
    assert bay["reasons"]
    (bad,) = [item for item in station.items(camera.serial) if item["path"] == bad_path]
    assert bad["state"] == "discovered"
    assert bad["attempts"] == 1
    assert station.findings() == ["source_unreadable"]
    # Still bad when it is tried by hand; then the card has one good moment.
    station.command("retry", bad["item_id"])
    station.wait_said("item.read_failed", path=bad_path, attempts=2)
    camera.disk.bad.clear()
    station.command("retry", bad["item_id"])
    station.wait_done(camera.serial)
    station.wait_bay(camera.serial, "confirmed")
    station.pull(camera)
    station.check(camera, card, before)
    assert station.findings() == []
    station.check_ledger()
