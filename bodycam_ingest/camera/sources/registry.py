"""Which source a dock has, by its configured name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodycam_ingest.camera.sources.folder import FolderSource
from bodycam_ingest.camera.sources.udev import Udev
from bodycam_ingest.camera.sources.usb import UsbSource

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path


def open_source(
    kind: str,
    mount_roots: Sequence[Path],
    allowed: Callable[[Mapping[str, str]], bool],
) -> FolderSource | UsbSource:
    """The source of that kind, not yet watching.

    Args:
        kind: `folder` or `usb`.
        mount_roots: directories directly below which cameras appear.
        allowed: whether a USB device with these properties is taken at all.

    Raises:
        ValueError: there is no such kind.
        ImportError: `usb` without libudev on the machine.
    """
    if kind == "usb":
        return UsbSource(Udev(), mount_roots, allowed=allowed)
    if kind == "folder":
        return FolderSource(mount_roots)
    raise ValueError(f"no source of cameras is called {kind!r}")
