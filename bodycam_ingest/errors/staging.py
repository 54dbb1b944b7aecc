"""Faults of the dock's own disk."""

from __future__ import annotations

from bodycam_ingest.errors.base import DelayClass, Disposition, IngestError


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
