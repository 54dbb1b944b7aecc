"""Kernel and initial file system of the test machine, made so that it starts fast when emulated."""

from __future__ import annotations

import lzma
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

# Drivers of hardware that the machine does not have; without them the disk is half as large.
_UNUSED: Final = [
    "drivers/gpu",
    "drivers/media",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/net/wan",
    "drivers/net/can",
    "drivers/net/usb",
    "drivers/net/phy",
    "drivers/net/fddi",
    "drivers/infiniband",
    "drivers/iio",
    "drivers/staging",
    "drivers/isdn",
    "drivers/comedi",
    "drivers/mtd",
    "drivers/hwmon",
    "drivers/platform",
    "drivers/edac",
    "drivers/leds",
    "drivers/pcmcia",
    "drivers/bluetooth",
    "drivers/thunderbolt",
    "drivers/accel",
    "drivers/crypto",
    "drivers/video",
    "sound",
    "net/bluetooth",
    "net/wireless",
    "net/mac80211",
    "net/sctp",
    "net/tipc",
    "net/batman-adv",
    "net/openvswitch",
    "fs/ocfs2",
    "fs/ceph",
    "fs/gfs2",
    "fs/xfs",
    "fs/btrfs",
    "fs/bcachefs",
    "fs/afs",
]
_NEEDED: Final = ("virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
_INIT: Final = """#!/bin/sh
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
{insmod}
while [ ! -b /dev/vda ]; do /bin/busybox usleep 20000; done
/bin/busybox mount -t ext4 -o ro /dev/vda /root || /bin/busybox reboot -f
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /lib/systemd/systemd
"""
_DIRECTORY, _PROGRAM, _FILE, _LINK, _CONSOLE = 0o040755, 0o100755, 0o100644, 0o120777, 0o020600


def install_kernel(root: Path, kernel: Path, initrd: Path) -> None:
    """Put the modules of the kernel that was fetched into `root`, and write what boots it.

    Args:
        root: the machine's file system, with the packages in `/opt/vmkernel`.
        kernel: where the unpacked kernel goes.
        initrd: where the initial file system goes.
    """
    fetched = root / "opt/vmkernel"
    unpacked = fetched / "unpacked"
    for package in fetched.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, unpacked], check=True)
    (source,) = (unpacked / "lib/modules").iterdir()
    version = source.name
    for unused in _UNUSED:
        shutil.rmtree(source / "kernel" / unused, ignore_errors=True)
    modules = root / "usr/lib/modules" / version
    modules.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, modules)
    subprocess.run(["chroot", root, "depmod", version], check=True)
    kernel.write_bytes(_elf((unpacked / f"boot/vmlinuz-{version}").read_bytes()))
    initrd.write_bytes(_initrd(modules, (unpacked / "bin/busybox").read_bytes()))
    shutil.rmtree(fetched)


def _elf(compressed: bytes) -> bytes:
    """The kernel inside of a bzImage: emulated, unpacking alone would take seconds at each start.

    Offsets as in the Linux/x86 boot protocol.
    """
    start = ((compressed[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", compressed, 0x248)
    payload = compressed[start + offset : start + offset + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        done = subprocess.run(["zstd", "-dc"], input=payload, capture_output=True, check=False)
        return done.stdout
    raise RuntimeError("the kernel is packed in a way that is not known here")


def _module_name(path: str) -> str:
    return re.sub(r"\.ko.*", "", Path(path).name).replace("-", "_")


def _load_order(modules: Path) -> list[str]:
    """The needed modules and what they need, each after its own needs."""
    needs: dict[str, tuple[str, list[str]]] = {}
    for line in (modules / "modules.dep").read_text(encoding="ascii").splitlines():
        path, rest = line.split(":", 1)
        needs[_module_name(path)] = (path, rest.split())
    order: list[str] = []

    def want(name: str) -> None:
        path, deps = needs[name]
        for dep in reversed(deps):
            want(_module_name(dep))
        if path not in order:
            order.append(path)

    builtin = (modules / "modules.builtin").read_text(encoding="ascii")
    for name in _NEEDED:
        if f"/{name}.ko" not in builtin:
            want(name)
    return order


def _initrd(modules: Path, busybox: bytes) -> bytes:
    entries = [(name, _DIRECTORY, b"") for name in ("bin", "dev", "proc", "root", "lib")]
    entries += [("bin/busybox", _PROGRAM, busybox), ("bin/sh", _LINK, b"busybox")]
    insmod = []
    for name in _load_order(modules):
        data = (modules / name).read_bytes()
        if name.endswith(".xz"):
            data = lzma.decompress(data)
        base = Path(name.removesuffix(".xz")).name
        entries.append((f"lib/{base}", _FILE, data))
        insmod.append(f"/bin/busybox insmod /lib/{base}")
    init = _INIT.format(insmod="\n".join(insmod)).encode()
    return _cpio([*entries, ("init", _PROGRAM, init), ("dev/console", _CONSOLE, b"")])


def _cpio(entries: list[tuple[str, int, bytes]]) -> bytes:
    """An archive in the format that the kernel documents as initramfs buffer format (newc)."""
    out = bytearray()
    for inode, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        text = name.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(text), 0)
        out += b"070701" + b"".join(b"%08x" % value for value in fields) + text
        out += b"\0" * (-len(out) % 4)
        out += data + b"\0" * (-len(data) % 4)
    return bytes(out)
