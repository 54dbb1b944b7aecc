"""Cameras that behave: they come to confirmed evidence and go."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("kind", ["fat32", "exfat"])
def test_a_camera_comes_to_confirmed_evidence(station, new_camera, kind):
    camera, card = new_camera(kind, sizes=(12_000_000, 700_001, 0))
    before = card.sha256()
    camera.plug(station.machine, port=3)
    station.wait_done(camera.serial)
    station.wait_said("docking.released")
    station.pull(camera)
    station.check(camera, card, before)
    (docking,) = station.look(camera.serial)["dockings"]
    assert docking["complete"]
    assert docking["bay"].endswith("usb-3")
    station.check_ledger()
