from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bodycam_ingest.camera.sources.volume import MountedVolume
from bodycam_ingest.config import Cameras
from bodycam_ingest.docking import manager
from bodycam_ingest.docking.manager import DockingManager

CAMERAS = Cameras(mount_roots=(Path("/media"),), rescan_s=1.0)


class Source:
    """Shows what a test puts there."""

    def __init__(self):
        self.volumes = []

    def present(self):
        return list(self.volumes)

    def is_present(self, mounted):
        return mounted in self.volumes


class Docking:
    """Runs until the test lets it end, as one does that hangs in a dead camera."""

    def __init__(self, mounted, camera):
        self.mounted, self.camera = mounted, camera
        self.docking_id = f"{camera}/{mounted.volume}/{mounted.attachment}"
        self.gone = threading.Event()
        self.free = threading.Event()
        self.thread_pause = threading.Event()
        self.fault = None
        self.ended = ""

    def live(self):
        return None

    def removed(self):
        self.gone.set()

    def run(self):
        self.free.wait(30)
        if self.fault is not None:
            raise self.fault

    def finish(self, reason):
        self.ended = reason


class CameraIdentification:
    """Notes which dockings begin and which names were told apart."""

    def __init__(self):
        self.dockings = []
        self.apart = []
        self.failures = []
        self.silences = []
        self.speaks = threading.Event()

    def identify(self, mounted):
        if mounted.properties:
            self.speaks.wait(30)
        return mounted.camera

    def failed(self, camera, why):
        self.failures.append((camera, why))

    def silent(self, bay):
        self.silences.append(bay)

    def answered(self, bay):
        self.silences.remove(bay)

    def disambiguate(self, serial, bay):
        self.apart.append((serial, bay))
        return f"{serial}~{bay}"

    def open_docking(self, mounted, serial, *, source):
        docking = Docking(mounted, serial)
        self.dockings.append(docking)
        return docking


class Releaser:
    """Releases nothing."""

    def tick(self, live):
        pass


def _stand_in(fake: Any) -> Any:
    """For what only a part of is needed here."""
    return fake


class Dock:
    """A manager with everything around it."""

    def __init__(self):
        self.source = _stand_in(Source())
        self.identification = _stand_in(CameraIdentification())
        self.manager = DockingManager(
            source=self.source,
            identification=self.identification,
            releaser=_stand_in(Releaser()),
            halt=lambda error: None,
            cameras=lambda: CAMERAS,
        )

    def look(self):
        self.manager.tick()
        for bay in self.manager._bays:
            while bay.docking is None and bay.thread.is_alive() and not bay.mounted.properties:
                bay.thread.join(0.01)
        return [(d.camera, d.mounted.bay, d.mounted.volume) for d in self.identification.dockings]


@pytest.fixture
def dock():
    dock = Dock()
    yield dock
    for docking in dock.identification.dockings:
        docking.free.set()
    assert dock.manager.join(10)


def volume(bay, name="", attachment="1", camera="X81A"):
    return MountedVolume(
        camera=camera,
        bay=bay,
        volume=name,
        mount_path=Path("/mnt") / f"{bay}{name}",
        device=1,
        inode=0,
        attachment=attachment,
    )


def test_volumes_of_one_camera_in_one_bay_are_one_camera(dock):
    dock.source.volumes = [volume("bay1"), volume("bay1", "lun1")]
    assert dock.look() == [("X81A", "bay1", ""), ("X81A", "bay1", "lun1")]
    assert dock.identification.apart == []


@pytest.mark.parametrize("name", ["", "lun1"])
def test_one_serial_in_two_bays_is_alarmed_and_never_merged(dock, name):
    dock.source.volumes = [volume("bay1"), volume("bay2", name)]
    assert dock.look() == [("X81A", "bay1", ""), ("X81A~bay2", "bay2", name)]
    assert dock.identification.apart == [("X81A", "bay2")]
    assert len(dock.look()) == 2


@pytest.mark.parametrize("bay", ["bay1", "bay2"])
def test_a_camera_that_comes_back_while_its_reader_hangs_keeps_its_name(dock, bay):
    dock.source.volumes = [volume("bay1")]
    dock.look()
    (hanging,) = dock.identification.dockings
    dock.source.volumes = [volume(bay, attachment="2"), volume("bay3", camera="OTHER")]
    # Another bay is not held up meanwhile.
    assert dock.look() == [("X81A", "bay1", ""), ("OTHER", "bay3", "")]
    assert hanging.gone.is_set()
    hanging.free.set()
    for _ in range(100):
        if len(dock.look()) == 3:
            break
        hanging.thread_pause.wait(0.05)
    assert dock.look()[-1] == ("X81A", bay, "")
    assert dock.identification.apart == []


def mute(mounted):
    """The same volume of a camera that does not tell its serial number."""
    return dataclasses.replace(mounted, properties={"MUTE": "1"})


def test_a_camera_that_does_not_tell_its_name_holds_up_no_other_bay(dock, monkeypatch):
    monkeypatch.setattr(manager, "_SILENT_S", 0.0)
    dock.source.volumes = [mute(volume("bay1")), volume("bay2", camera="OTHER")]
    assert dock.look() == [("OTHER", "bay2", "")]
    assert dock.look() == [("OTHER", "bay2", "")]
    assert dock.identification.silences == ["bay1"]
    dock.identification.speaks.set()
    until_s = time.monotonic() + 20
    while len(dock.look()) < 2 and time.monotonic() < until_s:
        time.sleep(0.01)
    assert dock.look()[-1] == ("X81A", "bay1", "")
    assert dock.identification.silences == []


def test_a_silent_camera_that_is_pulled_is_no_alarm_any_more(dock, monkeypatch):
    monkeypatch.setattr(manager, "_SILENT_S", 0.0)
    dock.source.volumes = [mute(volume("bay1"))]
    dock.look()
    dock.look()
    assert dock.identification.silences == ["bay1"]
    dock.source.volumes = []
    dock.look()
    assert dock.identification.silences == []
    dock.identification.speaks.set()
    assert dock.look() == []


def test_a_docking_that_crashed_is_an_alarm_and_stays_until_its_camera_goes_or_its_time_comes(
    dock, monkeypatch
):
    dock.source.volumes = [volume("bay1")]
    dock.look()
    (docking,) = dock.identification.dockings
    docking.fault = RuntimeError("a defect")
    docking.free.set()
    assert dock.manager.join(10)
    assert len(dock.look()) == 1
    ((camera, why),) = dock.identification.failures
    assert camera == "X81A"
    assert "RuntimeError" in why
    assert list(dock.manager.live()) == [docking.docking_id]
    assert docking.ended == ""

    dock.source.volumes = []
    dock.look()
    assert docking.ended == "removed"
    assert dock.manager.live() == {}


def test_a_docking_that_keeps_crashing_is_begun_later_each_time(dock, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("bodycam_ingest.docking.manager.time.monotonic", lambda: now[0])
    dock.source.volumes = [volume("bay1")]
    waits = []
    for begun in range(1, 5):
        dock.look()
        while len(dock.look()) < begun:
            now[0] += 15
        waits.append(now[0])
        docking = dock.identification.dockings[-1]
        docking.fault = RuntimeError("a defect")
        docking.free.set()
        assert dock.manager.join(10)
    assert [later - sooner for sooner, later in itertools.pairwise(waits)] == [60, 120, 240]
