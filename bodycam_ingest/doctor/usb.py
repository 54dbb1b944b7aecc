"""The checks of `doctor` on a dock with cameras on USB: from the udev rules to the mounted volume.

`usb_facts` reads, the functions here judge what was read (pure). A check that could not be made
says so and is no ok.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bodycam_ingest.camera import (
    USB_FILE_SYSTEMS,
    is_taken,
    usb_block_devices,
)
from bodycam_ingest.doctor import usb_facts, usb_volumes
from bodycam_ingest.doctor.result import fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bodycam_ingest.camera import UsbBlockDevice
    from bodycam_ingest.config.models import Cameras
    from bodycam_ingest.doctor.result import Check
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

_INSTALL: Final = "Run `make install` as root: it brings the file."
_DIRECTORY_MODE: Final = 0o755
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def checks(
    cameras: Cameras,
    *,
    root: Path = Path("/"),
    devices: Callable[[], Sequence[UsbBlockDevice]] | None = None,
    run: Callable[[Sequence[str]], Answer] = usb_facts.ask,
) -> Iterator[Check]:
    """Every check of a dock; none where the cameras are folders.

    Args:
        cameras: the configuration.
        root: of the file system.
        devices: asks udev for the block devices on USB; the machine's udev by default.
        run: runs a command that only tells.
    """
    if cameras.source != "usb":
        return
    udev = usb_facts.udev(root, devices or usb_block_devices)
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
    yield usb_volumes.judge_rules_active(udev, taken)
    for module in usb_facts.modules(root):
        yield judge_module(module)
    yield judge_mount_unit(systemd)
    yield judge_mount_help(usb_facts.mount_help(root))
    yield judge_mount_roots(cameras.mount_roots)
    yield from usb_volumes.judge_volumes(udev, taken, usb_facts.mounts(root), cameras.mount_roots)
    yield usb_volumes.judge_automounters(usb_facts.running(root), rules, taken)
    yield judge_service(systemd)


def judge_udev(udev: Udev) -> Iterator[Check]:
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


def judge_rules(rules: Rules) -> Iterator[Check]:
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


def judge_module(module: Module) -> Check:
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


def judge_mount_unit(systemd: Systemd) -> Check:
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


def judge_service(systemd: Systemd) -> Check:
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


def _unit_fault(name: str, shown: str, systemd: Systemd, unit: Unit | None) -> Check | None:
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


def judge_mount_help(needed: MountHelp) -> Check:
    """Whether the mount unit finds what it needs."""
    name = "usb.mount_program"
    program = needed.program
    if not stat.S_ISREG(program.mode) or not program.mode & stat.S_IXUSR:
        return fail(name, usb_facts.described(program), _INSTALL)
    if _others_may_change(program):
        return fail(
            name,
            usb_facts.described(program),
            f"Run `chown root:root {program.path} && chmod 0755 {program.path}`, and find out who "
            "changed it: it runs as root.",
        )
    for directory in needed.directories:
        if directory.mode != stat.S_IFDIR | _DIRECTORY_MODE or directory.uid != 0:
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


def _others_may_change(entry: Entry) -> bool:
    return entry.uid != 0 or bool(entry.mode & _WRITABLE_BY_OTHERS)


def judge_mount_roots(roots: Sequence[Path]) -> Check:
    """Whether the daemon looks where the mount unit mounts."""
    name, place = "usb.mount_roots", Path("/", usb_facts.VOLUMES)
    shown = ", ".join(str(root) for root in roots)
    if place in roots:
        return ok(name, shown)
    return fail(name, shown, f"Add {place} to cameras.mount_roots: volumes are mounted below it.")
