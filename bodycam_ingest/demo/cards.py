"""Card trees as real cameras leave them, and hands that plug them in and pull them out."""

from __future__ import annotations

import enum
import functools
import json
import os
import random
import struct
from pathlib import Path
from typing import Final

# 2026-01-15 14:30:44 UTC, even, as FAT keeps times in steps of two seconds.
_FIRST_MTIME_S: Final = 1_768_487_444


class Layout(enum.Enum):
    """Ways in which cameras name their files."""

    NUMBERED = "numbered"
    TIMESTAMPED = "timestamped"
    DATED_FOLDERS = "dated_folders"
    PER_OFFICER = "per_officer"


@functools.cache
def _clip() -> bytes:
    """A second of moving picture, 32 pixels square."""
    return Path(__file__).with_name("clip.mp4").read_bytes()


def make_clip(seed: int, *, size_bytes: int = 60_000) -> bytes:
    """A playable clip of at least `size_bytes`; the same arguments give the same bytes.

    What it is longer than its pictures is a box that players skip (`free`, ISO/IEC 14496-12 8.1.2).
    """
    clip = _clip()
    filling = random.Random(seed).randbytes(max(16, size_bytes - len(clip) - 8))  # noqa: S311 - no secret
    return clip + struct.pack(">I4s", 8 + len(filling), b"free") + filling


def _numbered(seed: int, clips: int, clip_bytes: int) -> dict[str, bytes]:
    return {
        f"DCIM/100MEDIA/YDXJ{n + 1:04}.MP4": make_clip(seed + n, size_bytes=clip_bytes)
        for n in range(clips)
    }


def _timestamped(seed: int, clips: int, clip_bytes: int) -> dict[str, bytes]:
    files = {}
    for n in range(clips):
        # The second clip is from a camera whose clock was dead.
        stem = "19700101_000000_NF" if n == 1 else f"20260115_{8 + n:02}1530_NF"
        files[f"Record/{stem}.mp4"] = make_clip(seed + n, size_bytes=clip_bytes)
        files[f"Record/{stem}.gps"] = f"$GPRMC,{seed + n:06},A,5133.82,N,00042.24,W\n".encode()
        files[f"Record/{stem}.3gf"] = bytes([seed % 256, n]) * 64
        files[f"Record/{stem}.thm"] = b"\xff\xd8\xff\xe0" + bytes([n]) * 32
    return files


def _dated_folders(seed: int, clips: int, clip_bytes: int) -> dict[str, bytes]:
    return {
        f"mpt/2026-01-15/001/dav/14/14.{30 + n}.45-14.{31 + n}.12[R][0@0][0].mp4": make_clip(
            seed + n, size_bytes=clip_bytes
        )
        for n in range(clips)
    }


def _per_officer(seed: int, clips: int, clip_bytes: int) -> dict[str, bytes]:
    files = {}
    for n in range(clips):
        folder = f"u1042_BWC{seed:05}_20260115T14{30 + n:02}00Z"
        files[f"{folder}/clip.mp4"] = make_clip(seed + n, size_bytes=clip_bytes)
        files[f"{folder}/clip.key"] = bytes([seed % 256, n]) * 16
        trail = {"points": [[51.5 + n / 100, -0.7]]}
        files[f"{folder}/clip_gpstrail.json"] = json.dumps(trail).encode()
    return files


_BUILDERS: Final = {
    Layout.NUMBERED: _numbered,
    Layout.TIMESTAMPED: _timestamped,
    Layout.DATED_FOLDERS: _dated_folders,
    Layout.PER_OFFICER: _per_officer,
}
ODD_NAME: Final = b"Record/caf\xe9_0001.mp4"


def build_card(
    root: Path,
    layout: Layout,
    *,
    seed: int,
    clips: int = 3,
    clip_bytes: int = 60_000,
    odd: bool = True,
) -> dict[bytes, bytes]:
    """Build a card's tree; returns what was written, by path relative to its root.

    Another seed gives other content under the same names. With `odd` it has what real cards have as
    well: an empty file, a name that is not UTF-8, a link.
    """
    files = {
        os.fsencode(name): data for name, data in _BUILDERS[layout](seed, clips, clip_bytes).items()
    }
    if odd:
        files[b"FSCK0000.REC"] = b""
        files[ODD_NAME] = make_clip(seed + 1000, size_bytes=clip_bytes)
    for number, (name, data) in enumerate(sorted(files.items())):
        write_file(root, name, data, mtime_s=_FIRST_MTIME_S + 60 * number)
    if odd:
        (root / "latest").symlink_to("/etc/hostname")
    return files


def write_file(root: Path, name: bytes, data: bytes, *, mtime_s: int) -> None:
    """Write one file of a card, by its path relative to that; `mtime_s` counts from 1970."""
    path = root / os.fsdecode(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (mtime_s, mtime_s))


def next_shift(root: Path, files: dict[bytes, bytes], *, seed: int) -> dict[bytes, bytes]:
    """Have a camera come back from another shift, with what `build_card` wrote on its card.

    Returns what lies there now: one recording more, one name used again, one recording gone.
    """
    after = dict(files)
    recordings = sorted(name for name in files if name.lower().endswith(b".mp4") and files[name])
    reused, gone = recordings[0], recordings[-1]
    fresh = os.path.dirname(reused) + b"/NEW_0001.mp4"  # noqa: PTH120 - a path in bytes
    after[reused] = make_clip(seed + 1, size_bytes=len(files[reused]))
    after[fresh] = make_clip(seed + 2, size_bytes=60_000)
    del after[gone]
    (root / os.fsdecode(gone)).unlink()
    for number, name in enumerate((reused, fresh)):
        write_file(root, name, after[name], mtime_s=_FIRST_MTIME_S + 86_400 + 60 * number)
    return after


def plug_in(card: Path, mount_root: Path, name: str) -> Path:
    """Have a card appear below a mount root at once, as a mount does; returns where."""
    target = mount_root / name
    card.rename(target)
    return target


def pull_out(mount_root: Path, name: str, aside: Path) -> Path:
    """Have a card disappear at once; returns where it lies now."""
    (mount_root / name).rename(aside)
    return aside
