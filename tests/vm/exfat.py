"""Writes files into an empty exFAT file system, for test cards; no general writer.

Files lie in one piece each, as a camera's do on a fresh card. Follows Microsoft's "exFAT file
system specification", revision 1.00.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import BinaryIO, TypeAlias

    from tests.vm.cards import File

    Tree: TypeAlias = "File | dict[str, Tree]"

_ENTRY_BYTES: Final = 32
_BITMAP, _UPCASE = 0x81, 0x82
_DIRECTORY, _ARCHIVE = 0x10, 0x20
_END: Final = 0xFFFFFFFF
_NAME_UNITS: Final = 15
_UTC: Final = 0x80


class ExFat:
    """A file system that mkfs.exfat made.

    Args:
        file: the image.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        boot = self._read(0, 512)
        assert boot[3:11] == b"EXFAT   "
        fat, _, heap, self._count, self._root = struct.unpack_from("<5I", boot, 80)
        sector = 1 << boot[108]
        self._fat_at, self._heap_at = int(fat * sector), int(heap * sector)
        self._cluster_bytes: int = 1 << (boot[108] + boot[109])
        self._head = b""
        root = self._read(self._at(self._root), self._cluster_bytes)
        for offset in range(0, len(root), _ENTRY_BYTES):
            entry = root[offset : offset + _ENTRY_BYTES]
            if not entry[0]:
                break
            self._head += entry
            first, length = struct.unpack_from("<IQ", entry, 20)
            if entry[0] == _BITMAP:
                self._bitmap_at = self._at(first)
                self._bitmap = bytearray(self._read(self._bitmap_at, length))
            elif entry[0] == _UPCASE:
                self._upcase = _decompressed(self._read(self._at(first), length))
        used = [at for at in range(self._root + 64) if self._bitmap[at >> 3] >> (at & 7) & 1]
        self._next = max(used) + 3

    def _read(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(count)

    def _write(self, offset: int, data: bytes) -> None:
        self._file.seek(offset)
        self._file.write(data)

    def _at(self, cluster: int) -> int:
        return self._heap_at + (cluster - 2) * self._cluster_bytes

    def add(self, tree: Mapping[str, Tree]) -> None:
        """Write everything below the root."""
        data = self._head + self._entries(tree)
        chain = [self._root]
        while len(chain) * self._cluster_bytes < len(data):
            chain.append(self._claim(1))
        for at, cluster in enumerate(chain):
            piece = data[at * self._cluster_bytes :][: self._cluster_bytes]
            self._write(self._at(cluster), piece.ljust(self._cluster_bytes, b"\0"))
            following = chain[at + 1] if at + 1 < len(chain) else _END
            self._write(self._fat_at + 4 * cluster, struct.pack("<I", following))
        self._write(self._bitmap_at, bytes(self._bitmap))

    def set_volume_id(self, number: int) -> None:
        """Give it a volume serial number, with the boot checksum of section 3.4."""
        sector = 512
        for base in (0, 12 * sector):
            region = bytearray(self._read(base, 12 * sector))
            struct.pack_into("<I", region, 100, number)
            checksum = 0
            for at, byte in enumerate(region[: 11 * sector]):
                if at not in {106, 107, 112}:
                    checksum = ((checksum << 31 | checksum >> 1) + byte) & 0xFFFFFFFF
            region[11 * sector :] = struct.pack("<I", checksum) * (sector // 4)
            self._write(base, bytes(region))

    def _claim(self, length: int) -> int:
        """Take clusters for so many bytes, in one piece; returns the first."""
        first = self._next
        self._next += -(-length // self._cluster_bytes)
        assert self._next <= self._count + 2, "the card is too small"
        for cluster in range(first - 2, self._next - 2):
            self._bitmap[cluster >> 3] |= 1 << (cluster & 7)
        return first

    def _entries(self, tree: Mapping[str, Tree]) -> bytes:
        out = b""
        for name, node in sorted(tree.items()):
            if isinstance(node, dict):
                data = self._entries(node)
                first = self._claim(max(len(data), 1))
                length = -(-max(len(data), 1) // self._cluster_bytes) * self._cluster_bytes
                self._write(self._at(first), data.ljust(length, b"\0"))
                out += self._entry_set(name, _DIRECTORY, 0, first, length)
            else:
                length = len(node.content)
                first = self._claim(length) if length else 0
                if length:
                    self._write(self._at(first), node.content)
                out += self._entry_set(name, _ARCHIVE, node.dos_time, first, length)
        return out

    def _entry_set(self, name: str, kind: int, dos_time: int, first: int, length: int) -> bytes:
        units = struct.unpack(f"<{len(name)}H", name.encode("utf-16-le"))
        digest = 0
        for unit in units:
            upper = self._upcase[unit] if unit < len(self._upcase) else unit
            for byte in struct.pack("<H", upper):
                digest = _rotated(digest, byte)
        names = [units[at : at + _NAME_UNITS] for at in range(0, len(units), _NAME_UNITS)]
        entries = bytearray(
            struct.pack(
                "<BBHHHIIIBBBBB7x",
                *(0x85, len(names) + 1, 0, kind, 0),
                *(dos_time, dos_time, dos_time, 0, 0, _UTC, _UTC, _UTC),
            )
        )
        flags = 3 if first else 1  # in one piece, no chain
        entries += struct.pack(
            "<BBBBHHQIIQ", 0xC0, flags, 0, len(units), digest, 0, length, 0, first, length
        )
        for piece in names:
            entries += b"\xc1\0" + struct.pack(f"<{len(piece)}H", *piece).ljust(30, b"\0")
        checksum = 0
        for at, byte in enumerate(entries):
            if at not in {2, 3}:
                checksum = _rotated(checksum, byte)
        struct.pack_into("<H", entries, 2, checksum)
        return bytes(entries)


def _rotated(digest: int, byte: int) -> int:
    return ((digest << 15 | digest >> 1) + byte) & 0xFFFF


def _decompressed(raw: bytes) -> list[int]:
    units = struct.unpack(f"<{len(raw) // 2}H", raw)
    table: list[int] = []
    at = 0
    while at < len(units):
        if units[at] == 0xFFFF and at + 1 < len(units):
            table += range(len(table), len(table) + units[at + 1])
            at += 2
        else:
            table.append(units[at])
            at += 1
    return table
