"""A camera's volume, the health of the disk below it, and what a source of volumes must answer."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

BLOCK_DEVICES: Final = Path("/sys/dev/block")
_LEAVING: Final = frozenset({"cancel", "deleted"})
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR})


@dataclass(frozen=True, slots=True)
class MountedVolume:
    """One mounted volume of a camera; equal values mean the same volume, not replaced since.

    Args:
        camera: serial as the source knows it; empty when it does not.
        bay: where it is plugged in.
        volume: which of the camera's volumes; empty where there is one.
        device: `st_dev` of the root.
        inode: of the root; 0 where the source has `attachment` instead.
        properties: what else is known of the device, for profiles and the ledger.
        attachment: marks this one time that it was plugged in and mounted, where the source knows;
            the kernel gives a device's numbers to the next one.
    """

    camera: str
    bay: str
    volume: str
    mount_path: Path
    device: int
    inode: int
    properties: Mapping[str, str] = field(default_factory=dict, compare=False)
    attachment: str = ""


@dataclass(frozen=True, slots=True)
class DiskHealth:
    """How a disk stands; two that are equal and well mean that nothing failed in between.

    Args:
        state: of the SCSI device, as in sysfs; empty where there is none, or no more. The kernel
            takes this away before it takes the disk away; "unknown" when it cannot be read.
        errors: commands that failed since it was plugged in.
    """

    state: str = ""
    errors: int = 0

    @property
    def being_removed(self) -> bool:
        """The kernel is taking it away."""
        return self.state in _LEAVING

    @property
    def ok(self) -> bool:
        """It answers, as far as the kernel knows."""
        return self.state in {"", "running"}


def disk_health(device: int, block_devices: Path = BLOCK_DEVICES) -> DiskHealth:
    """The health of the disk that holds a volume, without touching the disk.

    What sysfs says of its SCSI device (`state` and `ioerr_cnt`, kernel's Documentation/scsi);
    nothing for a volume on something else, or on nothing any more. FAT skips a directory block
    that it cannot read as if it were empty, and a disk that is being taken away fails for some
    moments before it disappears: only the kernel's own books show either.
    """
    place = block_devices / f"{os.major(device)}:{os.minor(device)}"
    # A partition has no device of its own; its disk is the directory above.
    for disk in (place / "device", place / ".." / "device"):
        try:
            state = (disk / "state").read_text(encoding="ascii").strip()
            errors = int((disk / "ioerr_cnt").read_text(encoding="ascii"), 16)
        except ValueError:
            continue
        except OSError as error:
            if error.errno in _NOT_THERE:
                continue
            return DiskHealth("unknown")
        return DiskHealth(state, errors)
    return DiskHealth()


class DeviceSource(Protocol):
    """Where cameras come from."""

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to watch; `wake` is called as a hint that something changed."""

    def present(self) -> Sequence[MountedVolume]:
        """The volumes that are there now, by looking."""

    def is_present(self, mounted: MountedVolume) -> bool:
        """Whether that very volume is still there: same directory, same device."""

    def disk_health(self, mounted: MountedVolume) -> DiskHealth:
        """How the disk below it stands, without touching it."""

    def stop(self) -> None:
        """Stop watching."""
