"""Takes the digests of an item in one pass: SHA-256 of the whole, and of the sample windows."""

from __future__ import annotations

import hashlib

from bodycam_ingest.model.evidence import Digests
from bodycam_ingest.model.sampling import SampleHasher


class Digester:
    """Hashes a file's bytes, given in order.

    Args:
        path: path on the camera; it chooses the sample windows.
        size_bytes: the length that the file is expected to have.
        part_size_bytes: upload part size that is kept with the digests.
    """

    def __init__(self, path: bytes, size_bytes: int, part_size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._part_size_bytes = part_size_bytes
        self._whole = hashlib.sha256()
        self._sample = SampleHasher(path, size_bytes)

    def take(self, buffer: memoryview, length: int) -> None:
        """Add the next `length` bytes."""
        view = buffer[:length]
        self._whole.update(view)
        self._sample.update(view)

    def digests(self) -> Digests:
        """The digests, once all `size_bytes` bytes were given."""
        return Digests(
            size_bytes=self._size_bytes,
            sha256=self._whole.digest(),
            part_size_bytes=self._part_size_bytes,
            sample_sha256=self._sample.digest(),
        )
