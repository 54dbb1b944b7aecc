"""Copies recordings off a camera, makes the copies durable and reads them back."""

from bodycam_ingest.acquire.acquirer import Acquirer
from bodycam_ingest.acquire.read_back import ReadBackVerifier
from bodycam_ingest.acquire.reader import Reader
from bodycam_ingest.acquire.records import AcquireContext, record_acquired, take_back
from bodycam_ingest.acquire.staging_watch import FOR_SPACE, StagingWatch

__all__ = [
    "FOR_SPACE",
    "AcquireContext",
    "Acquirer",
    "ReadBackVerifier",
    "Reader",
    "StagingWatch",
    "record_acquired",
    "take_back",
]
