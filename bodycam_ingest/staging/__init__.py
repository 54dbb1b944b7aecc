"""The dock's own durable copies: where they lie, how they come there, how they are read back."""

from bodycam_ingest.staging.area import (
    QUARANTINE,
    SealedCopy,
    StagedCopy,
    StagingArea,
    UnexpectedName,
)
from bodycam_ingest.staging.copies import SEALED_MODE, Digester, StagedCopies, open_copies
from bodycam_ingest.staging.free_space import FreeSpace, Space
from bodycam_ingest.staging.os_errors import staging_error, staging_faults
from bodycam_ingest.staging.pump import BufferPool, Progress, Pump, check_abandoned, ignore

__all__ = [
    "QUARANTINE",
    "SEALED_MODE",
    "BufferPool",
    "Digester",
    "FreeSpace",
    "Progress",
    "Pump",
    "SealedCopy",
    "Space",
    "StagedCopies",
    "StagedCopy",
    "StagingArea",
    "UnexpectedName",
    "check_abandoned",
    "ignore",
    "open_copies",
    "staging_error",
    "staging_faults",
]
