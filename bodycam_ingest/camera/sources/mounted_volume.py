"""A camera's volume as a source shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class MountedVolume:
    """One mounted volume of a camera; equal values mean the same volume, not replaced since.

    Args:
        camera: serial as the source tells it; empty when it cannot.
        bay: where it is plugged in.
        volume: which of the camera's volumes; empty where there is one.
        mount_path: its root.
        device: `st_dev` of the root.
        inode: inode number of the root; 0 where the source has `attachment` instead.
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
