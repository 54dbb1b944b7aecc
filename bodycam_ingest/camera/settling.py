"""Whether a camera's files stand still: nobody writes to them any more."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bodycam_ingest.camera import files
from bodycam_ingest.errors import IngestError
from bodycam_ingest.linux.open_writers import held_open_for_writing

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.model.evidence import StatSignature


class Settling:
    """Which files have stood still for long enough (pure: time is given).

    Args:
        settle_s: how long size and time must not have changed, s, as configured now.
        unwritable: nobody on this machine can write to the volume: two looks that agree suffice.
    """

    def __init__(self, settle_s: Callable[[], float], *, unwritable: bool = False) -> None:
        self._settle_s = settle_s
        self.unwritable = unwritable
        self._since: dict[bytes, tuple[StatSignature, float]] = {}

    def observe(self, now_s: float, path: bytes, signature: StatSignature) -> bool:
        """Take a look at a file at `now_s` (monotonic); returns whether it has settled."""
        known = self._since.get(path)
        if known is None or known[0] != signature:
            self._since[path] = (signature, now_s)
            return self._settle_s() <= 0
        return self.unwritable or now_s - known[1] >= self._settle_s()

    def forget(self, keep: set[bytes]) -> None:
        """Drop every file that is not in `keep`."""
        self._since = {path: seen for path, seen in self._since.items() if path in keep}


def being_written(root_fd: int, path: bytes) -> bool:
    """Whether a process of this machine is known to hold the file open for writing.

    A file that cannot be asked is not known to be: reading it meets the same fault, with a time
    for the next try that is its own, and holds up no other file.
    """
    try:
        fd = files.open_beneath(root_fd, path)
    except IngestError:
        return False
    try:
        return held_open_for_writing(fd)
    except OSError:
        return False
    finally:
        os.close(fd)
