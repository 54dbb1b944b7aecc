"""The tree of faults: what each one means for the work, and how the process ends on it.

Foreign exceptions are translated into this tree once, at the edge that met them. Whoever handles
a fault asks its class for the disposition; nobody looks at messages.
"""

from bodycam_ingest.errors.base import (
    AbandonedError,
    ConfigError,
    ControlError,
    DelayClass,
    DemoError,
    Disposition,
    IngestError,
    ItemMovedError,
    NotRunningError,
    StateAlteredError,
    UncheckedError,
    UnknownSubjectError,
    UsageError,
)
from bodycam_ingest.errors.halting import (
    AlreadyInitialisedError,
    AlreadyRunningError,
    DatabaseDamagedError,
    HaltError,
    IllegalTransitionError,
    KeyUnreadableError,
    LedgerEntryError,
    LedgerForkError,
    LedgerUnwritableError,
    NotInitialisedError,
    SchemaUnknownError,
    StateDirectoryError,
)
from bodycam_ingest.errors.source import (
    SourceChangedError,
    SourceError,
    SourceForbiddenError,
    SourceGoneError,
    SourceLimitError,
    SourceUnreadableError,
)
from bodycam_ingest.errors.staging import (
    LocalCopyDamagedError,
    ReadBackMismatchError,
    ReadBackUnprovenError,
    StagingError,
    StagingForbiddenError,
    StagingFullError,
    StagingMissingError,
    StagingReadOnlyError,
    StagingTooSmallError,
    StagingUnreadableError,
    TooManyOpenFilesError,
)
from bodycam_ingest.errors.store import (
    StoreClockSkewError,
    StoreConflictError,
    StoreCredentialsError,
    StoreError,
    StoreFullError,
    StoreIntegrityError,
    StoreMisconfiguredError,
    StoreMismatchError,
    StoreObstructedError,
    StoreThrottledError,
    StoreTooLargeError,
    StoreUnreachableError,
)

__all__ = [
    "AbandonedError",
    "AlreadyInitialisedError",
    "AlreadyRunningError",
    "ConfigError",
    "ControlError",
    "DatabaseDamagedError",
    "DelayClass",
    "DemoError",
    "Disposition",
    "HaltError",
    "IllegalTransitionError",
    "IngestError",
    "ItemMovedError",
    "KeyUnreadableError",
    "LedgerEntryError",
    "LedgerForkError",
    "LedgerUnwritableError",
    "LocalCopyDamagedError",
    "NotInitialisedError",
    "NotRunningError",
    "ReadBackMismatchError",
    "ReadBackUnprovenError",
    "SchemaUnknownError",
    "SourceChangedError",
    "SourceError",
    "SourceForbiddenError",
    "SourceGoneError",
    "SourceLimitError",
    "SourceUnreadableError",
    "StagingError",
    "StagingForbiddenError",
    "StagingFullError",
    "StagingMissingError",
    "StagingReadOnlyError",
    "StagingTooSmallError",
    "StagingUnreadableError",
    "StateAlteredError",
    "StateDirectoryError",
    "StoreClockSkewError",
    "StoreConflictError",
    "StoreCredentialsError",
    "StoreError",
    "StoreFullError",
    "StoreIntegrityError",
    "StoreMisconfiguredError",
    "StoreMismatchError",
    "StoreObstructedError",
    "StoreThrottledError",
    "StoreTooLargeError",
    "StoreUnreachableError",
    "TooManyOpenFilesError",
    "UncheckedError",
    "UnknownSubjectError",
    "UsageError",
    "all_error_classes",
]


def all_error_classes() -> tuple[type[IngestError], ...]:
    """Every class of the tree, the root first, in definition order."""
    found: list[type[IngestError]] = [IngestError]
    for known in found:
        found.extend(sub for sub in known.__subclasses__() if sub not in found)
    return tuple(found)
