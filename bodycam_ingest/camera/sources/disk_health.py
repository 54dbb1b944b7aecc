"""What the kernel tells of the disk below a volume, without touching the disk.

FAT skips a directory block that it cannot read as if it were empty, and a disk that is being
taken away fails for some moments before it disappears. Only the kernel's own books show either.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BLOCK_DEVICES: Final = Path("/sys/dev/block")
_LEAVING: Final = frozenset({"cancel", "deleted"})
_NOT_THERE: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR})


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
    """The health of the disk that holds a volume.

    Args:
        device: the volume's device number.
        block_devices: a directory with a link for each block device number.

    Returns:
        What sysfs tells of its SCSI device (`state` and `ioerr_cnt`, kernel's
        Documentation/scsi); nothing for a volume on something else, or on nothing any more.
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
