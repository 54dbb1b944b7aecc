"""Faults on which the daemon stops: going on could lose or forge something."""

from __future__ import annotations

from bodycam_ingest.errors.base import Disposition, IngestError


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
