"""Checksums of objects in S3: of what is sent, and what a store may tell of it afterwards.

No server checks the SHA-256 of an object in parts: it tells the digest over the digests of the
parts. What ties that to the item is that the parts come from a copy whose whole has the item's
SHA-256; see `LocalParts`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from typing import TYPE_CHECKING

from bodycam_ingest.errors import LocalCopyDamagedError, StagingError
from bodycam_ingest.stores.contract import at_once

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bodycam_ingest.model.evidence import StoreObject
    from bodycam_ingest.stores.contract import ByteSource, Pace


def b64(digest: bytes) -> str:
    """A digest as S3 headers carry it."""
    return base64.b64encode(digest).decode("ascii")


def composite(part_digests: Sequence[bytes]) -> str:
    """The checksum that a store tells of an object made of these parts."""
    joined = hashlib.sha256(b"".join(part_digests)).digest()
    return f"{b64(joined)}-{len(part_digests)}"


def is_checksum(told: str, expected: str) -> bool:
    """Whether a store tells the expected checksum; some leave the number of parts away."""
    return told in {expected, expected.partition("-")[0]}


def check_local(source: ByteSource, offset: int, data: bytes, key: str) -> None:
    """After a store refused a digest: find out whether the local copy gives other bytes now.

    Raises:
        LocalCopyDamagedError: it does.
    """
    if source.read_at(offset, len(data)) != data:
        raise LocalCopyDamagedError(
            f"the copy of {key} gives other bytes at each reading, from byte {offset}"
        )


class LocalParts:
    """The parts of a local copy, and their digests.

    Iterating reads them in order and hashes each byte twice: for its part, and for the whole. Only
    a copy whose whole has the item's SHA-256 is iterated to its end.
    """

    def __init__(self, obj: StoreObject, source: ByteSource) -> None:
        self._obj = obj
        self._source = source
        self.digests: list[bytes] = []

    def __iter__(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Number, bytes and SHA-256 of each part.

        Raises:
            LocalCopyDamagedError: the whole is not what was read off the camera.
        """
        expected = self._obj.digests
        whole = hashlib.sha256()
        self.digests = []
        for index in range(expected.parts):
            offset = index * expected.part_size_bytes
            length = min(expected.part_size_bytes, expected.size_bytes - offset)
            data = self._source.read_at(offset, length)
            whole.update(data)
            self.digests.append(hashlib.sha256(data).digest())
            yield index + 1, data, self.digests[-1]
        if whole.digest() != expected.sha256:
            raise LocalCopyDamagedError(
                f"the copy of {self._obj.key} is not what was read off the camera any more"
            )

    def composite(self, pace: Pace) -> str:
        """The checksum of all parts; reads them where that was not done yet, as iterating does."""
        if len(self.digests) < self._obj.digests.parts:
            for _ in self:
                # Nothing is sent; but the work is seen to move.
                pace(0)
        return composite(self.digests)


def expected_checksums(
    obj: StoreObject,
    checksum: str = "",
    source: ByteSource | None = None,
    pace: Pace = at_once,
) -> tuple[str, ...]:
    """What a store may tell of an object; nothing where that cannot be known any more.

    The checksum of an object in parts is as it was when that was sent; where it is empty the local
    copy is read.

    Raises:
        AbandonedError: the process must end.
    """
    if obj.digests.parts == 1:
        return b64(obj.digests.sha256), composite([obj.digests.sha256])
    if not checksum and source is not None:
        # A copy that cannot be read, or is another one by now, proves nothing of the store's. The
        # store's own bytes are read back then, which proves more.
        with contextlib.suppress(LocalCopyDamagedError, StagingError):
            checksum = LocalParts(obj, source).composite(pace)
    return (checksum, checksum.partition("-")[0]) if checksum else ()
