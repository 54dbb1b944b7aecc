"""Faults at the edges: cameras, the dock's own disk, the places where evidence goes."""

from __future__ import annotations

from bodycam_ingest.errors.base import DelayClass, Disposition, IngestError


class SourceError(IngestError, code="source", exit_code=30):
    """Reading from a camera failed."""

    delay_class = DelayClass.SHORT
    default_hint = "Leave the camera docked; the item is tried again."


class SourceGoneError(SourceError, code="source_gone", exit_code=31):
    """The file, or the camera that holds it, is gone (ENODEV, ENOENT, ESTALE, ENXIO)."""

    default_hint = "Dock the camera again; its items continue where they were."


class SourceUnreadableError(SourceError, code="source_unreadable", exit_code=32):
    """The medium fails under the file (EIO, EUCLEAN, a short read)."""

    delay_class = DelayClass.SLOW
    alarm_at_once = True
    default_hint = "Keep the camera apart: its card may be failing. The item is tried again."


class SourceChangedError(SourceError, code="source_changed", exit_code=33):
    """The file changed while it was read."""

    default_hint = "The camera still writes; the item is read again when it has settled."


class SourceForbiddenError(SourceError, code="source_forbidden", exit_code=34):
    """The daemon's user may not read the file (EACCES, EPERM)."""

    delay_class = DelayClass.SLOW
    alarm_at_once = True
    default_hint = (
        "Let the daemon's user read it: look at the mode of the file and the options of its mount. "
        "It is tried again by itself, or now with `retry ITEM`."
    )


class SourceLimitError(SourceError, code="source_limit", exit_code=35):
    """A camera passed a limit that real cards never reach."""

    delay_class = DelayClass.SLOW
    alarm_at_once = True
    default_hint = "Look at the card: its file system is damaged, or raise [cameras.limits]."


class StagingError(IngestError, code="staging", exit_code=40):
    """Writing to or reading from staging failed."""

    alarm_at_once = True
    default_hint = "Look at the disk under staging.dir."


class StagingFullError(StagingError, code="staging_full", exit_code=41):
    """Staging has no room for the item (ENOSPC, EDQUOT, or below min_free_bytes)."""

    delay_class = DelayClass.THROTTLED
    default_hint = "Free space under staging.dir or bring the stores back; ingest then continues."


class StagingReadOnlyError(StagingError, code="staging_read_only", exit_code=42):
    """Staging is read-only (EROFS)."""

    default_hint = "Remount the file system under staging.dir writable; look for disk errors."


class StagingUnreadableError(StagingError, code="staging_unreadable", exit_code=43):
    """The staging medium fails (EIO)."""

    default_hint = "Replace the disk under staging.dir. Keep it: it may hold the only copy."


class TooManyOpenFilesError(StagingError, code="too_many_open_files", exit_code=44):
    """The process or the machine is out of file descriptors (EMFILE, ENFILE)."""

    delay_class = DelayClass.SHORT
    default_hint = "Raise LimitNOFILE of the service."


class StagingForbiddenError(StagingError, code="staging_forbidden", exit_code=45):
    """The daemon's user may not write below staging (EACCES, EPERM)."""

    default_hint = "Give staging.dir to the daemon's user, mode 0700."


class ReadBackMismatchError(StagingError, code="read_back_mismatch", exit_code=46):
    """The copy read back from the medium differs from what was read off the camera."""

    disposition = Disposition.QUARANTINE
    default_hint = "The copy is kept in quarantine, the item is read again. Test disk and memory."

    def __init__(self, message: str, *, hint: str = "", quarantined: str = "") -> None:
        super().__init__(message, hint=hint)
        self.quarantined = quarantined


class LocalCopyDamagedError(StagingError, code="local_copy_damaged", exit_code=47):
    """A staged copy no longer has the digest that the ledger holds."""

    disposition = Disposition.QUARANTINE
    default_hint = "Dock the camera again if it still has the recording; test the dock's disk."


class StagingMissingError(StagingError, code="staging_missing", exit_code=48):
    """A staged copy that should be there is not."""

    disposition = Disposition.QUARANTINE
    default_hint = "Dock the camera again if it still has the recording; find who deleted the copy."


class ReadBackUnprovenError(StagingError, code="read_back_unproven", exit_code=49):
    """The copy could only be read from memory, so its being on the medium is not proven."""

    default_hint = "Find what holds the staged files in memory: a virus scanner, a backup, a mount."


class StagingTooSmallError(StagingError, code="staging_too_small", exit_code=52):
    """A file is larger than the whole file system under staging."""

    default_hint = "Look at the card: no recording is that large; or give staging a larger disk."


class StoreError(IngestError, code="store", exit_code=60):
    """A store refused or failed; the unknown waits at the slow class with an alarm."""

    alarm_at_once = True
    default_hint = "Look at the store's own log for the time of this line."

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class StoreUnreachableError(StoreError, code="store_unreachable", exit_code=61):
    """Transient: refused, reset, time-outs, 500, 502, 504, an error inside a 200."""

    delay_class = DelayClass.SHORT
    alarm_at_once = False
    default_hint = "Look at the link and the store; uploads continue by themselves."


class StoreThrottledError(StoreError, code="store_throttled", exit_code=62):
    """The store asks for fewer requests (503 SlowDown, 429)."""

    delay_class = DelayClass.THROTTLED
    alarm_at_once = False
    default_hint = "Lower upload.workers if this lasts."


class StoreClockSkewError(StoreError, code="store_clock_skew", exit_code=63):
    """The store refuses the dock's clock."""

    delay_class = DelayClass.CLOCK
    default_hint = "Set the dock's clock: enable NTP (timedatectl)."


class StoreCredentialsError(StoreError, code="store_credentials", exit_code=64):
    """The store knows no such key, or it expired."""

    delay_class = DelayClass.CREDENTIALS
    default_hint = "Renew the credentials of this store."


class StoreMisconfiguredError(StoreError, code="store_misconfigured", exit_code=65):
    """No bucket, access denied, redirect, KMS, certificate: an admin must act."""

    delay_class = DelayClass.MENDABLE
    default_hint = "Compare the store's configuration with the bucket and its policy."


class StoreIntegrityError(StoreError, code="store_integrity", exit_code=66):
    """The store received other bytes than were sent; sent again, at most three times in a row."""

    delay_class = DelayClass.SHORT
    default_hint = "Look for a proxy or a network card that damages data."


class StoreConflictError(StoreError, code="store_conflict", exit_code=67):
    """Another object lies at the key; it is never overwritten."""

    disposition = Disposition.QUARANTINE
    default_hint = "Find out who wrote that object. `retry ITEM` looks again."


class StoreObstructedError(StoreConflictError, code="store_obstructed", exit_code=70):
    """Something that is no directory lies where a directory of the store belongs."""

    delay_class = DelayClass.MENDABLE
    disposition = Disposition.RETRY
    default_hint = "Find out who put it there and take it away; uploads continue by themselves."


class StoreMismatchError(StoreError, code="store_mismatch", exit_code=68):
    """A stored object is not the bytes that the ledger holds; the local copy stays."""

    disposition = Disposition.QUARANTINE
    default_hint = "Do not delete anything. What lies in the store's place is not what was sent."


class StoreTooLargeError(StoreError, code="store_too_large", exit_code=71):
    """An object is larger, or in more parts, than the store takes."""

    disposition = Disposition.QUARANTINE
    default_hint = "Take this recording to another kind of store; its staged copy stays."


class StoreFullError(StoreError, code="store_full", exit_code=69):
    """The store has no room (ENOSPC, EDQUOT, 507)."""

    delay_class = DelayClass.MENDABLE
    default_hint = "Make room in the store; uploads continue by themselves."
