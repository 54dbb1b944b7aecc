"""Power, disk and line fail while cameras are docked; what was begun goes on by itself."""

from __future__ import annotations

import threading

import pytest

from tests.vm.station import MIN_FREE_BYTES, PATIENCE_S

pytestmark = pytest.mark.timeout(1200)

STAGING = "/var/lib/bodycam-ingest/staging"


def power_back(station, *docked):
    """Switch the machine on again; the cameras are still in their bays."""
    for camera, _ in docked:
        camera.lost()
    station.machine.power_cut()
    station.machine.start(wait=False)
    for camera, port in docked:
        camera.plug(station.machine, port=port)
    station.machine.wait_up()


@pytest.mark.smoke
def test_power_fails_while_a_camera_is_read(station, new_camera):
    camera, card = new_camera("fat32", sizes=(5_000_000, 2_000_000, 600_000, 0))
    before, dark = card.sha256(), threading.Event()

    def cut():
        station.machine.kill()
        dark.set()

    camera.at_byte(5_500_000, cut)
    camera.plug(station.machine, port=2)
    assert dark.wait(PATIENCE_S)
    power_back(station, (camera, 2))
    station.wait_done(camera.serial)
    station.pull(camera)
    station.check(camera, card, before)
    station.check_ledger()


def test_power_fails_while_recordings_are_uploaded(station, new_camera):
    camera, card = new_camera("exfat", sizes=(13_000_000, 600_000))
    before = card.sha256()
    camera.plug(station.machine, port=3)
    station.wait_for(
        lambda: station.server.uploads(prefix=f"{station.prefix}/"),
        "an upload in parts is open",
        poll_s=0.1,
    )
    station.machine.kill()
    power_back(station, (camera, 3))
    station.wait_done(camera.serial)
    station.pull(camera)
    station.check(camera, card, before)
    assert len(station.evidence(camera.serial)) == len(card.files), "stored twice"
    station.check_ledger()


def test_a_full_disk_waits_and_goes_on_when_there_is_room(station, new_camera):
    camera, card = new_camera("fat32", sizes=(5_000_000, 500_000))
    before = card.sha256()
    free = int(station.machine.ok(f"stat -f -c '%a * %S' {STAGING} | xargs expr"))
    filler = free - MIN_FREE_BYTES - 2_500_000
    station.machine.ok(f"fallocate -l {filler} /var/lib/filler")
    camera.plug(station.machine, port=4)
    station.wait_said("staging.full")
    bay = station.wait_bay(camera.serial, "attention")
    assert bay["reasons"]
    station.machine.ok("rm /var/lib/filler")
    station.wait_done(camera.serial)
    station.wait_bay(camera.serial, "confirmed")
    station.pull(camera)
    station.check(camera, card, before)
    assert station.findings() == []
    station.check_ledger()


def test_a_store_that_is_away_over_a_restart_of_the_machine(station, new_camera):
    camera, card = new_camera("exfat", sizes=(3_000_000, 500_000))
    before = card.sha256()
    station.machine.network(up=False)
    camera.plug(station.machine, port=5)
    station.wait_bay(camera.serial, "copied")
    station.wait_said("store.paused")
    camera.lost()
    station.machine.shut_down()
    station.machine.start(wait=False)
    station.machine.network(up=False)
    station.machine.wait_up()
    states = {item["state"] for item in station.items(camera.serial)}
    assert states == {"verified"}, "what is not in the store is called stored"
    station.machine.network(up=True)
    station.wait_done(camera.serial)
    station.check(camera, card, before)
    assert len(station.evidence(camera.serial)) == len(card.files)
    station.check_ledger()
