from __future__ import annotations

import os
from dataclasses import replace

import pytest
import structlog

from bodycam_ingest.camera.sources.usb import UsbBlockDevice, UsbSource, bay_of, volume_of

ID_PATH = "pci-0000:00:14.0-usb-0:{port}:1.0-scsi-0:0:0:{lun}"


class FakeUdev:
    """Shows what a test plugged in, and keeps the kernel's side of it: sysfs and mountinfo."""

    def __init__(self, root):
        self.roots = [root / "volumes"]
        self.sys = root / "block"
        self.sys.mkdir()
        self.mountinfo = root / "mountinfo"
        self.devices = {}
        self.mounts = {}
        self.calls = []
        self.pulled = 0
        self.attic = root / "attic"
        self.attic.mkdir()
        self.write()

    def watch(self, wake):
        self.calls.append("watch")

    def usb_block_devices(self):
        self.calls.append("look")
        return list(self.devices.values())

    def stop(self):
        self.calls.append("stop")

    def plug(self, name, number=1, *, port="1", serial="X81A", usb=None, lun=0, **properties):
        properties = {
            "ID_PATH": ID_PATH.format(port=port, lun=lun),
            "ID_FS_USAGE": "filesystem",
            "ID_FS_TYPE": "vfat",
            "ID_FS_UUID": f"0000-{number:04}",
        } | properties
        self.devices[name] = UsbBlockDevice(
            os.makedev(8, number), name, usb or f"/devices/usb1/1-{port}", serial, properties
        )
        (self.sys / f"8:{number}").mkdir()

    def mount(self, name, mount_id=40, options="ro", at=None):
        number = os.minor(self.devices[name].number)
        path = at or f"{self.roots[0]}/{name}"
        self.mounts[name] = (
            f"{mount_id} 29 8:{number} / {path} {options},nosuid - vfat /dev/{name} {options}"
        )
        self.write()

    def insert(self, name, number=1, *, mount_id=40, **more):
        """Plugged in, and mounted as it should be."""
        self.plug(name, number, **more)
        self.mount(name, mount_id)

    def umount(self, name):
        del self.mounts[name]
        self.write()

    def pull(self, name):
        """The device goes; its mount stays, as it does."""
        number = os.minor(self.devices.pop(name).number)
        # Kept elsewhere: sysfs gives no inode number away twice, a file system does.
        self.pulled += 1
        (self.sys / f"8:{number}").rename(self.attic / str(self.pulled))

    def write(self):
        self.mountinfo.write_text(
            "\n".join(["22 1 8:1 / / rw - ext4 /dev/sda1 rw", *self.mounts.values(), ""])
        )


@pytest.fixture
def dock(tmp_path):
    return FakeUdev(tmp_path)


@pytest.fixture
def source(dock):
    return make(dock)


def make(dock, **options):
    return UsbSource(
        dock, dock.roots, mountinfo_path=dock.mountinfo, block_devices=dock.sys, **options
    )


def seen(source):
    return [(one.camera, one.bay, one.volume) for one in source.present()]


def events(source):
    with structlog.testing.capture_logs() as logs:
        source.present()
    return [entry["event"] for entry in logs]


def test_listening_begins_before_the_first_look(dock, source):
    source.start(lambda: None)
    source.present()
    source.stop()
    assert dock.calls == ["watch", "look", "stop"]


def test_a_camera_is_there_once_it_is_mounted(dock, source):
    dock.plug("sdb1", 17)
    assert seen(source) == []
    dock.mount("sdb1")
    (one,) = source.present()
    assert (one.camera, one.volume) == ("X81A", "")
    assert one.bay == "pci-0000:00:14.0-usb-1"
    assert one.mount_path == dock.roots[0] / "sdb1"
    assert one.device == os.makedev(8, 17)
    assert one.properties["SOURCE"] == "usb"
    assert one.properties["ID_FS_UUID"] == "0000-0017"
    assert source.is_present(one)
    assert source.present() == [one]


def test_a_pulled_camera_is_gone_though_its_mount_stays(dock, source):
    dock.insert("sdb1")
    (one,) = source.present()
    dock.pull("sdb1")
    assert not source.is_present(one)
    assert source.present() == []


def test_the_same_numbers_after_a_pull_are_another_docking(dock, source):
    dock.insert("sdb1")
    (before,) = source.present()
    dock.pull("sdb1")
    dock.insert("sdb1")
    (after,) = source.present()
    assert not source.is_present(before)
    assert before != after
    assert (before.camera, before.volume, before.bay) == (after.camera, after.volume, after.bay)


def test_a_volume_that_was_mounted_anew_is_another_docking(dock, source):
    dock.insert("sdb1")
    (before,) = source.present()
    dock.mount("sdb1", mount_id=41)
    assert not source.is_present(before)
    assert source.present() != [before]
    dock.umount("sdb1")
    assert source.present() == []


def test_a_mount_that_hides_another_is_the_one_that_counts(dock, source):
    dock.plug("sdb1", 1)
    dock.plug("sdc1", 2, port="2", serial="OTHER")
    dock.mount("sdb1")
    (one,) = source.present()
    dock.mount("sdc1", mount_id=41, at=one.mount_path)
    assert not source.is_present(one)
    assert [camera for camera, _, _ in seen(source)] == ["OTHER"]


def test_what_is_mounted_elsewhere_or_writable_is_not_touched(dock, source):
    dock.plug("sdb1", 1)
    dock.mount("sdb1", at="/media/desktop/CAM")
    assert seen(source) == []
    dock.mount("sdb1", options="rw")
    assert events(source) == ["source.mount_writable"]
    assert events(source) == []
    assert seen(source) == []


def test_volumes_and_card_slots_of_one_device_are_one_camera(dock, source):
    dock.insert("sdb1", 1, ID_PART_ENTRY_NUMBER="1")
    dock.insert("sdb2", 2, mount_id=41, ID_PART_ENTRY_NUMBER="2")
    dock.insert("sdc1", 3, mount_id=42, lun=1, ID_PART_ENTRY_NUMBER="1")
    bay = "pci-0000:00:14.0-usb-1"
    assert seen(source) == [("X81A", bay, ""), ("X81A", bay, "lun1"), ("X81A", bay, "part2")]


def test_the_first_volume_keeps_its_name_whatever_else_shows(dock):
    dock.plug("sdb", 1)
    dock.plug("sdc1", 2, ID_PART_ENTRY_NUMBER="1")
    assert volume_of(dock.devices["sdb"]) == volume_of(dock.devices["sdc1"]) == ""


def test_two_devices_of_one_serial_stand_in_two_bays(dock, source):
    dock.insert("sdb1", 1, port="1")
    dock.insert("sdc1", 2, mount_id=41, port="2", lun=1)
    bay = "pci-0000:00:14.0-usb-"
    assert seen(source) == [("X81A", f"{bay}1", ""), ("X81A", f"{bay}2", "lun1")]


def test_a_camera_without_serial_is_taken_and_said(dock, source):
    dock.insert("sdb1", serial="")
    assert events(source) == ["source.no_serial"]
    assert seen(source) == [("", "pci-0000:00:14.0-usb-1", "")]


def test_cloned_cards_are_said_once_and_stay_apart(dock, source):
    for number, name in enumerate(("sdb1", "sdc1"), 1):
        alike = {"port": str(number), "serial": f"S{number}", "ID_FS_UUID": "CAFE-0001"}
        dock.insert(name, number, mount_id=40 + number, **alike)
    assert events(source) == ["source.volumes_alike"]
    assert events(source) == []
    assert [camera for camera, _, _ in seen(source)] == ["S1", "S2"]


def test_what_no_rule_allows_is_left_alone_and_said_once(dock):
    source = make(dock, allowed=lambda properties: properties.get("ID_VENDOR_ID") == "2fb7")
    dock.plug("sdb1", 1, port="1", ID_VENDOR_ID="2fb7")
    dock.plug("sdc1", 2, port="2", serial="STICK", ID_VENDOR_ID="0781")
    dock.plug("sdd1", 3, port="3", serial="DISK", ID_VENDOR_ID="2fb7", ID_FS_TYPE="ntfs")
    dock.plug("sde", 4, port="4", serial="HUB", ID_FS_USAGE="")
    for number, name in enumerate(dock.devices):
        dock.mount(name, mount_id=40 + number)
    assert events(source) == ["source.device_left_alone", "source.device_left_alone"]
    assert events(source) == []
    assert [camera for camera, _, _ in seen(source)] == ["X81A"]


def test_a_volume_that_nobody_mounts_is_said(dock, source, monkeypatch):
    dock.plug("sdb1")
    assert events(source) == []
    monkeypatch.setattr("bodycam_ingest.camera.sources.usb._MOUNT_PATIENCE_S", -1)
    assert events(source) == ["source.not_mounted"]
    assert events(source) == []


def test_a_port_keeps_its_name_over_both_speeds_and_kinds_of_path(dock):
    dock.plug("sdb1")
    device = dock.devices["sdb1"]

    def bay(path):
        return bay_of(replace(device, properties={"ID_PATH": path}))

    assert bay("pci-0000:00:14.0-usbv2-0:1.3:1.0-scsi-0:0:0:0") == "pci-0000:00:14.0-usb-1.3"
    assert bay("pci-0000:00:14.0-usbv3-0:1.3:1.0-scsi-0:0:0:0") == "pci-0000:00:14.0-usb-1.3"
    assert bay("platform-xhci-hcd.0-usb-0:1:1.0-scsi-0:0:0:0") == "platform-xhci-hcd.0-usb-1"
    assert bay("") == "usb-1-1"
    assert bay("what\never") == "what\\never"


def test_hostile_properties_stay_short_and_printable(dock, source):
    dock.insert("sdb1", serial="\x1b[2J" + "9" * 1000, ID_MODEL="m\n" * 1000)
    (one,) = source.present()
    assert one.camera.isprintable()
    assert len(one.camera) <= 256
    assert one.properties["ID_MODEL"].isprintable()
    assert len(one.properties["ID_MODEL"]) <= 256
