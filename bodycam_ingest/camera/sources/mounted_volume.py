"""A camera's volume, and what shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bodycam_ingest.camera.sources.disk_health import DiskHealth


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
