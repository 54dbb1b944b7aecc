"""`doctor` on a dock with USB: what it makes of what it read."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from bodycam_ingest.camera.sources.usb import UsbBlockDevice
from bodycam_ingest.cli import doctor
from bodycam_ingest.config import load
from bodycam_ingest.doctor import usb, usb_facts
from bodycam_ingest.doctor.result import Outcome
from bodycam_ingest.doctor.usb_facts import (
    Answer,
    Entry,
    Module,
    MountHelp,
    Rules,
    Systemd,
    Udev,
    Unit,
)
from bodycam_ingest.linux import mountinfo

if TYPE_CHECKING:
    from bodycam_ingest.cli.context import Context

OK, WARN, FAIL = Outcome.OK, Outcome.WARN, Outcome.FAIL
ROOT = Path("/run/bodycam-ingest/volumes")
OURS = (Path(__file__).parents[2] / "systemd" / usb_facts.RULES).read_text(encoding="utf-8")


def volume(name="sdb1", number=17, **changes):
    properties = {
        "ID_FS_USAGE": "filesystem",
        "ID_FS_TYPE": "vfat",
        "UDISKS_IGNORE": "1",
        "SYSTEMD_WANTS": f"bodycam-mount@{name}.service",
        "TAGS": ":systemd:",
    } | changes
    return UsbBlockDevice(os.makedev(8, number), name, "/devices/usb1/1-1", "X81A", properties)


def mounted(at="/run/bodycam-ingest/volumes/sdb1", options="ro", number=17):
    text = f"40 29 8:{number} / {at} {options},nosuid - vfat /dev/sdb1 {options}\n"
    return list(mountinfo.parse(text.encode()))


def outcomes(checks):
    found = {}
    for check in checks:
        # What is not ok tells what to do, and only that.
        assert bool(check.todo) is (check.outcome is not OK), check
        assert check.found
        found[check.name] = check.outcome
    return found


def outcome(check):
    return outcomes([check])[check.name]


# -- udev and rules --


@pytest.mark.parametrize(
    ("udev", "expected"),
    [
        (Udev("", runs=True), OK),
        (Udev("", runs=False), FAIL),
        (Udev("No library named udev", runs=True), FAIL),
    ],
)
def test_udev_must_be_there_and_run(udev, expected):
    assert outcomes(usb.judge_udev(udev)) == {"usb.udev": expected}


def test_a_device_that_the_machine_refuses_is_told_with_its_port():
    *_, check = usb.judge_udev(Udev("", runs=True, unauthorised=("1-3",)))
    assert outcome(check) is WARN
    assert "1-3" in check.found


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (Rules("/etc/x.rules", OURS, OURS), OK),
        (Rules("", "", OURS), FAIL),
        (Rules("/etc/x.rules", "", OURS), FAIL),
        (Rules("/etc/x.rules", OURS.replace("bodycam-mount@", "other@"), OURS), FAIL),
        (Rules("/etc/x.rules", OURS.replace("UDISKS_IGNORE", "UDISKS"), OURS), FAIL),
        (Rules("/etc/x.rules", OURS + "# mine\n", OURS), WARN),
        (Rules("/etc/x.rules", OURS, None), WARN),
    ],
)
def test_rules_must_be_there_whole_and_of_this_version(rules, expected):
    assert outcomes(usb.judge_rules(rules)) == {"usb.rules": expected}


def test_rules_of_others_that_mount_are_named():
    rules = Rules("/etc/x.rules", OURS, OURS, ("/etc/udev/rules.d/10-stick.rules",))
    *_, check = usb.judge_rules(rules)
    assert (check.name, outcome(check)) == ("usb.other_rules", WARN)
    assert "10-stick.rules" in check.found


@pytest.mark.parametrize(
    "changes",
    [
        {"UDISKS_IGNORE": "0"},
        {"UDISKS_IGNORE": ""},
        {"SYSTEMD_WANTS": ""},
        {"SYSTEMD_WANTS": "bodycam-mount@sdc1.service"},
        {"TAGS": ":seat:"},
    ],
)
def test_a_volume_without_the_marks_of_our_rules_is_named(changes):
    devices = (volume("sda1", 1), volume(**changes))
    check = usb.judge_rules_active(Udev("", runs=True), devices)
    assert outcome(check) is FAIL
    assert "sdb1" in check.found
    assert "sda1" not in check.found
    assert "udevadm trigger" in check.todo


def test_rules_are_active_where_udev_shows_their_marks():
    device = volume(SYSTEMD_WANTS="other.service bodycam-mount@sdb1.service", TAGS=":x:systemd:")
    assert outcome(usb.judge_rules_active(Udev("", runs=True), [device])) is OK


@pytest.mark.parametrize("fault", ["", "No library named udev"])
def test_what_could_not_be_tried_is_no_ok(fault):
    udev = Udev(fault, runs=True)
    assert outcome(usb.judge_rules_active(udev, [])) is WARN
    assert outcomes(usb.judge_volumes(udev, [], [], [ROOT])) == {"usb.volumes": WARN}


# -- kernel --


@pytest.mark.parametrize(
    ("loaded", "available", "blocked_by", "expected"),
    [
        (True, False, "", OK),
        (False, True, "", OK),
        (False, False, "", FAIL),
        (False, True, "/etc/modprobe.d/cis.conf", FAIL),
        # It would be gone after the next start.
        (True, True, "/etc/modprobe.d/cis.conf", WARN),
    ],
)
def test_the_kernel_must_have_what_cameras_need(loaded, available, blocked_by, expected):
    check = usb.judge_module(Module("vfat", loaded, available, blocked_by))
    assert (check.name, outcome(check)) == ("usb.kernel.vfat", expected)
    assert blocked_by in check.found


# -- units --

MOUNT = Unit("loaded", "inactive", "dead", "static", stale=False)
SERVICE = Unit("loaded", "active", "running", "enabled", stale=False)


def systemd(mount=MOUNT, service=SERVICE, fault="", failed=()):
    units = {usb_facts.MOUNT_UNIT: mount, usb_facts.SERVICE: service}
    return Systemd(fault, {name: unit for name, unit in units.items() if unit}, failed)


@pytest.mark.parametrize(
    ("told", "expected", "word"),
    [
        (systemd(), OK, ""),
        (systemd(replace(MOUNT, load="not-found")), FAIL, "make install"),
        (systemd(replace(MOUNT, load="bad-setting")), FAIL, "make install"),
        (systemd(replace(MOUNT, load="masked")), FAIL, "unmask"),
        (systemd(replace(MOUNT, stale=True)), WARN, "daemon-reload"),
        (systemd(None, None, "systemctl is not installed"), FAIL, "systemd"),
        (systemd(fault="did not answer"), WARN, "again"),
        (systemd(failed=("bodycam-mount@sdb1.service",)), WARN, "bodycam-mount@sdb1.service"),
    ],
)
def test_the_mount_unit_must_be_loaded_and_failures_are_listed(told, expected, word):
    check = usb.judge_mount_unit(told)
    assert outcome(check) is expected
    assert word in check.todo


@pytest.mark.parametrize(
    ("changes", "expected", "word"),
    [
        ({}, OK, ""),
        ({"active": "activating", "sub": "start"}, OK, ""),
        ({"active": "failed", "sub": "failed"}, FAIL, "journalctl"),
        ({"active": "activating", "sub": "auto-restart"}, FAIL, "journalctl"),
        ({"active": "inactive", "sub": "dead"}, WARN, "enable --now"),
        ({"file_state": "disabled"}, WARN, "enable --now"),
        ({"load": "not-found", "file_state": ""}, FAIL, "make install"),
        ({"load": "masked"}, FAIL, "unmask"),
        ({"stale": True}, WARN, "daemon-reload"),
    ],
)
def test_the_service_must_run_and_come_back_after_a_start(changes, expected, word):
    check = usb.judge_service(systemd(service=replace(SERVICE, **changes)))
    assert outcome(check) is expected
    assert word in check.todo


def test_a_missing_systemctl_is_a_clear_finding():
    check = usb.judge_service(systemd(None, None, "systemctl is not installed"))
    assert (outcome(check), check.found) == (FAIL, "systemctl is not installed")


# -- what the mount unit needs --

NEEDED = MountHelp(
    Entry("/opt/p", stat.S_IFREG | 0o755, 0),
    (Entry("/run/b", stat.S_IFDIR | 0o755, 0), Entry("/run/b/v", stat.S_IFDIR | 0o755, 0)),
    (),
    user=True,
)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"program": Entry("/opt/p", 0, 0)}, "make install"),
        ({"program": Entry("/opt/p", stat.S_IFREG | 0o644, 0)}, "make install"),
        ({"program": Entry("/opt/p", stat.S_IFLNK | 0o777, 0)}, "make install"),
        ({"program": Entry("/opt/p", stat.S_IFREG | 0o755, 1000)}, "chown root:root /opt/p"),
        ({"program": Entry("/opt/p", stat.S_IFREG | 0o775, 0)}, "chmod 0755 /opt/p"),
        ({"directories": (Entry("/run/b", 0, 0),)}, "systemd-tmpfiles"),
        ({"directories": (Entry("/run/b", stat.S_IFLNK | 0o777, 0),)}, "systemd-tmpfiles"),
        ({"directories": (Entry("/run/b", stat.S_IFDIR | 0o700, 0),)}, "systemd-tmpfiles"),
        ({"directories": (Entry("/run/b", stat.S_IFDIR | 0o755, 7),)}, "systemd-tmpfiles"),
        ({"tools_missing": ("blkid",)}, "util-linux"),
        ({"user": False}, "systemd-sysusers"),
    ],
)
def test_whatever_the_mount_unit_would_stumble_over_fails(changes, word):
    check = usb.judge_mount_help(replace(NEEDED, **changes))
    assert outcome(check) is FAIL
    assert word in check.todo


def test_a_mount_unit_with_all_that_it_needs():
    assert outcome(usb.judge_mount_help(NEEDED)) is OK


def test_the_daemon_must_look_where_is_mounted():
    assert outcome(usb.judge_mount_roots((Path("/media/a"), ROOT))) is OK
    check = usb.judge_mount_roots((Path("/media/a"),))
    assert outcome(check) is FAIL
    assert str(ROOT) in check.todo


# -- what is plugged in --


def volumes(mounts, device=None, *, taken=True):
    device = device or volume()
    udev = Udev("", runs=True, devices=(device,))
    return list(usb.judge_volumes(udev, [device] if taken else [], mounts, [ROOT]))


def test_a_camera_mounted_read_only_below_a_root_is_right():
    (check,) = volumes(mounted())
    assert outcome(check) is OK
    assert check.found == "sdb1 is mounted at /run/bodycam-ingest/volumes/sdb1 (read-only)"


def test_a_camera_that_is_just_being_mounted_is_right():
    (check,) = volumes(mounted(at="/run/bodycam-ingest/mounting/sdb1"))
    assert outcome(check) is OK
    (check,) = volumes(mounted(at="/run/bodycam-ingest/mounting/sdb1", options="rw"))
    assert outcome(check) is FAIL


@pytest.mark.parametrize(
    "mounts",
    [
        [],
        mounted(number=18),
        mounted(options="rw"),
        mounted(at="/media/you/CAMERA"),
        mounted(at="/media/you/CAMERA", options="rw"),
        mounted(at="/run/bodycam-ingest/volumes/deep/sdb1"),
        mounted() + mounted(at="/media/you/CAMERA"),
    ],
)
def test_a_camera_that_is_mounted_otherwise_fails(mounts):
    (check,) = volumes(mounts)
    assert (check.name, outcome(check)) == ("usb.volumes", FAIL)


def test_a_label_cannot_forge_lines_of_the_answer():
    (check,) = volumes(mounted(at="/media/x\\012ok:\\033[2J"))
    assert check.found.isprintable()


def test_a_disk_that_is_no_camera_and_mounted_is_told():
    *_, check = volumes(mounted(at="/srv/backup", options="rw"), taken=False)
    assert (check.name, outcome(check)) == ("usb.other_disks", WARN)
    assert "/srv/backup (writable)" in check.found


def test_a_disk_that_is_no_camera_and_not_mounted_is_nobodys_concern():
    assert [check.name for check in volumes([], taken=False)] == ["usb.volumes"]


@pytest.mark.parametrize("taken", [True, False])
def test_a_machine_that_runs_from_usb_is_no_dock(taken):
    checks = volumes(mounted(at="/boot/efi", options="rw"), taken=taken)
    assert outcomes(checks)["usb.other_disks"] is FAIL
    # Nobody is told to unmount it.
    assert "Unmount" not in checks[-1].todo


# -- others that mount --

RULES = Rules("/etc/x.rules", OURS, OURS)


def automounters(*running, rules=RULES, taken=()):
    return outcome(usb.judge_automounters(frozenset(running), rules, taken))


def test_nothing_else_that_mounts():
    assert automounters("systemd", "python3") is OK


def test_processes_that_are_hidden_are_no_ok():
    assert outcome(usb.judge_automounters(None, RULES, ())) is WARN


def test_udisks_is_held_off_by_the_rules_and_only_by_them():
    assert automounters("udisksd", taken=[volume()]) is OK
    assert automounters("udisksd", taken=[volume(), volume(UDISKS_IGNORE="")]) is FAIL
    assert automounters("udisksd", rules=Rules("", "", None)) is FAIL


@pytest.mark.parametrize("name", ["gvfs-udisks2-vo", "udiskie"])
def test_a_desktops_automounter_is_told_and_fails_where_nothing_holds_it_off(name):
    assert automounters(name, "udisksd", taken=[volume()]) is WARN
    assert automounters(name, "udisksd", taken=[volume(UDISKS_IGNORE="")]) is FAIL


@pytest.mark.parametrize("name", ["devmon", "udevil", "usbmount"])
def test_what_mounts_past_udisks_fails(name):
    assert automounters(name, taken=[volume()]) is FAIL


def test_autofs_may_have_other_reasons():
    assert automounters("automount") is WARN


# -- all of it --

CONFIG = """
[dock]
id = "dock-7"
agency = "police.example.org"
state_dir = "state"
[cameras]
source = "{source}"
only_profiled = true
mount_roots = ["{root}"]
[[cameras.profile]]
name = "x"
match = {{ ID_VENDOR_ID = "4255" }}
[staging]
dir = "staging"
[[stores]]
name = "archive"
type = "directory"
path = "archive"
"""


def cameras(tmp_path, source="usb"):
    path = tmp_path / "config.toml"
    path.write_text(CONFIG.format(source=source, root=ROOT), encoding="utf-8")
    return load(path).cameras


@pytest.fixture
def tree(tmp_path):
    """A bare machine."""
    for place in ("proc/self", "proc/1"):
        (tmp_path / "tree" / place).mkdir(parents=True)
    (tmp_path / "tree/proc/1/comm").write_text("systemd\n", encoding="ascii")
    text = f"40 29 8:17 / {ROOT}/sdb1 ro - vfat /dev/sdb1 ro\n"
    (tmp_path / "tree/proc/self/mountinfo").write_text(text, encoding="ascii")
    return tmp_path / "tree"


def silent(_command):
    return Answer("", "systemctl is not installed")


def test_a_dock_with_folders_is_asked_nothing_of_this(tmp_path):
    def unasked(*_arguments):
        raise AssertionError

    found = usb.checks(cameras(tmp_path, "folder"), root=tmp_path, devices=unasked, run=unasked)
    assert list(found) == []


def test_a_dock_with_usb_is_asked_everything_even_where_most_is_missing(tmp_path, tree):
    found = usb.checks(cameras(tmp_path), root=tree, devices=list, run=silent)
    names = outcomes(found)
    assert set(names) == {
        "usb.automounter",
        "usb.kernel.exfat",
        "usb.kernel.usb_storage",
        "usb.kernel.vfat",
        "usb.mount_program",
        "usb.mount_roots",
        "usb.mount_unit",
        "usb.rules",
        "usb.rules_active",
        "usb.service",
        "usb.udev",
        "usb.volumes",
    }
    assert names["usb.mount_unit"] is FAIL


@pytest.mark.parametrize(
    ("changes", "active", "seen"),
    [
        ({"ID_VENDOR_ID": "4255"}, OK, OK),
        ({"ID_VENDOR_ID": "4255", "UDISKS_IGNORE": ""}, FAIL, OK),
        # Not on the list, of another kind, or no file system: no camera.
        ({"ID_VENDOR_ID": "0781"}, WARN, WARN),
        ({"ID_VENDOR_ID": "4255", "ID_FS_TYPE": "ntfs"}, WARN, WARN),
        ({"ID_VENDOR_ID": "4255", "ID_FS_USAGE": "crypto"}, WARN, WARN),
    ],
)
def test_only_what_would_be_taken_is_judged_as_a_camera(tmp_path, tree, changes, active, seen):
    found = usb.checks(
        cameras(tmp_path), root=tree, devices=lambda: [volume(**changes)], run=silent
    )
    names = outcomes(found)
    assert (names["usb.rules_active"], names["usb.volumes"]) == (active, seen)


def test_the_command_asks_all_of_it(tmp_path, monkeypatch):
    asked = []

    def checks(found):
        asked.append(found.source)
        return []

    monkeypatch.setattr(usb, "checks", checks)
    cameras(tmp_path)
    config = load(tmp_path / "config.toml")
    list(doctor._checks(cast("Context", SimpleNamespace(config=config))))
    assert asked == ["usb"]
