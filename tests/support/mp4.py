"""Small MP4 files that really play: H.264 with uncompressed macroblocks, written from scratch.

Baseline H.264 (ITU-T H.264) can carry a picture as I_PCM macroblocks, that is as plain samples:
a decoder needs nothing more, and an encoder is a page long. Boxes as in ISO/IEC 14496-12 and -15.
"""

from __future__ import annotations

import random
import re
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

MACROBLOCK: Final = 16
FRAMES_PER_S: Final = 10
_DISTINCT_FRAMES: Final = 8
_MB_TYPE_I_PCM: Final = 25
_SLICE_TYPE_I: Final = 7
_IDENTITY: Final = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


class _Bits:
    """Bits as H.264 syntax elements."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def u(self, value: int, width: int) -> _Bits:
        """An unsigned number of fixed width."""
        self._bits.append(f"{value:0{width}b}")
        return self

    def ue(self, value: int) -> _Bits:
        """An unsigned Exp-Golomb number; the signed 0 is the same single bit."""
        text = f"{value + 1:b}"
        self._bits.append("0" * (len(text) - 1) + text)
        return self

    def aligned(self) -> bytes:
        """The bytes so far, filled up with zero bits."""
        text = "".join(self._bits)
        text += "0" * (-len(text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")

    def trailed(self) -> bytes:
        """The bytes with the stop bit that ends a payload."""
        return self.u(1, 1).aligned()


def _nal(header: int, payload: bytes) -> bytes:
    """A NAL unit with emulation prevention (7.4.1)."""
    return bytes([header]) + re.sub(
        rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", payload, flags=re.DOTALL
    )


def _sequence_parameters(columns: int, rows: int) -> bytes:
    bits = _Bits().u(66, 8).u(0b11000000, 8).u(30, 8)
    # sps id, frame_num of 4 bits, picture order as decoded, no references, no gaps.
    bits.ue(0).ue(0).ue(2).ue(0).u(0, 1)
    # size in macroblocks, frames only, direct_8x8, no cropping, no VUI.
    bits.ue(columns - 1).ue(rows - 1).u(1, 1).u(1, 1).u(0, 1).u(0, 1)
    return _nal(0x67, bits.trailed())


def _picture_parameters() -> bytes:
    bits = _Bits().ue(0).ue(0).u(0, 1).u(0, 1).ue(0).ue(0).ue(0).u(0, 1).u(0, 2)
    # quantisers at their middle, deblocking is controlled by the slice.
    bits.ue(0).ue(0).ue(0).u(1, 1).u(0, 1).u(0, 1)
    return _nal(0x68, bits.trailed())


def _frame(columns: int, rows: int, number: int, shade: tuple[int, int, int]) -> bytes:
    """One IDR picture: a plain field with a brighter block that wanders."""
    bits = _Bits().ue(0).ue(_SLICE_TYPE_I).ue(0).u(0, 4).ue(number % 2)
    # no prior pictures, no long-term reference, no quantiser change, no deblocking.
    bits.u(0, 1).u(0, 1).ue(0).ue(1)
    luma, blue, red = shade
    payload = bytearray()
    for index in range(columns * rows):
        lit = index == (number * 3) % (columns * rows)
        if index == 0:
            payload += bits.ue(_MB_TYPE_I_PCM).aligned()
        else:
            payload += _Bits().ue(_MB_TYPE_I_PCM).aligned()
        payload += bytes([235 if lit else luma]) * 256 + bytes([blue]) * 64 + bytes([red]) * 64
    return _nal(0x65, bytes(payload) + b"\x80")


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, *content: bytes, version_flags: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version_flags), *content)


def _table(kind: bytes, rows: Iterable[tuple[int, ...]]) -> bytes:
    listed = list(rows)
    return _full(
        kind,
        struct.pack(">I", len(listed)),
        *(struct.pack(f">{len(row)}I", *row) for row in listed),
    )


def _sample_entry(columns: int, rows: int) -> bytes:
    sequence, picture = _sequence_parameters(columns, rows), _picture_parameters()
    configuration = _box(
        b"avcC",
        b"\x01" + sequence[1:4] + b"\xff\xe1",
        struct.pack(">H", len(sequence)) + sequence,
        b"\x01" + struct.pack(">H", len(picture)) + picture,
    )
    return _box(
        b"avc1",
        bytes(6) + struct.pack(">H", 1) + bytes(16),
        struct.pack(">HHIIIH", columns * MACROBLOCK, rows * MACROBLOCK, 72 << 16, 72 << 16, 0, 1),
        bytes(32) + struct.pack(">Hh", 24, -1),
        configuration,
    )


def _movie(columns: int, rows: int, sizes: list[int], data_offset: int) -> bytes:
    count = len(sizes)
    seconds = struct.pack(">II", FRAMES_PER_S, count)
    samples = _box(
        b"stbl",
        _full(b"stsd", struct.pack(">I", 1), _sample_entry(columns, rows)),
        _table(b"stts", [(count, 1)]),
        _table(b"stsc", [(1, count, 1)]),
        _full(b"stsz", struct.pack(">II", 0, count), struct.pack(f">{count}I", *sizes)),
        _table(b"stco", [(data_offset,)]),
    )
    media = _box(
        b"mdia",
        _full(b"mdhd", bytes(8), seconds, struct.pack(">HH", 0x55C4, 0)),
        _full(b"hdlr", bytes(4), b"vide", bytes(12), b"picture\0"),
        _box(
            b"minf",
            _full(b"vmhd", bytes(8), version_flags=1),
            _box(
                b"dinf",
                _full(b"dref", struct.pack(">I", 1), _full(b"url ", version_flags=1)),
            ),
            samples,
        ),
    )
    track = _full(
        b"tkhd",
        bytes(8),
        struct.pack(">III", 1, 0, count),
        bytes(16),
        _IDENTITY,
        struct.pack(">II", columns * MACROBLOCK << 16, rows * MACROBLOCK << 16),
        version_flags=3,
    )
    header = _full(
        b"mvhd",
        bytes(8),
        seconds,
        struct.pack(">IH", 0x10000, 0x100),
        bytes(10),
        _IDENTITY,
        bytes(24),
        struct.pack(">I", 2),
    )
    return _box(b"moov", header, _box(b"trak", track, media))


def make_clip(seed: int, *, size_bytes: int = 60_000, columns: int = 4, rows: int = 3) -> bytes:
    """A playable clip of about a given size; another seed gives another clip.

    Args:
        seed: decides colours, and marks the file.
        size_bytes: about how long the file shall be; it has one frame at least.
        columns: width in macroblocks of 16 pixels.
        rows: height in macroblocks of 16 pixels.

    Returns:
        The file: the same arguments give the same bytes.
    """
    chance = random.Random(seed)
    # Above 4, so that no start code can arise inside of the samples.
    shade = (chance.randrange(40, 200), chance.randrange(40, 216), chance.randrange(40, 216))
    distinct = [
        struct.pack(">I", len(frame)) + frame
        for frame in (_frame(columns, rows, n, shade) for n in range(_DISTINCT_FRAMES))
    ]
    count = max(1, size_bytes // len(distinct[0]))
    frames = [distinct[n % _DISTINCT_FRAMES] for n in range(count)]
    kind = _box(b"ftyp", b"isom", struct.pack(">I", 0x200), b"isomavc1mp41")
    mark = _box(b"free", chance.randbytes(24))
    sizes = [len(frame) for frame in frames]
    before = len(kind) + len(mark)
    data_offset = before + len(_movie(columns, rows, sizes, 0)) + 8
    movie = _movie(columns, rows, sizes, data_offset)
    return kind + mark + movie + _box(b"mdat", *frames)
