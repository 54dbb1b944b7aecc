"""Simulated cards: clips that play, the same each time."""

from __future__ import annotations

import struct

from bodycam_ingest.demo import cards
from tests.support import mp4


def boxes(data: bytes) -> list[str]:
    found, at = [], 0
    while at < len(data):
        size_bytes, kind = struct.unpack_from(">I4s", data, at)
        found.append(kind.decode())
        at += size_bytes
    assert at == len(data)
    return found


def test_the_clip_that_the_demo_brings_is_what_the_muxer_makes():
    assert cards._clip() == mp4.make_clip(1, size_bytes=16_000, columns=2, rows=2)


def test_a_clip_is_as_long_as_wanted_still_plays_and_is_like_no_other():
    one, other = cards.make_clip(1, size_bytes=60_000), cards.make_clip(2, size_bytes=60_000)
    assert (len(one), len(other)) == (60_000, 60_000)
    assert one == cards.make_clip(1, size_bytes=60_000) != other
    assert boxes(one) == ["ftyp", "free", "moov", "mdat", "free"]
