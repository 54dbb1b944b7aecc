"""`doctor` on a dock with USB: what it reads of a machine, tried on made-up ones."""

from __future__ import annotations

import os
import socket
import stat
import time
from pathlib import Path

import pytest

from bodycam_ingest.doctor import usb, usb_facts
from bodycam_ingest.doctor.usb_facts import Answer

SYSTEMD = Path(__file__).parents[2] / "systemd"
OURS = (SYSTEMD / usb_facts.RULES).read_text(encoding="utf-8")


def put(root, place, text=""):
    path = root / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


# -- udev --


def test_a_machine_without_libudev_is_told_not_thrown(tmp_path):
    def missing():
        raise ImportError("No library named udev")

    assert usb_facts.udev(tmp_path, missing).fault == "No library named udev"


def test_udevs_daemon_is_known_by_its_socket(tmp_path):
    assert not usb_facts.udev(tmp_path, list).runs
    (tmp_path / "run/udev").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.bind(str(tmp_path / "run/udev/control"))
        assert usb_facts.udev(tmp_path, list).runs


def test_usb_devices_that_the_machine_refuses_are_seen(tmp_path):
    put(tmp_path, "sys/bus/usb/devices/usb1/authorized", "1\n")
    put(tmp_path, "sys/bus/usb/devices/1-3/authorized", "0\n")
    assert usb_facts.udev(tmp_path, list).unauthorised == ("1-3",)


# -- rules --


def test_no_rules_at_all(tmp_path):
    rules = usb_facts.rules(tmp_path)
    assert (rules.path, rules.text, rules.shipped, rules.mounting) == ("", "", None, ())


@pytest.mark.parametrize("directory", ["etc/udev/rules.d", "usr/lib/udev/rules.d"])
def test_rules_are_found_where_udev_looks(tmp_path, directory):
    put(tmp_path, f"{directory}/{usb_facts.RULES}", OURS)
    put(tmp_path, f"{usb_facts.SHARE}/{usb_facts.RULES}", "newer")
    rules = usb_facts.rules(tmp_path)
    assert (rules.path, rules.text) == (f"/{directory}/{usb_facts.RULES}", OURS)
    assert rules.shipped == "newer"


def test_a_file_in_etc_hides_the_one_of_a_package(tmp_path):
    put(tmp_path, f"usr/lib/udev/rules.d/{usb_facts.RULES}", OURS)
    (tmp_path / "etc/udev/rules.d").mkdir(parents=True)
    (tmp_path / "etc/udev/rules.d" / usb_facts.RULES).symlink_to("/dev/null")
    rules = usb_facts.rules(tmp_path)
    assert (rules.path, rules.text) == (f"/etc/udev/rules.d/{usb_facts.RULES}", "")


@pytest.mark.parametrize(
    "line",
    [
        'ACTION=="add", RUN{program}+="/usr/bin/systemd-mount --no-block $devnode"',
        'KERNEL=="sd*", RUN+="/bin/mount -t vfat /dev/%k /mnt"',
        'KERNEL=="sd*", ENV{SYSTEMD_WANTS}="usb-mount@%k.service"',
        'KERNEL=="sd*", RUN+="/usr/share/usbmount/usbmount add"',
    ],
)
def test_rules_of_others_that_mount_are_seen(tmp_path, line):
    put(tmp_path, "etc/udev/rules.d/10-stick.rules", f"# mounts\n{line}\n")
    put(tmp_path, f"etc/udev/rules.d/{usb_facts.RULES}", OURS)
    assert usb_facts.rules(tmp_path).mounting == ("/etc/udev/rules.d/10-stick.rules",)


@pytest.mark.parametrize(
    "line",
    [
        '#KERNEL=="sd*", RUN+="/bin/mount /dev/%k"',
        'ENV{SYSTEMD_WANTS}+="sys-fs-fuse-connections.mount"',
        'RUN+="/bin/umount -l /mnt"',
        'ENV{SYSTEMD_WANTS}="bluetooth.target", ENV{ID}="mount"',
    ],
)
def test_rules_that_mount_nothing_are_let_be(tmp_path, line):
    put(tmp_path, "etc/udev/rules.d/10-stick.rules", f"{line}\n")
    assert usb_facts.rules(tmp_path).mounting == ()


# -- kernel --


def modules(root):
    return {module.name: module for module in usb_facts.modules(root, "6.1.0-9-amd64")}


def test_what_the_kernel_has_now_is_loaded(tmp_path):
    put(tmp_path, "proc/filesystems", "nodev\tproc\n\text4\n\tvfat\n")
    (tmp_path / "sys/bus/usb/drivers/usb-storage").mkdir(parents=True)
    found = modules(tmp_path)
    assert {name for name, module in found.items() if module.loaded} == {"vfat", "usb_storage"}
    assert not found["exfat"].available


def test_modules_of_the_running_kernel_can_be_loaded(tmp_path):
    put(
        tmp_path,
        "lib/modules/6.1.0-9-amd64/modules.dep",
        "kernel/fs/fat/vfat.ko.xz: kernel/fs/fat/fat.ko.xz\n"
        "kernel/drivers/usb/storage/usb-storage.ko:\n",
    )
    put(tmp_path, "lib/modules/6.1.0-8-amd64/modules.dep", "kernel/fs/exfat/exfat.ko:\n")
    put(tmp_path, "lib/modules/6.1.0-9-amd64/modules.builtin", "kernel/fs/ext4/ext4.ko\n")
    found = modules(tmp_path)
    assert {name for name, module in found.items() if module.available} == {"vfat", "usb_storage"}
    assert not any(module.loaded for module in found.values())


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("usb_storage", "install usb-storage /bin/true"),
        ("vfat", "install vfat /usr/bin/false"),
        ("exfat", "  blacklist exfat"),
    ],
)
def test_hardening_that_keeps_a_module_out_is_seen(tmp_path, name, line):
    put(tmp_path, "etc/modprobe.d/cis.conf", f"# hardening\n{line}\n")
    blocked = {n: module.blocked_by for n, module in modules(tmp_path).items()}
    assert blocked.pop(name) == "/etc/modprobe.d/cis.conf"
    assert set(blocked.values()) == {""}


def test_a_comment_keeps_nothing_out(tmp_path):
    put(tmp_path, "etc/modprobe.d/cis.conf", "#install vfat /bin/true\ninstall vfat /sbin/vfat\n")
    assert modules(tmp_path)["vfat"].blocked_by == ""


def test_what_is_built_in_cannot_be_kept_out(tmp_path):
    put(tmp_path, "etc/modprobe.d/cis.conf", "install vfat /bin/true\n")
    put(tmp_path, "lib/modules/6.1.0-9-amd64/modules.builtin", "kernel/fs/fat/vfat.ko\n")
    vfat = modules(tmp_path)["vfat"]
    assert vfat.loaded
    assert vfat.blocked_by == ""


def test_a_kernel_that_loads_no_more_modules_has_only_those_that_it_has(tmp_path):
    put(tmp_path, "proc/filesystems", "\tvfat\n")
    put(tmp_path, "proc/sys/kernel/modules_disabled", "1\n")
    found = modules(tmp_path)
    assert found["vfat"].blocked_by == ""
    assert found["exfat"].blocked_by == "kernel.modules_disabled = 1"


# -- systemd --

SHOWN = """\
Id=bodycam-mount@doctor.service
LoadState=loaded
ActiveState=inactive
SubState=dead
UnitFileState=static
NeedDaemonReload=no

Id=bodycam-ingest.service
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=yes
"""
FAILED = "bodycam-mount@sdb1.service loaded failed failed Camera volume sdb1, read-only\n"


def test_what_systemd_says_of_our_units():
    asked = []

    def run(command):
        asked.append(command)
        return Answer(SHOWN if command[1] == "show" else FAILED)

    told = usb_facts.systemd(run)
    assert told.fault == ""
    service = told.units[usb_facts.SERVICE]
    assert (service.load, service.active, service.sub) == ("loaded", "active", "running")
    assert (service.file_state, service.stale) == ("enabled", True)
    assert not told.units[usb_facts.MOUNT_UNIT].stale
    assert told.failed_mounts == ("bodycam-mount@sdb1.service",)
    # Nothing that is asked could start, stop or change a unit.
    assert {command[1] for command in asked} == {"show", "list-units"}


def test_a_systemd_that_does_not_answer_is_not_asked_twice():
    asked = []

    def run(command):
        asked.append(command)
        return Answer("", "systemctl did not answer within 5 s")

    assert usb_facts.systemd(run).fault == "systemctl did not answer within 5 s"
    assert len(asked) == 1


def test_failures_that_cannot_be_listed_are_no_empty_list():
    def run(command):
        return Answer(SHOWN) if command[1] == "show" else Answer("", "no")

    assert usb_facts.systemd(run).fault == "no"


def test_a_command_that_hangs_is_given_up():
    begun_s = time.monotonic()
    answer = usb_facts.ask(["sleep", "60"], timeout_s=0.1)
    assert time.monotonic() - begun_s < 30
    assert answer.fault == "sleep did not answer within 0.1 s"


def test_a_missing_command_is_told():
    assert usb_facts.ask(["no-such-command"]).fault == "no-such-command is not installed"


def test_a_command_that_fails_says_why_in_one_line():
    assert usb_facts.ask(["sh", "-c", "echo why >&2; echo more >&2; exit 3"]).fault == "why"
    assert usb_facts.ask(["sh", "-c", "exit 3"]).fault == "sh ended with status 3"


def test_a_command_is_heard():
    answer = usb_facts.ask(["sh", "-c", "printf 'a\\377'"])
    assert (answer.text, answer.fault) == ("a\\xff", "")


# -- what the mount unit needs --


def test_what_the_mount_unit_needs_is_read_without_following_links(tmp_path):
    program = put(tmp_path, usb_facts.PROGRAM, "#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "run/bodycam-ingest").mkdir(parents=True)
    (tmp_path / usb_facts.VOLUMES).symlink_to("/")
    for tool in ("blkid", "blockdev", "mount", "umount"):
        put(tmp_path, f"usr/bin/{tool}")
    needed = usb_facts.mount_help(tmp_path, "no-such-user")
    assert needed.program.path == f"/{usb_facts.PROGRAM}"
    assert needed.program.mode == stat.S_IFREG | 0o755
    assert needed.program.uid == os.geteuid()
    assert stat.S_ISDIR(needed.directories[0].mode)
    assert stat.S_ISLNK(needed.directories[1].mode)
    assert needed.tools_missing == ("mountpoint",)
    assert not needed.user


def test_what_is_missing_has_no_mode(tmp_path):
    needed = usb_facts.mount_help(tmp_path, "root")
    assert needed.program.mode == 0
    assert "missing" in usb_facts.described(needed.program)
    assert needed.user


def test_the_script_and_the_units_mean_the_same_places():
    script = (SYSTEMD / "bodycam-mount").read_text(encoding="utf-8")
    assert f"roof=/{usb_facts.VOLUMES}\n" in script
    assert f"porch={usb.MOUNTING.decode()}\n" in script
    assert f"user={usb_facts.USER}\n" in script
    assert f"PATH={usb_facts._PATH}\n" in script
    for tool in usb_facts._TOOLS:
        assert f"{tool} " in script
    unit = (SYSTEMD / "bodycam-mount@.service").read_text(encoding="utf-8")
    assert f"ExecStart=/{usb_facts.PROGRAM} mount" in unit
    assert "bodycam-mount@%k.service" in OURS
    install = (SYSTEMD.parent / "packaging" / "install").read_text(encoding="utf-8")
    assert f'"$root$new/share" systemd/*.service systemd/{usb_facts.RULES}' in install


# -- mounts and programs --


def test_mounts_are_read_with_whatever_bytes_are_in_them(tmp_path):
    path = tmp_path / "proc/self/mountinfo"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"40 29 8:17 / /media/\xff rw - vfat /dev/sdb1 rw\n")
    (mount,) = usb_facts.mounts(tmp_path)
    assert (mount.mount_path, mount.read_only) == (b"/media/\xff", False)


def test_what_runs_is_known_by_its_short_name_alone(tmp_path):
    put(tmp_path, "proc/1/comm", "systemd\n")
    put(tmp_path, "proc/77/comm", "gvfs-udisks2-vo\n")
    # Opening it would block: what hangs in a dead disk must not hold up the doctor.
    os.mkfifo(tmp_path / "proc/77/cmdline")
    assert usb_facts.running(tmp_path) == frozenset({"systemd", "gvfs-udisks2-vo"})


def test_hidden_processes_are_not_taken_for_none(tmp_path):
    put(tmp_path, "proc/77/comm", "python3\n")
    assert usb_facts.running(tmp_path) is None
