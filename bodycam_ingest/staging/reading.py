"""Reads a sealed file back from its medium and says how it was read."""

from __future__ import annotations

import enum
import hashlib
from typing import TYPE_CHECKING

from bodycam_ingest.errors import ReadBackUnprovenError
from bodycam_ingest.linux.direct_io import MediumFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bodycam_ingest.staging.pump import Pump, Sink


class ReadMethod(enum.StrEnum):
    """How bytes were read back: what the claim "from the medium" rests on."""

    DIRECT = "direct"
    CACHE_DROPPED = "cache_dropped"
    MEMORY = "memory"


def read_from_medium(
    path: str,
    pump: Pump,
    sinks_for: Callable[[int], Sequence[Sink]],
    progress: Callable[[int], None],
) -> tuple[int, ReadMethod]:
    """Run a file's bytes, as the medium gives them, through sinks.

    Args:
        path: the file.
        pump: moves the bytes.
        sinks_for: given the file's size in bytes, what shall see its bytes.
        progress: called with the bytes read since the last call.

    Returns:
        Bytes read, and how: past the cache, through a cache that was emptied before, or from a
        file system that has no medium but memory.

    Raises:
        OSError: as open(2), readv(2).
        ReadBackUnprovenError: the file could not be driven out of the cache.
        AbandonedError: the pump was told to stop.
    """
    with MediumFile(path) as file:
        if not file.in_memory and not file.past_cache():
            raise ReadBackUnprovenError(f"{path} stays in the page cache")
        count = pump.run(file.read_into, file.size_bytes, sinks_for(file.size_bytes), progress)
        if file.in_memory:
            return count, ReadMethod.MEMORY
        return count, ReadMethod.DIRECT if file.direct else ReadMethod.CACHE_DROPPED


def sha256_from_medium(
    path: str, pump: Pump, progress: Callable[[int], None]
) -> tuple[int, bytes, ReadMethod]:
    """Size, SHA-256 and way of reading of a file; arguments and faults as `read_from_medium`."""
    whole = hashlib.sha256()
    count, method = read_from_medium(
        path, pump, lambda _: [lambda buffer, length: whole.update(buffer[:length])], progress
    )
    return count, whole.digest(), method
