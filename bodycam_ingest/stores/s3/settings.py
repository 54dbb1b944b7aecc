"""What S3 takes at most, what objects in a bucket are created with, and whether they were."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.errors import StoreMisconfiguredError, StoreTooLargeError
from bodycam_ingest.model.evidence import PARTS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bodycam_ingest.config import S3StoreConfig
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


def object_params(config: S3StoreConfig, now: dt.datetime) -> dict[str, Any]:
    """Parameters of the requests that create an object at `now`."""
    found: dict[str, Any] = {}
    if config.sse != "none":
        found["ServerSideEncryption"] = config.sse
    if config.kms_key_id:
        found["SSEKMSKeyId"] = config.kms_key_id
    if config.storage_class != "STANDARD":
        found["StorageClass"] = config.storage_class
    if config.object_lock_days:
        found["ObjectLockMode"] = "COMPLIANCE"
        found["ObjectLockRetainUntilDate"] = retain_until(config, now)
    return found


def retain_until(config: S3StoreConfig, now: dt.datetime) -> dt.datetime:
    """When the lock of an object that is created at `now` ends."""
    return now + dt.timedelta(days=config.object_lock_days)


def check_made(config: S3StoreConfig, key: str, head: Mapping[str, Any]) -> None:
    """Refuse an object that by its head was not made as asked.

    Raises:
        StoreMisconfiguredError: it is not encrypted or not locked.
    """
    if config.sse != "none" and head.get("ServerSideEncryption") != config.sse:
        raise StoreMisconfiguredError(
            f"{config.name} took {key} without encrypting it by {config.sse}",
            hint="Choose an sse that this store has, or set none.",
        )
    if config.object_lock_days and not head.get("ObjectLockMode"):
        raise StoreMisconfiguredError(
            f"{config.name} did not lock {key}",
            hint="Switch Object Lock on for the bucket, or set object_lock_days = 0.",
        )
