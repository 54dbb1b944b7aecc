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

    def __init_subclass__(cls, *, code: str, exit_code: int) -> None:
        """Every fault has both of its own; what else it does not say is as of the class above."""
        cls.code, cls.exit_code = code, exit_code

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint


class UsageError(IngestError, code="usage", exit_code=2):
    """The command line asks for something that cannot be done."""

    disposition = Disposition.HALT
    default_hint = "See --help of the command."


class UnknownSubjectError(IngestError, code="not_found", exit_code=4):
    """There is no such item, camera, store or finding."""

    default_hint = "`bodycam-ingest items`, `cameras`, `status` and `findings` list what there is."


class ConfigError(IngestError, code="config", exit_code=2):
    """The configuration is unreadable or has faults; the message lists all of them."""

    disposition = Disposition.HALT
    default_hint = "Fix the keys named above, then run check-config."


class UncheckedError(IngestError, code="unchecked", exit_code=2):
    """Something that was to be checked could not be reached."""

    disposition = Disposition.HALT
    default_hint = "Make it reachable and run the check again."


class ItemMovedError(IngestError, code="item_moved", exit_code=50):
    """Another thread or an admin moved the item first; nothing changed."""

    delay_class = DelayClass.SHORT
    default_hint = "Try again."


class StateAlteredError(IngestError, code="state_altered", exit_code=53):
    """A row is not what the ledger's entries make of it; nothing is decided on its word."""

    disposition = Disposition.QUARANTINE
    alarm_at_once = True
    default_hint = (
        "Somebody changed the database beside this program. `bodycam-ingest verify` names every "
        "such row; keep a copy of the state directory before anything is fixed."
    )


class AbandonedError(IngestError, code="abandoned", exit_code=51):
    """The daemon is stopping; the work was broken off and nothing was marked done."""

    delay_class = DelayClass.SHORT
    default_hint = "Start the daemon again; the item is taken again."


class ControlError(IngestError, code="control", exit_code=80):
    """The running daemon did not answer a command, or not in words that this version knows."""

    disposition = Disposition.HALT
    default_hint = "Look at the daemon's log."


class NotRunningError(IngestError, code="not_running", exit_code=81):
    """No daemon runs on this state directory; what is shown is what the database says."""

    disposition = Disposition.HALT
    default_hint = "Start it: sudo systemctl start bodycam-ingest. Its log says why it stopped."


class DemoError(IngestError, code="demo", exit_code=90):
    """The demonstration did not go as it should."""

    disposition = Disposition.HALT
    default_hint = "The daemon's log lies in the directory named above."


class HaltError(IngestError, code="halt", exit_code=3):
    """The daemon must stop: a restart after the cause is fixed continues with no loss."""

    disposition = Disposition.HALT
    alarm_at_once = True


class NotInitialisedError(HaltError, code="not_initialised", exit_code=10):
    """The state directory, a key or the database is missing."""

    default_hint = "Run `bodycam-ingest init` once as the daemon's user."


class AlreadyInitialisedError(HaltError, code="already_initialised", exit_code=11):
    """`init` met an existing state directory and touched nothing."""

    default_hint = "Nothing was changed. Choose another dock.state_dir to start a new ledger."


class AlreadyRunningError(HaltError, code="already_running", exit_code=12):
    """Another process holds the ledger's lock on this state directory."""

    default_hint = "Stop the other daemon, or give this one its own dock.state_dir."


class SchemaUnknownError(HaltError, code="schema_unknown", exit_code=13):
    """The database has a schema version that this version does not know."""

    default_hint = "Run `bodycam-ingest migrate` or install the version that made the database."


class LedgerUnwritableError(HaltError, code="ledger_unwritable", exit_code=14):
    """The ledger or the database that holds it could not be written; nothing was marked done."""

    default_hint = "Look for a full, read-only or failing disk under dock.state_dir, then restart."


class DatabaseDamagedError(LedgerUnwritableError, code="database_damaged", exit_code=20):
    """The database was changed by hand, cut or damaged: it is none that this program made."""

    default_hint = (
        "Do not delete anything. Run `bodycam-ingest verify`, look for a failing disk, then "
        "restore the state directory from its backup as a whole."
    )


class LedgerForkError(HaltError, code="ledger_fork", exit_code=15):
    """The database's ledger is not an extension of what this dock signed last."""

    default_hint = (
        "Do not delete anything. Run `bodycam-ingest verify`: the database was restored from an "
        "old backup or was changed by hand."
    )


class KeyUnreadableError(HaltError, code="key_unreadable", exit_code=16):
    """A signing key is missing, unreadable, of the wrong kind, or open to others."""

    default_hint = "Restore keys/ under dock.state_dir from the backup: daemon's own, mode 0600."


class StateDirectoryError(HaltError, code="state_directory", exit_code=17):
    """The state directory cannot be used: full, read-only, wrong owner or mode."""

    default_hint = "Free space or fix owner and mode (0700) of dock.state_dir, then restart."


class LedgerEntryError(HaltError, code="ledger_entry", exit_code=18):
    """An entry does not follow the ledger format; it was not written."""

    default_hint = "This is a defect of the program. Report it with the log around it."


class IllegalTransitionError(HaltError, code="illegal_transition", exit_code=19):
    """A state machine was asked for a step that its table does not have; nothing changed."""

    default_hint = (
        "`bodycam-ingest verify` names every row that somebody changed beside this program. Where "
        "it names none this is a defect of the program: report it with the log around it."
    )
