"""Takes every digest of an item in one pass: whole, upload parts, sample windows."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from bodycam_ingest.model.evidence import Digests
from bodycam_ingest.model.sampling import SampleHasher

if TYPE_CHECKING:
    from bodycam_ingest.staging.pump import Sink


class Digester:
    """Hashes a file's bytes, given in order.

    The whole and the parts are two sinks, so that two processors can share the work. A file of
    one part is hashed once.

    Args:
        path: path on the camera; it chooses the sample windows.
        size_bytes: the length that the file is expected to have.
        part_size_bytes: upload part size, above 0.

    Raises:
        ValueError: `part_size_bytes` is below 1.
    """

    def __init__(self, path: bytes, size_bytes: int, part_size_bytes: int) -> None:
        if part_size_bytes < 1:
            raise ValueError(f"parts of {part_size_bytes} bytes are none")
        self._size_bytes = size_bytes
        self._part_size_bytes = part_size_bytes
        self._whole = hashlib.sha256()
        self._sample = SampleHasher(path, size_bytes)
        self._parts: list[bytes] = []
        self._part = hashlib.sha256()
        self._part_room = part_size_bytes
        self._single = size_bytes <= part_size_bytes

    def sinks(self) -> list[Sink]:
        """What must see each buffer, in order; they may run beside one another."""
        return [self.take_whole] if self._single else [self.take_whole, self.take_parts]

    def take_whole(self, buffer: memoryview, length: int) -> None:
        """Add the next bytes to the digest of the whole."""
        self._whole.update(buffer[:length])
        if self._single:
            self._sample.update(buffer[:length])

    def take_parts(self, buffer: memoryview, length: int) -> None:
        """Add the next bytes to the digests of the parts and of the sample."""
        view = buffer[:length]
        self._sample.update(view)
        while view:
            piece = view[: self._part_room]
            self._part.update(piece)
            self._part_room -= len(piece)
            view = view[len(piece) :]
            if not self._part_room:
                self._end_part()

    def _end_part(self) -> None:
        self._parts.append(self._part.digest())
        self._part = hashlib.sha256()
        self._part_room = self._part_size_bytes

    def digests(self) -> Digests:
        """Everything, once all `size_bytes` bytes were given."""
        whole = self._whole.digest()
        if not self._single and self._part_room != self._part_size_bytes:
            self._end_part()
        return Digests(
            size_bytes=self._size_bytes,
            sha256=whole,
            part_size_bytes=self._part_size_bytes,
            part_sha256s=(whole,) if self._single else tuple(self._parts),
            sample_sha256=self._sample.digest(),
        )
