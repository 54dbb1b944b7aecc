"""The sample digest: a cheap look that tells a known file from another under the same name.

A file met again is taken for known only if path, size and time stamps fit *and* these windows
of its content hash to what they hashed to when it was acquired. The windows are the head, the
tail, and some chosen by the digest of the path, so that nobody can aim a change between them
without knowing the name, and two files of one camera are looked at in different places.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

EDGE_BYTES: Final = 64 * 1024
WINDOW_BYTES: Final = 16 * 1024
WINDOW_COUNT: Final = 4
_DOMAIN: Final = b"bodycam-sample-v1\0"


def sample_windows(path: bytes, size_bytes: int) -> tuple[tuple[int, int], ...]:
    """Which byte ranges of a file make its sample; its path is relative to the volume's root.

    Returns:
        Disjoint, ascending `(offset, end)` ranges; the whole file when it is small.
    """
    if size_bytes <= 2 * EDGE_BYTES + WINDOW_COUNT * WINDOW_BYTES:
        return ((0, size_bytes),) if size_bytes else ()
    seed = hashlib.sha256(path).digest()
    span = size_bytes - 2 * EDGE_BYTES - WINDOW_BYTES
    picks = [
        EDGE_BYTES + int.from_bytes(seed[i * 8 : i * 8 + 8], "big") % (span + 1)
        for i in range(WINDOW_COUNT)
    ]
    ranges = [(0, EDGE_BYTES), *((p, p + WINDOW_BYTES) for p in picks)]
    ranges.append((size_bytes - EDGE_BYTES, size_bytes))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


class SampleHasher:
    """Takes a file's bytes in order, hashes those that lie in its sample windows.

    `size_bytes` is the length that the file is expected to have.
    """

    def __init__(self, path: bytes, size_bytes: int) -> None:
        self._windows: Sequence[tuple[int, int]] = sample_windows(path, size_bytes)
        self._hash = hashlib.sha256(_DOMAIN + size_bytes.to_bytes(8, "big"))
        self._index = 0
        self._offset = 0

    def update(self, data: Buffer) -> None:
        """Take the next bytes of the file."""
        view = memoryview(data).cast("B")
        start, end = self._offset, self._offset + len(view)
        while self._index < len(self._windows):
            low, high = self._windows[self._index]
            if low >= end:
                break
            self._hash.update(view[max(low, start) - start : min(high, end) - start])
            if high > end:
                break
            self._index += 1
        self._offset = end

    def digest(self) -> bytes:
        """The sample digest, 32 bytes, once all bytes were given."""
        return self._hash.digest()


def sample_digest(path: bytes, size_bytes: int, read_at: Callable[[int, int], bytes]) -> bytes:
    """What `SampleHasher` gives for the whole file, by reading the windows alone.

    `read_at(offset, length)` reads exactly so many bytes.
    """
    hasher = hashlib.sha256(_DOMAIN + size_bytes.to_bytes(8, "big"))
    for start, end in sample_windows(path, size_bytes):
        hasher.update(read_at(start, end - start))
    return hasher.digest()
