"""What every fault carries, the faults that belong to no side, and those on which it stops."""

from __future__ import annotations

import enum
from typing import ClassVar


class Disposition(enum.Enum):
    """What a fault means for the item, store or process that met it."""

    RETRY = "retry"
    QUARANTINE = "quarantine"
    HALT = "halt"


class DelayClass(enum.Enum):
    """How long a retry waits; the figures are in `bodycam_ingest.model.backoff`."""

    SHORT = "short"
    THROTTLED = "throttled"
    CLOCK = "clock"
    CREDENTIALS = "credentials"
    MENDABLE = "mendable"
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


class UsageError(IngestError):
    """The command line asks for something that cannot be done."""

    code = "usage"
    disposition = Disposition.HALT
    exit_code = 2
    default_hint = "See --help of the command."


class UnknownSubjectError(IngestError):
    """There is no such item, camera, store or finding."""

    code = "not_found"
    exit_code = 4
    default_hint = "`bodycam-ingest items`, `cameras`, `status` and `findings` list what there is."


class ConfigError(IngestError):
    """The configuration is unreadable or has faults; the message lists all of them."""

    code = "config"
    disposition = Disposition.HALT
    exit_code = 2
    default_hint = "Fix the keys named above, then run check-config."


class UncheckedError(IngestError):
    """Something that was to be checked could not be reached."""

    code = "unchecked"
    disposition = Disposition.HALT
    exit_code = 2
    default_hint = "Make it reachable and run the check again."


class ItemMovedError(IngestError):
    """Another thread or an admin moved the item first; nothing changed."""

    code = "item_moved"
    delay_class = DelayClass.SHORT
    exit_code = 50
    default_hint = "Try again."


class StateAlteredError(IngestError):
    """A row is not what the ledger's entries make of it; nothing is decided on its word."""

    code = "state_altered"
    disposition = Disposition.QUARANTINE
    alarm_at_once = True
    exit_code = 53
    default_hint = (
        "Somebody changed the database beside this program. `bodycam-ingest verify` names every "
        "such row; keep a copy of the state directory before anything is fixed."
    )


class AbandonedError(IngestError):
    """The daemon is stopping; the work was broken off and nothing was marked done."""

    code = "abandoned"
    delay_class = DelayClass.SHORT
    exit_code = 51
    default_hint = "Start the daemon again; the item is taken again."


class ControlError(IngestError):
    """The running daemon did not answer a command, or not in words that this version knows."""

    code = "control"
    disposition = Disposition.HALT
    exit_code = 80
    default_hint = "Look at the daemon's log."


class NotRunningError(IngestError):
    """No daemon runs on this state directory; what is shown is what the database says."""

    code = "not_running"
    disposition = Disposition.HALT
    exit_code = 81
    default_hint = "Start it: sudo systemctl start bodycam-ingest. Its log says why it stopped."


class DemoError(IngestError):
    """The demonstration did not go as it should."""

    code = "demo"
    disposition = Disposition.HALT
    exit_code = 90
    default_hint = "The daemon's log lies in the directory named above."


class HaltError(IngestError):
    """The daemon must stop: a restart after the cause is fixed continues with no loss."""

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


class DatabaseDamagedError(LedgerUnwritableError):
    """The database was changed by hand, cut or damaged: it is none that this program made."""

    code = "database_damaged"
    exit_code = 20
    default_hint = (
        "Do not delete anything. Run `bodycam-ingest verify`, look for a failing disk, then "
        "restore the state directory from its backup as a whole."
    )


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
    default_hint = "Free space or fix owner and mode (0700) of dock.state_dir, then restart."


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
