"""The block devices on USB as udev knows them; the only importer of pyudev.

Events only wake: the kernel drops them when nobody reads fast enough, so what is there is always
found by enumerating.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import pyudev

from bodycam_ingest.camera.sources.usb import UsbBlockDevice
from bodycam_ingest.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_POLL_S: Final = 1.0
_AGAIN_S: Final = 5.0


class Udev:
    """The machine's devices."""

    def __init__(self) -> None:
        # libudev knows no threads: the lock guards this context, the watcher has another.
        self._context = pyudev.Context()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake`, from another thread, whenever a block device came, changed or went.

        Listening has begun when this returns, so that nothing falls between it and a look.
        """
        monitor = self._listen()
        if monitor is None:
            return
        self._thread = threading.Thread(
            target=self._follow, args=(monitor, wake), name="udev", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def usb_block_devices(self) -> list[UsbBlockDevice]:
        """The block devices on USB that are there now."""
        with self._lock:
            return list(self._look())

    def _look(self) -> Iterator[UsbBlockDevice]:
        for device in self._context.list_devices(subsystem="block"):
            try:
                found = _usb_block_device(device)
            except (pyudev.DeviceNotFoundError, OSError):
                # It left while it was looked at.
                continue
            if found is not None:
                yield found

    def _listen(self) -> pyudev.Monitor | None:
        try:
            monitor = pyudev.Monitor.from_netlink(pyudev.Context())
            monitor.filter_by("block")
            monitor.start()
        except OSError as error:
            # Out of descriptors, or no netlink in a sandbox: looking finds everything all the same.
            log.warning("source.udev_events_off", error=str(error))
            return None
        return monitor

    def _follow(self, monitor: pyudev.Monitor | None, wake: Callable[[], None]) -> None:
        while not self._stopped.is_set():
            if monitor is None:
                self._stopped.wait(_AGAIN_S)
                monitor = self._listen()
                wake()
                continue
            try:
                if monitor.poll(_POLL_S) is not None:
                    wake()
            except OSError as error:
                # The kernel dropped events; the look that follows makes up for them.
                log.warning("source.udev_events_lost", error=str(error))
                monitor = None
                wake()


def _usb_block_device(device: pyudev.Device) -> UsbBlockDevice | None:
    usb = device.find_parent("usb", "usb_device")
    if usb is None:
        return None
    properties = {str(name): str(value) for name, value in device.properties.items()}
    # A bridge to ATA shows the disk's own serial; the USB one is then another property.
    serial = properties.get("ID_USB_SERIAL_SHORT") or (
        properties.get("ID_SERIAL_SHORT", "") if properties.get("ID_BUS") == "usb" else ""
    )
    if not serial and "serial" in usb.attributes.available_attributes:
        serial = usb.attributes.get("serial", b"").decode("utf-8", "backslashreplace")
    return UsbBlockDevice(
        number=device.device_number,
        name=device.sys_name,
        usb=usb.device_path,
        usb_serial=serial.strip(),
        properties=properties,
    )
