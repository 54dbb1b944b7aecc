"""Faults of the places where evidence goes."""

from __future__ import annotations

from bodycam_ingest.errors.base import DelayClass, Disposition, IngestError


class StoreError(IngestError):
    """A store refused or failed; the unknown waits at the slow class with an alarm."""

    code = "store"
    exit_code = 60
    alarm_at_once = True
    default_hint = "Look at the store's own log for the time of this line."

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class StoreUnreachableError(StoreError):
    """Transient: refused, reset, time-outs, 500, 502, 504, an error inside a 200."""

    code = "store_unreachable"
    delay_class = DelayClass.SHORT
    exit_code = 61
    alarm_at_once = False
    default_hint = "Look at the link and the store; uploads continue by themselves."


class StoreThrottledError(StoreError):
    """The store asks for fewer requests (503 SlowDown, 429)."""

    code = "store_throttled"
    delay_class = DelayClass.THROTTLED
    exit_code = 62
    alarm_at_once = False
    default_hint = "Lower upload.workers if this lasts."


class StoreClockSkewError(StoreError):
    """The store refuses the dock's clock."""

    code = "store_clock_skew"
    delay_class = DelayClass.CLOCK
    exit_code = 63
    default_hint = "Set the dock's clock: enable NTP (timedatectl)."


class StoreCredentialsError(StoreError):
    """The store knows no such key, or it expired."""

    code = "store_credentials"
    delay_class = DelayClass.CREDENTIALS
    exit_code = 64
    default_hint = "Renew the credentials of this store."


class StoreMisconfiguredError(StoreError):
    """No bucket, access denied, redirect, KMS, certificate: an admin must act."""

    code = "store_misconfigured"
    delay_class = DelayClass.MENDABLE
    exit_code = 65
    default_hint = "Compare the store's configuration with the bucket and its policy."


class StoreIntegrityError(StoreError):
    """The store received other bytes than were sent; sent again, at most three times in a row."""

    code = "store_integrity"
    delay_class = DelayClass.SHORT
    exit_code = 66
    default_hint = "Look for a proxy or a network card that damages data."


class StoreConflictError(StoreError):
    """Another object lies at the key; it is never overwritten."""

    code = "store_conflict"
    disposition = Disposition.QUARANTINE
    exit_code = 67
    default_hint = "Find out who wrote that object. `retry ITEM` looks again."


class StoreObstructedError(StoreConflictError):
    """Something that is no directory lies where a directory of the store belongs."""

    code = "store_obstructed"
    delay_class = DelayClass.MENDABLE
    disposition = Disposition.RETRY
    exit_code = 70
    default_hint = "Find out who put it there and take it away; uploads continue by themselves."


class StoreMismatchError(StoreError):
    """A stored object is not the bytes that the ledger holds; the local copy stays."""

    code = "store_mismatch"
    disposition = Disposition.QUARANTINE
    exit_code = 68
    default_hint = "Do not delete anything. What lies in the store's place is not what was sent."


class StoreTooLargeError(StoreError):
    """An object is larger, or in more parts, than the store takes."""

    code = "store_too_large"
    disposition = Disposition.QUARANTINE
    exit_code = 71
    default_hint = "Take this recording to another kind of store; its staged copy stays."


class StoreFullError(StoreError):
    """The store has no room (ENOSPC, EDQUOT, 507)."""

    code = "store_full"
    delay_class = DelayClass.MENDABLE
    exit_code = 69
    default_hint = "Make room in the store; uploads continue by themselves."
