"""The USB source: each USB device with mounted volumes is a camera.

udev knows which volumes there are and to which camera they belong, mountinfo whether and where
they are mounted; the two meet at the device number. Mounting is not done here: a unit of systemd
does it, read-only, before anything is seen. Nothing here reads the card, so that a camera which
hangs cannot hold up the look at the others.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from bodycam_ingest.camera.sources.volume import (
    BLOCK_DEVICES,
    DiskHealth,
    MountedVolume,
    disk_health,
)
from bodycam_ingest.linux import mountinfo
from bodycam_ingest.linux.mountinfo import MountWatch
from bodycam_ingest.log import log
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bodycam_ingest.linux.mountinfo import Mount


FILE_SYSTEMS: Final = frozenset({"vfat", "exfat"})
# Plugged to mounted takes about five seconds, of eight cameras at once some more.
_MOUNT_PATIENCE_S: Final = 30.0
_VALUE_MAX: Final = 256
_KEPT: Final = (
    "DEVNAME",
    "ID_FS_LABEL",
    "ID_FS_TYPE",
    "ID_FS_UUID",
    "ID_MODEL",
    "ID_MODEL_ID",
    "ID_PATH",
    "ID_REVISION",
    "ID_SERIAL",
    "ID_SERIAL_SHORT",
    "ID_USB_INTERFACE_NUM",
    "ID_VENDOR",
    "ID_VENDOR_ID",
)
# pci-0000:00:14.0-usb-0:1.3:1.0-scsi-0:0:0:0: controller and port, interface, unit. Newer ones
# write usbv2 and usbv3 for the two halves of one socket.
_PORT: Final = re.compile(r"(?P<host>.*?)-?usb(?:v[23])?-\d+:(?P<port>[\d.]+):\d+\.(?P<if>\d+)")
_LUN: Final = re.compile(r"scsi-\d+:\d+:\d+:(\d+)")


@dataclass(frozen=True, slots=True)
class UsbBlockDevice:
    """A disk or a partition that hangs on a USB device.

    Args:
        name: the kernel's name, such as `sdb1`.
        usb: the USB device above it, by its path below /sys.
        usb_serial: that device's serial number; empty when it has none.
        properties: as udev's rules left them.
    """

    number: int
    name: str
    usb: str
    usb_serial: str
    properties: Mapping[str, str]


class Udev(Protocol):
    """What is needed of udev."""

    def watch(self, wake: Callable[[], None]) -> None:
        """Begin to listen; `wake` is called when a block device came or went."""

    def usb_block_devices(self) -> Sequence[UsbBlockDevice]:
        """The block devices on USB that are there now."""

    def stop(self) -> None:
        """Stop listening."""


class UsbSource:
    """Cameras on USB, mounted directly below one of the roots.

    `allowed` tells a device that is taken by its properties; `mountinfo_path` is where the kernel
    says what is mounted, `block_devices` has a link for each block device number.
    """

    def __init__(
        self,
        udev: Udev,
        mount_roots: Sequence[Path],
        *,
        allowed: Callable[[Mapping[str, str]], bool] = lambda _properties: True,
        mountinfo_path: Path = Path("/proc/self/mountinfo"),
        block_devices: Path = BLOCK_DEVICES,
    ) -> None:
        self._udev = udev
        self._roots = {os.fsencode(root) for root in mount_roots}
        self._allowed = allowed
        self._mountinfo_path = mountinfo_path
        self._block_devices = block_devices
        self._since_s: dict[tuple[str, int], float] = {}
        self._reported: set[tuple[str, str]] = set()
        self._clones: set[tuple[str, tuple[str, ...]]] = set()
        self._lock = threading.Lock()
        self._mount_watch: MountWatch | None = None

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to listen, before the first look; `wake` is called when a device came or went."""
        self._udev.watch(wake)
        # A device is mounted some seconds after udev told of it.
        self._mount_watch = MountWatch(wake)
        self._mount_watch.start()

    def stop(self) -> None:
        """Stop listening."""
        watch, self._mount_watch = self._mount_watch, None
        if watch is not None:
            watch.stop()
        self._udev.stop()

    def present(self) -> list[MountedVolume]:
        """The volumes of cameras that are mounted read-only now, by bay and volume."""
        with self._lock:
            devices = self._udev.usb_block_devices()
            mounts = self._mounts()
            self._forget({device.usb for device in devices})
            found = []
            for device in devices:
                mounted = self._mounted(device, mounts.get(device.number, ()))
                if mounted is not None:
                    found.append(mounted)
            self._report_clones(found)
        return sorted(found, key=lambda one: (one.bay, one.volume, one.mount_path))

    def is_present(self, mounted: MountedVolume) -> bool:
        """Whether that very volume is still there: same device, same mount, not replaced."""
        same = any(
            os.fsencode(mounted.mount_path) == mount.mount_path
            and self._attachment(mount) == mounted.attachment
            for mount in self._mounts().get(mounted.device, ())
        )
        return same and not self.disk_health(mounted).being_removed

    def disk_health(self, mounted: MountedVolume) -> DiskHealth:
        """How the disk below it stands."""
        return disk_health(mounted.device, self._block_devices)

    # -- what is mounted --

    def _mounts(self) -> dict[int, list[Mount]]:
        """Mounts directly below a root, by device; what another mount hides is left out."""
        top = {
            mount.mount_path: mount
            for mount in mountinfo.parse(self._mountinfo_path.read_bytes())
            if os.path.dirname(mount.mount_path) in self._roots  # noqa: PTH120 - paths are bytes
        }
        by_device = defaultdict(list)
        for mount in top.values():
            by_device[mount.device].append(mount)
        return by_device

    def _attachment(self, mount: Mount) -> str:
        """A mark of this device being plugged in and mounted this once; empty when it is gone."""
        major, minor = os.major(mount.device), os.minor(mount.device)
        try:
            # sysfs gives each device that appears another inode, even under an old number.
            inode = (self._block_devices / f"{major}:{minor}").stat().st_ino
        except OSError:
            return ""
        return f"{inode}-{mount.mount_id}"

    def _mounted(self, device: UsbBlockDevice, mounts: Iterable[Mount]) -> MountedVolume | None:
        if not self._is_wanted(device):
            return None
        for mount in mounts:
            if not mount.read_only:
                if self._first("writable", device):
                    path = _shown(mount.mount_path)
                    log.error("source.mount_writable", bay=bay_of(device), mount_path=path)
                continue
            attachment = self._attachment(mount)
            if not attachment or mount.root != b"/":
                continue
            self._since_s.pop((device.usb, device.number), None)
            return MountedVolume(
                camera=self._camera(device),
                bay=bay_of(device),
                volume=volume_of(device),
                mount_path=Path(os.fsdecode(mount.mount_path)),
                device=device.number,
                inode=0,
                properties=_kept(device.properties),
                attachment=attachment,
            )
        since_s = self._since_s.setdefault((device.usb, device.number), time.monotonic())
        late = time.monotonic() - since_s > _MOUNT_PATIENCE_S
        if late and self._first(f"not mounted {device.name}", device):
            log.warning("source.not_mounted", bay=bay_of(device), device=device.name)
        return None

    def _is_wanted(self, device: UsbBlockDevice) -> bool:
        properties = device.properties
        if properties.get("ID_FS_USAGE") != "filesystem":
            # A disk with partitions, or one that is not read yet.
            return False
        fs_type = properties.get("ID_FS_TYPE", "")
        if fs_type not in FILE_SYSTEMS:
            self._leave_alone(device, f"file system {_shown(fs_type)}")
            return False
        if not self._allowed(properties):
            self._leave_alone(device, "no profile matches it")
            return False
        return True

    def _camera(self, device: UsbBlockDevice) -> str:
        serial = _shown(device.usb_serial)
        if not serial and self._first("no serial", device):
            log.warning("source.no_serial", bay=bay_of(device), device=device.name)
        return serial

    def _forget(self, here: set[str]) -> None:
        self._since_s = {key: since for key, since in self._since_s.items() if key[0] in here}
        self._reported = {one for one in self._reported if one[0] in here}

    # -- what is logged, once --

    def _leave_alone(self, device: UsbBlockDevice, reason: str) -> None:
        if self._first(f"left alone {device.name}", device):
            log.info(
                "source.device_left_alone",
                bay=bay_of(device),
                device=device.name,
                model=_kept(device.properties).get("ID_MODEL", ""),
                reason=reason,
            )

    def _first(self, what: str, device: UsbBlockDevice) -> bool:
        """Whether this was not yet logged of the USB device since it was plugged in."""
        if (device.usb, what) in self._reported:
            return False
        self._reported.add((device.usb, what))
        return True

    def _report_clones(self, found: Iterable[MountedVolume]) -> None:
        """Cards with one UUID are no fault, but what is on them does not distinguish them."""
        bays: defaultdict[str, set[str]] = defaultdict(set)
        for one in found:
            if uuid := one.properties.get("ID_FS_UUID"):
                bays[uuid].add(one.bay)
        clones = {(uuid, tuple(sorted(at))) for uuid, at in bays.items() if len(at) > 1}
        for uuid, at in sorted(clones - self._clones):
            log.warning("source.volumes_alike", uuid=uuid, bays=list(at))
        self._clones = clones


def bay_of(device: UsbBlockDevice) -> str:
    """The port that a device hangs on, by its path through the machine; stable over re-plugging."""
    path = device.properties.get("ID_PATH", "")
    match = _PORT.match(path)
    if match is not None:
        return _shown("-".join(part for part in (match["host"], f"usb-{match['port']}") if part))
    # The kernel's name for the port, such as 1-1.3.
    return _shown(path or f"usb-{device.usb.rpartition('/')[2]}")


def volume_of(device: UsbBlockDevice) -> str:
    """Which volume of its camera it is; empty for the first, whatever others there are.

    It hangs on nothing that a second volume changes: the first keeps its history when a camera
    shows one more, and a card that was formatted without a partition table stays the same volume.
    """
    properties = device.properties
    port, lun = (pattern.search(properties.get("ID_PATH", "")) for pattern in (_PORT, _LUN))
    number = properties.get("ID_PART_ENTRY_NUMBER") or properties.get("PARTN", "")
    parts = [
        ("if", int(port["if"]) if port else 0),
        ("lun", int(lun[1]) if lun else 0),
        ("part", int(number) - 1 if number.isdecimal() else 0),
    ]
    # Partitions count from one.
    return "-".join(f"{word}{n + (word == 'part')}" for word, n in parts if n > 0)


def _kept(properties: Mapping[str, str]) -> dict[str, str]:
    """What goes on record of a device: known names, printable values of a bearable length."""
    kept = {name: _shown(properties[name]) for name in _KEPT if name in properties}
    return {"SOURCE": "usb", **kept}


def _shown(raw: bytes | str) -> str:
    text = raw.encode("utf-8", "surrogateescape") if isinstance(raw, str) else raw
    return printable_path(text)[:_VALUE_MAX]
