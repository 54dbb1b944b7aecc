"""The tree of faults: what each one means for the work, and how the process ends on it.

Foreign exceptions are translated into this tree once, at the edge that met them. Whoever handles
a fault asks its class for the disposition; nobody looks at messages.
"""

from bodycam_ingest.errors.base import AbandonedError as AbandonedError
from bodycam_ingest.errors.base import AlreadyInitialisedError as AlreadyInitialisedError
from bodycam_ingest.errors.base import AlreadyRunningError as AlreadyRunningError
from bodycam_ingest.errors.base import ConfigError as ConfigError
from bodycam_ingest.errors.base import ControlError as ControlError
from bodycam_ingest.errors.base import DatabaseDamagedError as DatabaseDamagedError
from bodycam_ingest.errors.base import DelayClass as DelayClass
from bodycam_ingest.errors.base import DemoError as DemoError
from bodycam_ingest.errors.base import Disposition as Disposition
from bodycam_ingest.errors.base import HaltError as HaltError
from bodycam_ingest.errors.base import IllegalTransitionError as IllegalTransitionError
from bodycam_ingest.errors.base import IngestError as IngestError
from bodycam_ingest.errors.base import ItemMovedError as ItemMovedError
from bodycam_ingest.errors.base import KeyUnreadableError as KeyUnreadableError
from bodycam_ingest.errors.base import LedgerEntryError as LedgerEntryError
from bodycam_ingest.errors.base import LedgerForkError as LedgerForkError
from bodycam_ingest.errors.base import LedgerUnwritableError as LedgerUnwritableError
from bodycam_ingest.errors.base import NotInitialisedError as NotInitialisedError
from bodycam_ingest.errors.base import NotRunningError as NotRunningError
from bodycam_ingest.errors.base import SchemaUnknownError as SchemaUnknownError
from bodycam_ingest.errors.base import StateAlteredError as StateAlteredError
from bodycam_ingest.errors.base import StateDirectoryError as StateDirectoryError
from bodycam_ingest.errors.base import UncheckedError as UncheckedError
from bodycam_ingest.errors.base import UnknownSubjectError as UnknownSubjectError
from bodycam_ingest.errors.base import UsageError as UsageError
from bodycam_ingest.errors.edges import LocalCopyDamagedError as LocalCopyDamagedError
from bodycam_ingest.errors.edges import ReadBackMismatchError as ReadBackMismatchError
from bodycam_ingest.errors.edges import ReadBackUnprovenError as ReadBackUnprovenError
from bodycam_ingest.errors.edges import SourceChangedError as SourceChangedError
from bodycam_ingest.errors.edges import SourceError as SourceError
from bodycam_ingest.errors.edges import SourceForbiddenError as SourceForbiddenError
from bodycam_ingest.errors.edges import SourceGoneError as SourceGoneError
from bodycam_ingest.errors.edges import SourceLimitError as SourceLimitError
from bodycam_ingest.errors.edges import SourceUnreadableError as SourceUnreadableError
from bodycam_ingest.errors.edges import StagingError as StagingError
from bodycam_ingest.errors.edges import StagingForbiddenError as StagingForbiddenError
from bodycam_ingest.errors.edges import StagingFullError as StagingFullError
from bodycam_ingest.errors.edges import StagingMissingError as StagingMissingError
from bodycam_ingest.errors.edges import StagingReadOnlyError as StagingReadOnlyError
from bodycam_ingest.errors.edges import StagingTooSmallError as StagingTooSmallError
from bodycam_ingest.errors.edges import StagingUnreadableError as StagingUnreadableError
from bodycam_ingest.errors.edges import StoreClockSkewError as StoreClockSkewError
from bodycam_ingest.errors.edges import StoreConflictError as StoreConflictError
from bodycam_ingest.errors.edges import StoreCredentialsError as StoreCredentialsError
from bodycam_ingest.errors.edges import StoreError as StoreError
from bodycam_ingest.errors.edges import StoreFullError as StoreFullError
from bodycam_ingest.errors.edges import StoreIntegrityError as StoreIntegrityError
from bodycam_ingest.errors.edges import StoreMisconfiguredError as StoreMisconfiguredError
from bodycam_ingest.errors.edges import StoreMismatchError as StoreMismatchError
from bodycam_ingest.errors.edges import StoreObstructedError as StoreObstructedError
from bodycam_ingest.errors.edges import StoreThrottledError as StoreThrottledError
from bodycam_ingest.errors.edges import StoreTooLargeError as StoreTooLargeError
from bodycam_ingest.errors.edges import StoreUnreachableError as StoreUnreachableError
from bodycam_ingest.errors.edges import TooManyOpenFilesError as TooManyOpenFilesError


def all_error_classes() -> tuple[type[IngestError], ...]:
    """Every class of the tree, the root first, in definition order."""
    found: list[type[IngestError]] = [IngestError]
    for known in found:
        found.extend(sub for sub in known.__subclasses__() if sub not in found)
    return tuple(found)
