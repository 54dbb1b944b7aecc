"""The kernel's books on the disk below a volume."""

from __future__ import annotations

import os

import pytest

from bodycam_ingest.camera.sources.volume import DiskHealth, disk_health


@pytest.fixture
def sysfs(tmp_path):
    """A disk with a partition, as sysfs shows them: the number is a link into the tree."""
    disk = tmp_path / "devices/sdb"
    (disk / "sdb1").mkdir(parents=True)
    (disk / "device").mkdir()
    (disk / "device/state").write_text("running\n")
    (disk / "device/ioerr_cnt").write_text("0x1f\n")
    (tmp_path / "8:16").symlink_to(disk)
    (tmp_path / "8:17").symlink_to(disk / "sdb1")
    return tmp_path


@pytest.mark.parametrize("minor", [16, 17])
def test_a_partition_stands_as_its_disk_does(sysfs, minor):
    found = disk_health(os.makedev(8, minor), sysfs)
    assert found == DiskHealth("running", 31)
    assert found.ok
    assert not found.being_removed


@pytest.mark.parametrize(
    ("state", "leaving"),
    [
        ("cancel", True),
        ("deleted", True),
        # What does not answer is not well, and not leaving.
        ("offline", False),
        ("blocked", False),
        ("quiesce", False),
    ],
)
def test_a_disk_that_is_taken_away_is_leaving_before_it_is_gone(sysfs, state, leaving):
    (sysfs / "devices/sdb/device/state").write_text(f"{state}\n")
    found = disk_health(os.makedev(8, 17), sysfs)
    assert not found.ok
    assert found.being_removed is leaving


def test_what_is_no_disk_says_nothing(sysfs):
    assert disk_health(os.makedev(0, 40), sysfs) == DiskHealth()
    (sysfs / "devices/sdb/device/ioerr_cnt").write_text("many\n")
    assert disk_health(os.makedev(8, 17), sysfs) == DiskHealth()
    assert DiskHealth().ok


def test_what_cannot_be_read_is_not_taken_for_gone(sysfs):
    (sysfs / "devices/sdb/device/state").unlink()
    (sysfs / "devices/sdb/device/state").mkdir()  # reading it fails, with another error
    found = disk_health(os.makedev(8, 17), sysfs)
    assert found.state == "unknown"
    assert not found.ok
    assert not found.being_removed
