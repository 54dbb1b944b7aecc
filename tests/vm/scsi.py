"""The disk inside of a test camera: answers SCSI commands, and fails where it is told to.

Commands as in SPC-4 and SBC-3, as far as Linux's sd asks them of a USB disk.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

SECTOR_BYTES: Final = 512
_READS: Final = frozenset({0x28, 0xA8, 0x88})
_WRITES: Final = frozenset({0x2A, 0xAA, 0x8A})
_UNIT_ATTENTION: Final = (6, 0x28, 0)
_MEDIUM_ERROR: Final = (3, 0x11, 0)
_WRONG_FIELD: Final = (5, 0x24, 0)
_WRONG_COMMAND: Final = (5, 0x20, 0)
_OUT_OF_RANGE: Final = (5, 0x21, 0)


class SenseError(Exception):
    """The command fails with sense key, code and qualifier."""

    def __init__(self, sense: tuple[int, int, int]) -> None:
        super().__init__(sense)
        self.sense = sense


@dataclass
class Reply:
    """What a command returns.

    Args:
        data: bytes for the host.
        is_read: they come off the card.
    """

    data: bytes = b""
    is_read: bool = False


@dataclass
class Disk:
    """One card.

    Args:
        path: its image; written only if the host writes, and that is noted.
        model: what INQUIRY tells.
        bad: sectors that give a medium error.
        touched: sectors that were read.
        writes: first sector and count of every write that arrived.
    """

    path: Path
    model: str
    bad: set[int] = field(default_factory=set)
    touched: set[int] = field(default_factory=set)
    writes: list[tuple[int, int]] = field(default_factory=list)
    sense: tuple[int, int, int] = _UNIT_ATTENTION
    _file: BinaryIO | None = None

    def open(self) -> None:
        """Insert the card."""
        self._file = self.path.open("r+b")
        self.sense = _UNIT_ATTENTION

    def close(self) -> None:
        """Take it out."""
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def sectors(self) -> int:
        """How many sectors it has."""
        return self.path.stat().st_size // SECTOR_BYTES

    def command(self, block: bytes, data: bytes) -> Reply:
        """Obey one command.

        Args:
            block: the command descriptor block.
            data: what the host sent with it.

        Raises:
            SenseError: it fails.
        """
        code = block[0]
        if code in _READS or code in _WRITES:
            return self._move(block, data)
        if code == 0x12:  # INQUIRY
            if block[1] & 1:
                raise SenseError(_WRONG_FIELD)
            head = b"\0\x80\x04\x02\x1f\0\0\0" + b"ACME".ljust(8)
            return Reply(head + self.model[:16].ljust(16).encode() + b"1.00")
        if code == 0x03:  # REQUEST SENSE
            (key, asc, qualifier), self.sense = self.sense, (0, 0, 0)
            return Reply(
                bytes([0x70, 0, key, 0, 0, 0, 0, 10, 0, 0, 0, 0, asc, qualifier, 0, 0, 0, 0])
            )
        if code == 0x00:  # TEST UNIT READY
            if self.sense == _UNIT_ATTENTION:
                raise SenseError(self.sense)
            return Reply()
        fixed = {
            0x25: struct.pack(">II", self.sectors - 1, SECTOR_BYTES),  # READ CAPACITY
            0x23: struct.pack(">III", 8, self.sectors, 0x02000000 | SECTOR_BYTES),
            0x1A: bytes([3, 0, 0, 0]),  # MODE SENSE
            0x5A: bytes([0, 6, 0, 0, 0, 0, 0, 0]),
            0x1B: b"",  # START STOP UNIT, PREVENT REMOVAL, VERIFY, SYNCHRONIZE CACHE
            0x1E: b"",
            0x2F: b"",
            0x35: b"",
        }
        if code not in fixed:
            raise SenseError(_WRONG_COMMAND)
        return Reply(fixed[code])

    def _move(self, block: bytes, data: bytes) -> Reply:
        first, count = _extent(block)
        if first + count > self.sectors:
            raise SenseError(_OUT_OF_RANGE)
        assert self._file is not None
        if block[0] in _WRITES:
            self.writes.append((first, count))
            self._file.seek(first * SECTOR_BYTES)
            self._file.write(data)
            return Reply()
        asked = range(first, first + count)
        if not self.bad.isdisjoint(asked):
            raise SenseError(_MEDIUM_ERROR)
        self.touched.update(asked)
        self._file.seek(first * SECTOR_BYTES)
        return Reply(self._file.read(count * SECTOR_BYTES), is_read=True)


def _extent(block: bytes) -> tuple[int, int]:
    """First sector and count of a read or write of 10, 12 or 16 bytes."""
    if block[0] in {0x28, 0x2A}:
        return struct.unpack_from(">I", block, 2)[0], struct.unpack_from(">H", block, 7)[0]
    first, count = struct.unpack_from(">II" if block[0] in {0xA8, 0xAA} else ">QI", block, 2)
    return first, count
