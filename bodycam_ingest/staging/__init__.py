"""The dock's own durable copies: where they lie, how they come there, how they are read back."""

from bodycam_ingest.staging.area import QUARANTINE, SealedCopy, StagingArea, UnexpectedName
from bodycam_ingest.staging.buffers import BufferPool
from bodycam_ingest.staging.digests import Digester
from bodycam_ingest.staging.free_space import FreeSpace, Reservation, Space
from bodycam_ingest.staging.os_errors import staging_error, staging_faults
from bodycam_ingest.staging.pump import Pump, Sink, check_abandoned
from bodycam_ingest.staging.read_back import StagedCopies, open_copies
from bodycam_ingest.staging.sealed_copy import SEALED_MODE, Sealer

__all__ = [
    "QUARANTINE",
    "SEALED_MODE",
    "BufferPool",
    "Digester",
    "FreeSpace",
    "Pump",
    "Reservation",
    "SealedCopy",
    "Sealer",
    "Sink",
    "Space",
    "StagedCopies",
    "StagingArea",
    "UnexpectedName",
    "check_abandoned",
    "open_copies",
    "staging_error",
    "staging_faults",
]
