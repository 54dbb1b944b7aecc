"""Card images as cameras format them: a partition table and one FAT32 or exFAT file system.

Made without mounting anything: dosfstools and mtools write FAT32, exfatprogs and `ExFat` exFAT.
"""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tests.vm.exfat import ExFat

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.vm.exfat import Tree

SECTOR_BYTES: Final = 512
_START_SECTOR: Final = 8192  # 4 MiB, as SD cards come
_MIB: Final = 1 << 20
_TYPES: Final = {"fat32": 0x0C, "exfat": 0x07}
_NOON: Final = 1_767_268_800  # 2026-01-01 12:00 UTC


@dataclass(frozen=True)
class File:
    """A recording on a card.

    Args:
        content: its bytes.
        time_s: its time stamp, s since 1970, even; 0 is a camera that lost its clock.
    """

    content: bytes
    time_s: int = _NOON

    @property
    def dos_time(self) -> int:
        """Date and time as FAT keeps them; none at all before 1980."""
        at = time.gmtime(self.time_s)
        if at.tm_year < 1980:
            return 0
        date = (at.tm_year - 1980) << 9 | at.tm_mon << 5 | at.tm_mday
        return date << 16 | at.tm_hour << 11 | at.tm_min << 5 | at.tm_sec // 2


@dataclass(frozen=True)
class Card:
    """A card image and what is on it.

    Args:
        path: the image.
        files: recordings by path.
    """

    path: Path
    files: Mapping[str, File]

    def sha256(self) -> str:
        """Digest of the whole image."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def digests(self) -> dict[str, str]:
        """SHA-256 of each recording, by path."""
        return {path: hashlib.sha256(file.content).hexdigest() for path, file in self.files.items()}

    def sector_of(self, piece: bytes) -> int:
        """The sector of the card at which these bytes lie, which must begin one."""
        image = self.path.read_bytes()
        at = image.find(piece)
        while at >= 0 and at % SECTOR_BYTES:
            at = image.find(piece, at + 1)
        assert at >= 0, "that is not on the card"
        return at // SECTOR_BYTES

    def sector_of_name(self, name: str) -> int:
        """The sector of the card in which a directory names this file, in capitals and 8.3."""
        stem, _, suffix = name.partition(".")
        image = self.path.read_bytes()
        at = max(
            image.find(f"{stem:8}{suffix:3}".encode("ascii")), image.find(name.encode("utf-16-le"))
        )
        assert at >= 0, "no directory names it"
        return at // SECTOR_BYTES


def make_card(
    path: Path,
    kind: Literal["fat32", "exfat"],
    files: Mapping[str, File],
    *,
    volume_id: str,
    size_mib: int = 96,
) -> Card:
    """Format a card and put recordings on it.

    Args:
        path: the image to make.
        kind: file system.
        files: recordings by path, with `/`.
        volume_id: eight hex digits.
        size_mib: the card's size, MiB.
    """
    number = int(volume_id, 16)
    sectors = size_mib * _MIB // SECTOR_BYTES
    table = bytearray(SECTOR_BYTES)
    struct.pack_into("<I", table, 440, number ^ 0x5A5A5A5A)
    far = b"\xfe\xff\xff"
    partition = (0, far, _TYPES[kind], far, _START_SECTOR, sectors - _START_SECTOR)
    struct.pack_into("<B3sB3sII", table, 446, *partition)
    table[510:512] = b"\x55\xaa"
    with path.open("wb") as image:
        image.truncate(sectors * SECTOR_BYTES)
        image.write(table)
    make = _make_fat32 if kind == "fat32" else _make_exfat
    make(path, files, number, sectors)
    return Card(path, dict(files))


def _make_fat32(path: Path, files: Mapping[str, File], number: int, sectors: int) -> None:
    _call(
        *("mkfs.fat", "-F", "32", "-s", "1", "-n", "BODYCAM", "-i", f"{number:08x}"),
        *("-h", str(_START_SECTOR), "--offset", str(_START_SECTOR)),
        *(str(path), str((sectors - _START_SECTOR) // 2)),
    )
    with tempfile.TemporaryDirectory(dir=path.parent) as directory:
        for name, file in files.items():
            source = Path(directory, name)
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(file.content)
            os.utime(source, (file.time_s, file.time_s))
        top = sorted(str(entry) for entry in Path(directory).iterdir())
        place = f"{path}@@{_START_SECTOR * SECTOR_BYTES}"
        _call("mcopy", "-i", place, "-s", "-m", "-Q", *top, "::/")


def _make_exfat(path: Path, files: Mapping[str, File], number: int, sectors: int) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent) as plain:
        plain.truncate((sectors - _START_SECTOR) * SECTOR_BYTES)
        _call("mkfs.exfat", "-L", "BODYCAM", plain.name)
        tree: dict[str, Tree] = {}
        for name, file in files.items():
            *directories, last = name.split("/")
            at = tree
            for directory in directories:
                below = at.setdefault(directory, {})
                assert isinstance(below, dict)
                at = below
            at[last] = file
        with Path(plain.name).open("r+b") as opened:
            system = ExFat(opened)
            system.set_volume_id(number)
            system.add(tree)
        with path.open("r+b") as image:
            image.seek(_START_SECTOR * SECTOR_BYTES)
            image.write(Path(plain.name).read_bytes())


def _call(*command: str) -> None:
    # FAT keeps local time: here that is UTC.
    environment = {**os.environ, "TZ": "UTC", "MTOOLS_SKIP_CHECK": "1"}
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
