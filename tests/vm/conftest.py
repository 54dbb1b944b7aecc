"""The machine and its station; one is used on until a test fails with it."""

from __future__ import annotations

import itertools
import os
import random
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.seaweedfs import SeaweedServer
from tests.vm.cards import File, make_card
from tests.vm.image import REPOSITORY, build
from tests.vm.machine import HOST, Machine
from tests.vm.station import Station
from tests.vm.usbcamera import UsbCamera

if TYPE_CHECKING:
    from collections.abc import Iterator

_FAILED = pytest.StashKey[bool]()
_CACHE = "BODYCAM_VM_CACHE"
_PROGRAMS = [
    "qemu-system-x86_64",
    "qemu-img",
    "mmdebstrap",
    "mcopy",
    "mkfs.fat",
    "mkfs.exfat",
    "mkfs.ext4",
]
_numbers = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="session")
def image():
    """The disk with the product on it."""
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    assert not missing, f"install what brings {missing}; CONTRIBUTING.md names the packages"
    return build(Path(os.environ.get(_CACHE, REPOSITORY / ".vm")))


class Stations:
    """Starts a station, and another one after a failure."""

    def __init__(self, image, server, directory):
        self._image, self._server, self._directory = image, server, directory
        self._stack = ExitStack()
        self._station = None

    def take(self) -> Station:
        if self._station is None:
            number = next(_numbers)
            directory = self._directory / f"m{number}"
            directory.mkdir()
            machine = self._stack.enter_context(Machine(self._image, directory))
            machine.start()
            self._station = Station(machine, self._server, f"station{number}")
            self._station.set_up()
        return self._station

    def discard(self) -> None:
        self._station = None
        self._stack.close()


@pytest.fixture(scope="session")
def _stations(image, tmp_path_factory) -> Iterator[Stations]:
    with SeaweedServer(tmp_path_factory.mktemp("weed"), also=[HOST]) as server:
        stations = Stations(image, server, tmp_path_factory.mktemp("vm"))
        yield stations
        stations.discard()


@pytest.fixture
def station(request, _stations):
    """A running station."""
    station = _stations.take()
    yield station
    if request.node.stash.get(_FAILED, False):
        try:
            print(station.tail())
        finally:
            _stations.discard()


@pytest.fixture
def new_camera(tmp_path):
    """Makes a camera with recordings on its card; every camera of a run has its own serial."""
    made = []

    def make(kind="fat32", sizes=(3_000_000, 700_001, 0), *, files=None, **options):
        number = next(_numbers)
        serial = f"X81A{number:04}"
        on_card = files or {
            f"DCIM/100MEDIA/MOV{at:04}.MP4": File(content(size, seed=1000 * number + at))
            for at, size in enumerate(sizes)
        }
        card = make_card(tmp_path / f"{serial}.img", kind, on_card, volume_id=f"{number:08x}")
        camera = UsbCamera(card.path, serial, **options)
        made.append(camera)
        return camera, card

    yield make
    for camera in made:
        camera.lost()


def content(size_bytes: int, seed: int) -> bytes:
    """Bytes that stand nowhere else."""
    return random.Random(seed).randbytes(size_bytes)
