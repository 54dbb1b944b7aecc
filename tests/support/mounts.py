"""File systems that a test mounts, where the machine lets it."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.plants import hole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def mount(*arguments: str | Path) -> None:
    """mount(8); skips the test where that is not allowed."""
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"expected: this machine may not mount {arguments}: {done.stderr.strip()}")


@contextlib.contextmanager
def mounted(at: Path, *arguments: str | Path) -> Iterator[Path]:
    """Something mounted there, for a while; tmpfs where nothing is said."""
    if not at.exists():
        at.mkdir()
    mount(*(arguments or ("-t", "tmpfs", "none")), at)
    try:
        yield at
    finally:
        subprocess.run(["umount", at], check=True)


def ext4_image(path: Path, size_bytes: int) -> Path:
    """A file with an ext4 in it, all of it for everybody."""
    hole(path, size_bytes)
    try:
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", path], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("expected: no mkfs.ext4 here")
    return path
