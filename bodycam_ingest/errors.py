"""The tree of faults: what each one means for the work, and how the process ends on it.

Foreign exceptions are translated into this tree once, at the edge that met them. Whoever handles
a fault asks its class for the disposition; nobody looks at messages.
"""

from __future__ import annotations

import enum
from typing import ClassVar


class Disposition(enum.Enum):
    """What a fault means for the item, store or process that met it."""

    RETRY = "retry"
    QUARANTINE = "quarantine"
    HALT = "halt"


class DelayClass(enum.Enum):
    """How long a retry waits; the figures are in `bodycam_ingest.backoff`."""

    SHORT = "short"
    THROTTLED = "throttled"
    CLOCK = "clock"
    CREDENTIALS = "credentials"
    SLOW = "slow"


class IngestError(Exception):
    """Any fault that the product knows.

    Args:
        message: what happened, with the values that an admin needs to find it.
        hint: what to do about it; the class's own hint when empty.
    """

    code: ClassVar[str] = "unknown"
    disposition: ClassVar[Disposition] = Disposition.RETRY
    delay_class: ClassVar[DelayClass] = DelayClass.SLOW
    exit_code: ClassVar[int] = 1
    default_hint: ClassVar[str] = "Report this with the log around it."
    alarm_at_once: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint


# -- wrong use -----------------------------------------------------------------------------------


class UsageError(IngestError):
    """The command line asks for something that cannot be done."""

    code = "usage"
    disposition = Disposition.HALT
    exit_code = 2
    default_hint = "See --help of the command."


class ConfigError(IngestError):
    """The configuration is unreadable or has faults; the message lists all of them."""

    code = "config"
    disposition = Disposition.HALT
    exit_code = 2
    default_hint = "Mend the keys named above, then run check-config."


class UncheckedError(IngestError):
    """Something that was to be checked could not be reached."""

    code = "unchecked"
    disposition = Disposition.HALT
    exit_code = 2
    default_hint = "Make it reachable and run the check again."


# -- HALT: going on could lose or forge something ------------------------------------------------


class HaltError(IngestError):
    """The daemon must stop: a restart after the cause is mended goes on with no loss."""

    code = "halt"
    disposition = Disposition.HALT
    exit_code = 3
    alarm_at_once = True


class NotInitialisedError(HaltError):
    """The state directory, a key or the database is missing."""

    code = "not_initialised"
    exit_code = 10
    default_hint = "Run `bodycam-ingest init` once as the daemon's user."


class AlreadyInitialisedError(HaltError):
    """`init` met an existing state directory and touched nothing."""

    code = "already_initialised"
    exit_code = 11
    default_hint = "Nothing was changed. Choose another dock.state_dir to start a new ledger."


class AlreadyRunningError(HaltError):
    """Another process holds the ledger's lock on this state directory."""

    code = "already_running"
    exit_code = 12
    default_hint = "Stop the other daemon, or give this one its own dock.state_dir."


class SchemaUnknownError(HaltError):
    """The database has a schema version that this version does not know."""

    code = "schema_unknown"
    exit_code = 13
    default_hint = "Run `bodycam-ingest migrate` or install the version that made the database."


class LedgerUnwritableError(HaltError):
    """The ledger or the database that holds it could not be written; nothing was marked done."""

    code = "ledger_unwritable"
    exit_code = 14
    default_hint = "Look for a full, read-only or failing disk under dock.state_dir, then restart."


class LedgerForkError(HaltError):
    """The database's ledger is not an extension of what this dock signed last."""

    code = "ledger_fork"
    exit_code = 15
    default_hint = (
        "Do not delete anything. Run `bodycam-ingest verify`: the database was restored from an "
        "old backup or was changed by hand."
    )


class KeyUnreadableError(HaltError):
    """A signing key is missing, unreadable, of the wrong kind, or open to others."""

    code = "key_unreadable"
    exit_code = 16
    default_hint = "Restore keys/ under dock.state_dir from the backup: daemon's own, mode 0600."


class StateDirectoryError(HaltError):
    """The state directory cannot be used: full, read-only, wrong owner or mode."""

    code = "state_directory"
    exit_code = 17
    default_hint = "Free space or mend owner and mode (0700) of dock.state_dir, then restart."


class LedgerEntryError(HaltError):
    """An entry does not follow the ledger format; it was not written."""

    code = "ledger_entry"
    exit_code = 18
    default_hint = "This is a defect of the program. Report it with the log around it."


class IllegalTransitionError(HaltError):
    """A state machine was asked for a step that its table does not have; nothing changed."""

    code = "illegal_transition"
    exit_code = 19
    default_hint = "This is a defect of the program. Report it with the log around it."


# -- the camera's side ---------------------------------------------------------------------------


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
    default_hint = "Dock the camera again; its items go on where they were."


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
    default_hint = "Mount the volume so that the daemon's user can read it."


class SourceLimitError(SourceError):
    """A camera passed a limit that real cards never reach."""

    code = "source_limit"
    delay_class = DelayClass.SLOW
    exit_code = 35
    alarm_at_once = True
    default_hint = "Look at the card: its file system is damaged, or raise [cameras.limits]."


# -- the dock's own disk -------------------------------------------------------------------------


class StagingError(IngestError):
    """Writing to or reading from staging failed."""

    code = "staging"
    exit_code = 40
    alarm_at_once = True
    default_hint = "Look at the disk under staging.dir."


class StagingFullError(StagingError):
    """Staging has no room for the item (ENOSPC, EDQUOT, or below min_free_bytes)."""

    code = "staging_full"
    delay_class = DelayClass.SHORT
    exit_code = 41
    default_hint = "Free space under staging.dir or bring the stores back; ingest then goes on."


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


class ItemMovedError(IngestError):
    """Another thread or an admin moved the item first; nothing changed."""

    code = "item_moved"
    delay_class = DelayClass.SHORT
    exit_code = 50
    default_hint = "Try again."


class AbandonedError(IngestError):
    """The daemon is stopping; the work was broken off and nothing was marked done."""

    code = "abandoned"
    delay_class = DelayClass.SHORT
    exit_code = 51
    default_hint = "Start the daemon again; the item is taken again."


# -- stores --------------------------------------------------------------------------------------


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
    default_hint = "Look at the link and the store; uploads go on by themselves."


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


class StoreMismatchError(StoreError):
    """A stored object is not the bytes that the ledger holds; the local copy stays."""

    code = "store_mismatch"
    disposition = Disposition.QUARANTINE
    exit_code = 68
    default_hint = "Do not delete anything. The store holds other bytes than were sent."


class StoreFullError(StoreError):
    """The store has no room (ENOSPC, EDQUOT, 507)."""

    code = "store_full"
    exit_code = 69
    default_hint = "Make room in the store; uploads go on by themselves."


# -- the daemon's control socket -----------------------------------------------------------------


class ControlError(IngestError):
    """The running daemon refused or did not answer a command."""

    code = "control"
    disposition = Disposition.HALT
    exit_code = 80
    default_hint = "Look at the daemon's log."


def all_error_classes() -> tuple[type[IngestError], ...]:
    """Every class of the tree, the root first, in definition order."""
    found: list[type[IngestError]] = [IngestError]
    for known in found:
        found.extend(sub for sub in known.__subclasses__() if sub not in found)
    return tuple(found)
