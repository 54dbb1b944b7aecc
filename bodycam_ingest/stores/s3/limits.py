"""What S3 takes at most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import StoreTooLargeError
from bodycam_ingest.model.evidence import PARTS_MAX

if TYPE_CHECKING:
    from bodycam_ingest.model.evidence import StoreObject

PART_BYTES_MAX: Final = 5 * 1024**3
OBJECT_BYTES_MAX: Final = 5 * 1024**4


def check_size(obj: StoreObject) -> None:
    """Say in plain words what a server would refuse with a code that is not its own.

    Raises:
        StoreTooLargeError: S3 takes no such object.
    """
    digests = obj.digests
    parts = digests.parts
    largest = min(digests.size_bytes, digests.part_size_bytes)
    if parts > PARTS_MAX or largest > PART_BYTES_MAX or digests.size_bytes > OBJECT_BYTES_MAX:
        raise StoreTooLargeError(
            f"{obj.key} has {digests.size_bytes} bytes in {parts} parts; S3 takes "
            f"{OBJECT_BYTES_MAX} in {PARTS_MAX} parts of {PART_BYTES_MAX} at most"
        )
