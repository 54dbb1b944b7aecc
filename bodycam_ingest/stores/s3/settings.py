"""What objects in a bucket are created with."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ObjectSettings:
    """What objects are created with.

    Args:
        sse: `none`, `AES256` or `aws:kms`.
        kms_key_id: key for `aws:kms`; empty for the bucket's own.
        storage_class: as the store names it; `STANDARD` asks for nothing.
        object_lock_days: days for which nobody can delete a version; 0 asks for no lock.
    """

    sse: str = "none"
    kms_key_id: str = ""
    storage_class: str = "STANDARD"
    object_lock_days: int = 0

    def params(self, now: dt.datetime) -> dict[str, Any]:
        """Parameters of the requests that create an object at `now`."""
        found: dict[str, Any] = {}
        if self.sse != "none":
            found["ServerSideEncryption"] = self.sse
        if self.kms_key_id:
            found["SSEKMSKeyId"] = self.kms_key_id
        if self.storage_class != "STANDARD":
            found["StorageClass"] = self.storage_class
        if self.object_lock_days:
            found["ObjectLockMode"] = "COMPLIANCE"
            found["ObjectLockRetainUntilDate"] = self.retain_until(now)
        return found

    def retain_until(self, now: dt.datetime) -> dt.datetime:
        """When the lock of an object that is created at `now` ends."""
        return now + dt.timedelta(days=self.object_lock_days)
