"""What somebody may put where a file of ours belongs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def hole(path: Path, size_bytes: int = 50 * 1000**3) -> None:
    """A file of any length that takes no room."""
    with path.open("wb") as file:
        file.truncate(size_bytes)


PLANTS: dict[str, Callable[[Path], Any]] = {
    "pipe": os.mkfifo,
    "link to zeros": lambda path: path.symlink_to("/dev/zero"),
    "deep": lambda path: path.write_bytes(b"[" * 200_000),
    "hole": hole,
    "directory": os.mkdir,
}
