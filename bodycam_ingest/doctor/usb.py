"""The checks of `doctor` on a dock with cameras on USB: from the udev rules to the mounted volume.

`usb_facts` reads, the functions here judge what was read (pure). A check that could not be made
says so and is no ok.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bodycam_ingest.camera import USB_FILE_SYSTEMS, is_taken, usb_block_devices
from bodycam_ingest.doctor import usb_facts
from bodycam_ingest.doctor.result import fail, ok, warn
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bodycam_ingest.camera import UsbBlockDevice
    from bodycam_ingest.config.models import Cameras
    from bodycam_ingest.doctor.result import Check
    from bodycam_ingest.linux.mountinfo import Mount


_INSTALL: Final = "Run `make install` as root: it brings the file."


def checks(
    cameras: Cameras,
    *,
    root: Path = Path("/"),
    devices: Callable[[], Sequence[UsbBlockDevice]] = usb_block_devices,
    run: Callable[[Sequence[str]], usb_facts.Answer] = usb_facts.ask,
) -> Iterator[Check]:
    """Every check of a dock; none where the cameras are folders.

    `devices` asks udev for the block devices on USB, `run` runs a command that only tells.
    """
    if cameras.source != "usb":
        return
    udev = usb_facts.udev(root, devices)
    taken = [
        device
        for device in udev.devices
        if device.properties.get("ID_FS_USAGE") == "filesystem"
        and device.properties.get("ID_FS_TYPE") in USB_FILE_SYSTEMS
        and is_taken(device.properties, cameras.profile, only_profiled=cameras.only_profiled)
    ]
    rules = usb_facts.rules(root)
    systemd = usb_facts.systemd(run)
    yield from judge_udev(udev)
    yield from judge_rules(rules)
    yield judge_rules_active(udev, taken)
    for module in usb_facts.modules(root):
        yield judge_module(module)
    yield judge_mount_unit(systemd)
    yield judge_mount_help(usb_facts.mount_help(root))
    yield judge_mount_roots(cameras.mount_roots)
    yield from judge_volumes(udev, taken, usb_facts.mounts(root), cameras.mount_roots)
    yield judge_automounters(usb_facts.running(root), rules, taken)
    yield judge_service(systemd)


def judge_udev(udev: usb_facts.Udev) -> Iterator[Check]:
    """Whether udev can be asked, has a daemon, and may use what is plugged in."""
    name = "usb.udev"
    if udev.fault:
        yield fail(name, udev.fault, "Install libudev (Debian: libudev1, Fedora: systemd-libs).")
    elif not udev.runs:
        yield fail(
            name,
            "udev's daemon does not run",
            "Run `systemctl start systemd-udevd` as root: nothing tells of cameras without it.",
        )
    else:
        yield ok(name, f"runs; {len(udev.devices)} block devices on USB")
    if udev.unauthorised:
        yield warn(
            "usb.authorised",
            f"not authorised: {', '.join(udev.unauthorised)}",
            "If that is a camera, allow it where it is refused (usbguard list-devices --blocked).",
        )


def judge_rules(rules: usb_facts.Rules) -> Iterator[Check]:
    """Whether our rules are there, whole, and the only ones that mount."""
    name = "usb.rules"
    if not rules.path:
        yield fail(name, f"no {usb_facts.RULES} in any directory of udev's rules", _INSTALL)
    elif "bodycam-mount@" not in rules.text or "UDISKS_IGNORE" not in rules.text:
        yield fail(
            name,
            f"{rules.path} does not name the mount unit and UDISKS_IGNORE, or is unreadable",
            f"{_INSTALL} A file of that name in /etc/udev/rules.d hides every other.",
        )
    elif rules.shipped is None:
        yield warn(
            name,
            f"{rules.path}; of which version cannot be told",
            f"/{usb_facts.SHARE}/{usb_facts.RULES} is missing. {_INSTALL}",
        )
    elif rules.text != rules.shipped:
        yield warn(
            name,
            f"{rules.path} is not what this version brings",
            f"Compare it with /{usb_facts.SHARE}/{usb_facts.RULES}. {_INSTALL}",
        )
    else:
        yield ok(name, f"{rules.path}, as this version brings it")
    if rules.mounting:
        yield warn(
            "usb.other_rules",
            f"these rules mount something: {', '.join(rules.mounting)}",
            "Take them off if that is USB storage: a camera is to be mounted once, read-only.",
        )


def judge_module(module: usb_facts.Module) -> Check:
    """Whether the kernel has, or can load, what cameras need."""
    name = f"usb.kernel.{module.name}"
    todo = "Take that out on a dock: cameras cannot be mounted without it"
    if module.loaded and module.blocked_by:
        return warn(
            name,
            f"in the kernel, but kept from loading by {module.blocked_by}",
            f"{todo} after the next start of the machine.",
        )
    if module.loaded:
        return ok(name, "in the kernel")
    if module.blocked_by:
        return fail(name, f"kept from loading by {module.blocked_by}", f"{todo}.")
    if module.available:
        return ok(name, "loads when it is needed")
    return fail(
        name,
        "neither in the running kernel nor among its modules",
        "Restart the machine if its kernel was updated since; else install the kernel's modules "
        "(Debian: linux-image, not -cloud; Ubuntu: linux-modules-extra).",
    )


def judge_mount_unit(systemd: usb_facts.Systemd) -> Check:
    """Whether systemd knows the mount unit, and what failed of it."""
    name = "usb.mount_unit"
    unit = systemd.units.get(usb_facts.MOUNT_UNIT)
    if bad := _unit_fault(name, "bodycam-mount@.service", systemd, unit):
        return bad
    if systemd.fault:
        return warn(name, f"which failed cannot be told: {systemd.fault}", "Run doctor again.")
    if systemd.failed_mounts:
        first = systemd.failed_mounts[0]
        return warn(
            name,
            f"failed: {', '.join(systemd.failed_mounts)}",
            f"`journalctl -u {first}` says why; a damaged card is never repaired here. "
            f"`systemctl reset-failed {first}` when it is done.",
        )
    return ok(name, "loaded; none failed")


def judge_service(systemd: usb_facts.Systemd) -> Check:
    """Whether the daemon runs, and will after the next start of the machine."""
    name = "usb.service"
    unit = systemd.units.get(usb_facts.SERVICE)
    if bad := _unit_fault(name, usb_facts.SERVICE, systemd, unit):
        return bad
    assert unit is not None
    state = f"{unit.file_state or 'not enabled'}, {unit.active} ({unit.sub})"
    if unit.active == "failed" or unit.sub == "auto-restart":
        return fail(
            name,
            state,
            f"`journalctl -u {usb_facts.SERVICE}` says why in the last lines before the end.",
        )
    if unit.file_state != "enabled" or unit.active not in {"active", "activating", "reloading"}:
        return warn(
            name,
            state,
            f"Run `systemctl enable --now {usb_facts.SERVICE}` as root when the dock is set up.",
        )
    return ok(name, state)


def _unit_fault(
    name: str, shown: str, systemd: usb_facts.Systemd, unit: usb_facts.Unit | None
) -> Check | None:
    if unit is None:
        return fail(
            name,
            systemd.fault or f"systemd says nothing of {shown}",
            "Cameras are mounted by systemd: run it as the machine's init, and doctor where it "
            "can be reached.",
        )
    if unit.load == "masked":
        return fail(name, f"{shown} is masked", f"Run `systemctl unmask {shown}` as root.")
    if unit.load != "loaded":
        return fail(
            name,
            f"{shown}: {unit.load}",
            f"Run `make install` as root; it puts {shown} into /etc/systemd/system and has it "
            "loaded.",
        )
    if unit.stale:
        return warn(
            name,
            f"{shown} was changed since systemd read it",
            "Run `systemctl daemon-reload` as root.",
        )
    return None


def judge_mount_help(needed: usb_facts.MountHelp) -> Check:
    """Whether the mount unit finds what it needs."""
    name = "usb.mount_program"
    program = needed.program
    if not stat.S_ISREG(program.mode) or not program.mode & stat.S_IXUSR:
        return fail(name, usb_facts.described(program), _INSTALL)
    if program.uid != 0 or program.mode & (stat.S_IWGRP | stat.S_IWOTH):
        return fail(
            name,
            usb_facts.described(program),
            f"Run `chown root:root {program.path} && chmod 0755 {program.path}`, and find out who "
            "changed it: it runs as root.",
        )
    for directory in needed.directories:
        if directory.mode != stat.S_IFDIR | 0o755 or directory.uid != 0:
            return fail(
                name,
                usb_facts.described(directory),
                "Run `systemd-tmpfiles --create bodycam-ingest.conf` as root: it must be root's, "
                "mode 0755.",
            )
    if needed.tools_missing:
        return fail(
            name,
            f"missing: {', '.join(needed.tools_missing)}",
            "Install util-linux (Debian: mount and util-linux).",
        )
    if not needed.user:
        return fail(
            name,
            f"there is no user {usb_facts.USER}",
            "Run `systemd-sysusers bodycam-ingest.conf` as root.",
        )
    return ok(name, program.path)


def judge_mount_roots(roots: Sequence[Path]) -> Check:
    """Whether the daemon looks where the mount unit mounts."""
    name, place = "usb.mount_roots", Path("/", usb_facts.VOLUMES)
    shown = ", ".join(str(root) for root in roots)
    if place in roots:
        return ok(name, shown)
    return fail(name, shown, f"Add {place} to cameras.mount_roots: volumes are mounted below it.")


_TRIGGER: Final = (
    "Run `udevadm control --reload && udevadm trigger --subsystem-match=block` as root, then plug "
    "the camera in again."
)
_LATER: Final = "Dock a camera and run doctor again: without one this cannot be tried."
# Names are cut to 15 characters. These leave a volume alone that has UDISKS_IGNORE.
_THROUGH_UDISKS: Final = frozenset({"gvfs-udisks2-vo", "udiskie", "udiskie-tray"})
_MOUNT_THEMSELVES: Final = frozenset({"devmon", "udevil", "usbmount", "ldm"})
# Where our mount unit has a volume until it may be seen.
MOUNTING: Final = b"/run/bodycam-ingest/mounting"
# Where a machine has itself.
_SYSTEM: Final = frozenset(
    {b"/", b"/boot", b"/boot/efi", b"/boot/firmware", b"/efi", b"/home", b"/usr", b"/var"}
)


def judge_rules_active(udev: usb_facts.Udev, taken: Sequence[UsbBlockDevice]) -> Check:
    """Whether udev's database shows our rules on each volume that is plugged in."""
    name = "usb.rules_active"
    if udev.fault:
        return warn(name, "unknown: udev cannot be asked", "See usb.udev.")
    if not taken:
        return warn(name, "no camera is docked", _LATER)
    missed = [device.name for device in taken if not _has_our_rules(device)]
    if missed:
        return fail(name, f"the rules are not on {', '.join(missed)}", _TRIGGER)
    return ok(name, f"on {', '.join(device.name for device in taken)}")


def _has_our_rules(device: UsbBlockDevice) -> bool:
    wants = device.properties.get("SYSTEMD_WANTS", "").split()
    tags = device.properties.get("TAGS", "").split(":")
    return (
        device.properties.get("UDISKS_IGNORE") == "1"
        and f"bodycam-mount@{device.name}.service" in wants
        and "systemd" in tags
    )


def judge_volumes(
    udev: usb_facts.Udev,
    taken: Sequence[UsbBlockDevice],
    mounts: Sequence[Mount],
    roots: Sequence[Path],
) -> Iterator[Check]:
    """Whether what is on USB is mounted once, read-only, where the daemon looks."""
    name = "usb.volumes"
    if udev.fault:
        yield warn(name, "unknown: udev cannot be asked", "See usb.udev.")
        return
    if not taken:
        yield warn(name, "no camera is docked", _LATER)
    below = {os.fsencode(root) for root in roots}
    ours = {device.number for device in taken}
    for device in udev.devices:
        here = [mount for mount in mounts if mount.device == device.number]
        wrong = [mount for mount in here if not _is_right(mount, below)]
        if any(mount.mount_path in _SYSTEM for mount in here):
            yield fail(
                "usb.other_disks",
                f"this machine runs from {device.name}, mounted at {_places(here)}",
                "Use a machine with a disk inside as the dock: what is on USB is set read-only.",
            )
        elif device.number in ours:
            yield _volume(name, device, here, wrong)
        elif wrong:
            yield warn(
                "usb.other_disks",
                f"{device.name} is mounted at {_places(wrong)}",
                "If that is a camera, match it by a profile; if it is no part of this machine, "
                "unmount it and find out who mounts it.",
            )


def _is_right(mount: Mount, below: set[bytes]) -> bool:
    parent = os.path.dirname(mount.mount_path)  # noqa: PTH120 - paths are bytes
    return mount.read_only and parent in below | {MOUNTING}


def _volume(name: str, device: UsbBlockDevice, here: list[Mount], wrong: list[Mount]) -> Check:
    if wrong:
        return fail(
            name,
            f"{device.name} is mounted at {_places(wrong)}",
            "Unmount it there (umount, as root) and remove what mounted it: a camera is mounted "
            "below cameras.mount_roots alone, and read-only.",
        )
    if not here:
        unit = f"bodycam-mount@{device.name}.service"
        return fail(
            name,
            f"{device.name} is not mounted",
            f"If it stays so for half a minute: `systemctl status {unit}`, `journalctl -u {unit}`.",
        )
    return ok(name, f"{device.name} is mounted at {_places(here)}")


def _places(mounts: Sequence[Mount]) -> str:
    return ", ".join(
        f"{printable_path(mount.mount_path)} ({'read-only' if mount.read_only else 'writable'})"
        for mount in mounts
    )


def judge_automounters(
    running: frozenset[str] | None, rules: usb_facts.Rules, taken: Sequence[UsbBlockDevice]
) -> Check:
    """Whether anything else on this machine mounts what is plugged in."""
    name = "usb.automounter"
    if running is None:
        return warn(
            name,
            "unknown: this user may not see what runs",
            "Run `sudo bodycam-ingest doctor` once for this check (/proc hides processes).",
        )
    if themselves := sorted(running & _MOUNT_THEMSELVES):
        return fail(
            name,
            f"{', '.join(themselves)} runs and mounts what is plugged in",
            "Remove it: a dock needs no automounter, and it can write to a camera.",
        )
    through = sorted(running & (_THROUGH_UDISKS | {"udisksd"}))
    open_to_it = [d.name for d in taken if d.properties.get("UDISKS_IGNORE") != "1"]
    if through and (open_to_it or "UDISKS_IGNORE" not in rules.text):
        what = ", ".join(open_to_it) or "what is plugged in"
        return fail(
            name,
            f"{', '.join(through)} runs, and nothing keeps it from {what}",
            f"Remove udisks2 or make the rules work. {_TRIGGER}",
        )
    if desktop := sorted(running & _THROUGH_UDISKS):
        return warn(
            name,
            f"{', '.join(desktop)} runs; the rules hold it off",
            "Remove the desktop's automounter from a dock, or switch it off.",
        )
    if "automount" in running:
        return warn(
            name, "autofs runs", "See in /etc/auto.* that it mounts nothing that is on USB."
        )
    return ok(name, "udisks runs; the rules hold it off" if through else "none runs")
