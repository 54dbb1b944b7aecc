"""Faults at the edges: cameras, the dock's own disk, the places where evidence goes."""

from __future__ import annotations

from bodycam_ingest.errors.base import DelayClass, Disposition, IngestError


class SourceError(IngestError):
    """Reading from a camera failed."""

    code = "source"
    delay_class = DelayClass.SHORT
    exit_code = 30
    default_hint = "Leave the camera docked; the item is tried again."


class SourceGoneError(SourceError):
    """The file, or the camera that holds it, is gone (ENODEV, ENOENT, ESTALE, ENXIO)."""

    code = "source_gone"
    exit_code = 31
    default_hint = "Dock the camera again; its items continue where they were."


class SourceUnreadableError(SourceError):
    """The medium fails under the file (EIO, EUCLEAN, a short read)."""

    code = "source_unreadable"
    delay_class = DelayClass.SLOW
    exit_code = 32
    alarm_at_once = True
    default_hint = "Keep the camera apart: its card may be failing. The item is tried again."


class SourceChangedError(SourceError):
    """The file changed while it was read."""

    code = "source_changed"
    exit_code = 33
    default_hint = "The camera still writes; the item is read again when it has settled."


class SourceForbiddenError(SourceError):
    """The daemon's user may not read the file (EACCES, EPERM)."""

    code = "source_forbidden"
    delay_class = DelayClass.SLOW
    exit_code = 34
    alarm_at_once = True
    default_hint = (
        "Let the daemon's user read it: look at the mode of the file and the options of its mount. "
        "It is tried again by itself, or now with `retry ITEM`."
    )


class SourceLimitError(SourceError):
    """A camera passed a limit that real cards never reach."""

    code = "source_limit"
    delay_class = DelayClass.SLOW
    exit_code = 35
    alarm_at_once = True
    default_hint = "Look at the card: its file system is damaged, or raise [cameras.limits]."


class StagingError(IngestError):
    """Writing to or reading from staging failed."""

    code = "staging"
    exit_code = 40
    alarm_at_once = True
    default_hint = "Look at the disk under staging.dir."


class StagingFullError(StagingError):
    """Staging has no room for the item (ENOSPC, EDQUOT, or below min_free_bytes)."""

    code = "staging_full"
    delay_class = DelayClass.THROTTLED
    exit_code = 41
    default_hint = "Free space under staging.dir or bring the stores back; ingest then continues."


class StagingReadOnlyError(StagingError):
    """Staging is read-only (EROFS)."""

    code = "staging_read_only"
    exit_code = 42
    default_hint = "Remount the file system under staging.dir writable; look for disk errors."


class StagingUnreadableError(StagingError):
    """The staging medium fails (EIO)."""

    code = "staging_unreadable"
    exit_code = 43
    default_hint = "Replace the disk under staging.dir. Keep it: it may hold the only copy."


class TooManyOpenFilesError(StagingError):
    """The process or the machine is out of file descriptors (EMFILE, ENFILE)."""

    code = "too_many_open_files"
    delay_class = DelayClass.SHORT
    exit_code = 44
    default_hint = "Raise LimitNOFILE of the service."


class StagingForbiddenError(StagingError):
    """The daemon's user may not write below staging (EACCES, EPERM)."""

    code = "staging_forbidden"
    exit_code = 45
    default_hint = "Give staging.dir to the daemon's user, mode 0700."


class ReadBackMismatchError(StagingError):
    """The copy read back from the medium differs from what was read off the camera."""

    code = "read_back_mismatch"
    disposition = Disposition.QUARANTINE
    exit_code = 46
    default_hint = "The copy is kept in quarantine, the item is read again. Test disk and memory."

    def __init__(self, message: str, *, hint: str = "", quarantined: str = "") -> None:
        super().__init__(message, hint=hint)
        self.quarantined = quarantined


class LocalCopyDamagedError(StagingError):
    """A staged copy no longer has the digest that the ledger holds."""

    code = "local_copy_damaged"
    disposition = Disposition.QUARANTINE
    exit_code = 47
    default_hint = "Dock the camera again if it still has the recording; test the dock's disk."


class StagingMissingError(StagingError):
    """A staged copy that should be there is not."""

    code = "staging_missing"
    disposition = Disposition.QUARANTINE
    exit_code = 48
    default_hint = "Dock the camera again if it still has the recording; find who deleted the copy."


class ReadBackUnprovenError(StagingError):
    """The copy could only be read from memory, so its being on the medium is not proven."""

    code = "read_back_unproven"
    exit_code = 49
    default_hint = "Find what holds the staged files in memory: a virus scanner, a backup, a mount."


class StagingTooSmallError(StagingError):
    """A file is larger than the whole file system under staging."""

    code = "staging_too_small"
    exit_code = 52
    default_hint = "Look at the card: no recording is that large; or give staging a larger disk."


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
