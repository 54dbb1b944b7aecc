"""What is plugged in and what lies on it: sources, profiles, listing, files beneath a volume.

Watchdog and libudev are loaded with the source that needs them.
"""

from bodycam_ingest.camera.files import SourceFile, open_volume, read_head
from bodycam_ingest.camera.listing import Listing, Settling, being_written, list_volume, sample
from bodycam_ingest.camera.profile import (
    ItemFacts,
    LimitedSearch,
    facts_of,
    is_included,
    is_taken,
    profile_for,
    safe_serial,
    serial_in_text,
)
from bodycam_ingest.camera.sources import open_source, usb_block_devices
from bodycam_ingest.camera.sources.usb import FILE_SYSTEMS as USB_FILE_SYSTEMS
from bodycam_ingest.camera.sources.usb import UsbBlockDevice
from bodycam_ingest.camera.sources.volume import (
    DeviceSource,
    DiskHealth,
    MountedVolume,
    disk_health,
)

__all__ = [
    "USB_FILE_SYSTEMS",
    "DeviceSource",
    "DiskHealth",
    "ItemFacts",
    "LimitedSearch",
    "Listing",
    "MountedVolume",
    "Settling",
    "SourceFile",
    "UsbBlockDevice",
    "being_written",
    "disk_health",
    "facts_of",
    "is_included",
    "is_taken",
    "list_volume",
    "open_source",
    "open_volume",
    "profile_for",
    "read_head",
    "safe_serial",
    "sample",
    "serial_in_text",
    "usb_block_devices",
]
