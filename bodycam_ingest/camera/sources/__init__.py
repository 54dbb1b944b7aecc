"""Where cameras come from, USB or folders; loads the library of the one that is opened alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bodycam_ingest.camera.sources.usb import UsbBlockDevice, UsbSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bodycam_ingest.camera.sources.volume import DeviceSource


def open_source(
    kind: Literal["folder", "usb"],
    mount_roots: Sequence[Path],
    allowed: Callable[[Mapping[str, str]], bool],
) -> DeviceSource:
    """A source, not yet watching; `allowed` tells a USB device that is taken by its properties.

    Raises:
        ImportError: `usb` without libudev on the machine.
    """
    if kind == "usb":
        from bodycam_ingest.camera.sources.udev import Udev  # noqa: PLC0415 - pyudev, on docks alone

        return UsbSource(Udev(), mount_roots, allowed=allowed)
    from bodycam_ingest.camera.sources.folder import FolderSource  # noqa: PLC0415 - watchdog

    return FolderSource(mount_roots)


def usb_block_devices() -> Sequence[UsbBlockDevice]:
    """The block devices on USB that this machine's udev knows now.

    Raises:
        ImportError: there is no libudev on the machine.
    """
    from bodycam_ingest.camera.sources.udev import Udev  # noqa: PLC0415 - pyudev, on docks alone

    return Udev().usb_block_devices()
