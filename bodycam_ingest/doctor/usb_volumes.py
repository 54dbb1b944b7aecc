"""Whether what is plugged in went the way that it should: rules, mount, nobody else (pure)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from bodycam_ingest.doctor.result import fail, ok, warn
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bodycam_ingest.camera import UsbBlockDevice
    from bodycam_ingest.doctor.result import Check
    from bodycam_ingest.doctor.usb_facts import Rules, Udev
    from bodycam_ingest.linux.mountinfo import Mount

_TRIGGER: Final = (
    "Run `udevadm control --reload && udevadm trigger --subsystem-match=block` as root, then plug "
    "the camera in again."
)
_LATER: Final = "Dock a camera and run doctor again: without one this cannot be tried."
# Names are cut to 15 characters. These leave a volume alone that has UDISKS_IGNORE.
_THROUGH_UDISKS: Final = frozenset({"gvfs-udisks2-vo", "udiskie", "udiskie-tray"})
_MOUNT_THEMSELVES: Final = frozenset({"devmon", "udevil", "usbmount", "ldm"})
_AUTOFS: Final = "automount"
_UDISKS: Final = "udisksd"
# Where our mount unit has a volume until it may be seen.
MOUNTING: Final = b"/run/bodycam-ingest/mounting"
# Where a machine has itself.
_SYSTEM: Final = frozenset(
    {b"/", b"/boot", b"/boot/efi", b"/boot/firmware", b"/efi", b"/home", b"/usr", b"/var"}
)


def judge_rules_active(udev: Udev, taken: Sequence[UsbBlockDevice]) -> Check:
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
    udev: Udev, taken: Sequence[UsbBlockDevice], mounts: Sequence[Mount], roots: Sequence[Path]
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
    running: frozenset[str] | None, rules: Rules, taken: Sequence[UsbBlockDevice]
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
    through = sorted(running & (_THROUGH_UDISKS | {_UDISKS}))
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
    if _AUTOFS in running:
        return warn(
            name, "autofs runs", "See in /etc/auto.* that it mounts nothing that is on USB."
        )
    return ok(name, "udisks runs; the rules hold it off" if through else "none runs")
