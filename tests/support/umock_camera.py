"""Run under umockdev-wrapper by test_udev.py: a camera comes and goes on a machine made of air.

Prints what the source saw, as JSON. Runs in the system's Python, which has the bindings.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import gi  # type: ignore[import-not-found, unused-ignore]  # Debian's python3-gi, no wheel

gi.require_version("UMockdev", "1.0")
from gi.repository import UMockdev  # type: ignore[import-not-found, unused-ignore]  # noqa: E402

testbed = UMockdev.Testbed.new()

from bodycam_ingest.camera.sources.udev import Udev  # noqa: E402 - pyudev after the testbed stands
from bodycam_ingest.camera.sources.usb import UsbSource  # noqa: E402

WAIT_S = 20


def add(kind: str, name: str, parent: str | None, attributes: dict[str, str], **properties: str):
    def flat(pairs: dict[str, str]) -> list[str]:
        return [word for pair in pairs.items() for word in pair]

    return testbed.add_device(kind, name, parent, flat(attributes), flat(properties))


def camera(port: int, minor: int, serial: str, **usb_properties: str) -> list[str]:
    usb = add(
        "usb",
        f"1-{port}",
        None,
        {"idVendor": "2fb7", "idProduct": "0101", "serial": serial},
        DEVTYPE="usb_device",
    )
    common = {
        "ID_BUS": "usb",
        "ID_PATH": f"pci-0000:00:14.0-usb-0:{port}:1.0-scsi-0:0:0:0",
        "USEC_INITIALIZED": "1",
    } | usb_properties
    disk_name = f"sd{chr(ord('a') + port)}"
    disk = add(
        "block",
        disk_name,
        usb,
        {"size": "1000", "dev": f"8:{minor}"},
        DEVNAME=f"/dev/{disk_name}",
        DEVTYPE="disk",
        MAJOR="8",
        MINOR=f"{minor}",
        ID_PART_TABLE_TYPE="dos",
        **common,
    )
    part = add(
        "block",
        f"{disk_name}1",
        disk,
        {"size": "900", "dev": f"8:{minor + 1}", "partition": "1"},
        DEVNAME=f"/dev/{disk_name}1",
        DEVTYPE="partition",
        MAJOR="8",
        MINOR=f"{minor + 1}",
        ID_FS_USAGE="filesystem",
        ID_FS_TYPE="vfat",
        ID_PART_ENTRY_NUMBER="1",
        **common,
    )
    return [usb, disk, part]


def main() -> None:
    mountinfo, woken = Path(sys.argv[1]), threading.Event()
    line = "40 29 8:{0} / /volumes/{1} ro - vfat /dev/{1} ro\n"
    mountinfo.write_text(line.format(17, "sdb1") + line.format(33, "sdc1"), encoding="ascii")
    # The testbed makes no /sys/dev/block.
    for number in ("8:17", "8:33"):
        (mountinfo.parent / number).touch()
    source = UsbSource(
        Udev(), [Path("/volumes")], mountinfo_path=mountinfo, block_devices=mountinfo.parent
    )
    told: dict[str, Any] = {}

    def seen() -> list[list[Any]]:
        return [[one.camera, one.bay, one.volume, one.device] for one in source.present()]

    # One was there before anybody listened.
    first = camera(1, 16, "X81A", ID_SERIAL_SHORT="X81A")
    source.start(woken.set)
    told["before"] = seen()
    (mounted,) = source.present()
    told["there"] = source.is_present(mounted)
    woken.clear()
    camera(2, 32, "BARE")
    told["woken"] = woken.wait(WAIT_S)
    told["both"] = seen()
    woken.clear()
    for path in reversed(first):
        testbed.uevent(path, "remove")
        testbed.remove_device(path)
    told["woken_again"] = woken.wait(WAIT_S)
    told["after"] = seen()
    (mountinfo.parent / "8:17").unlink()
    told["gone"] = not source.is_present(mounted)
    source.stop()
    told["numbers"] = [os.makedev(8, 17), os.makedev(8, 33)]
    print(json.dumps(told))


main()
