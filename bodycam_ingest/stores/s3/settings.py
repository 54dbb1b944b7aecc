"""What objects in a bucket are created with."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bodycam_ingest.config import S3StoreConfig


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
