"""Copies recordings off a camera, makes the copies durable and reads them back."""

from bodycam_ingest.acquire.acquirer import Acquirer
from bodycam_ingest.acquire.read_back import Verifier
from bodycam_ingest.acquire.reader import Reader
from bodycam_ingest.acquire.records import (
    Workshop,
    record_acquired,
    take_back,
)
from bodycam_ingest.acquire.staging_watch import FOR_ROOM, StagingWatch

__all__ = [
    "FOR_ROOM",
    "Acquirer",
    "Reader",
    "StagingWatch",
    "Verifier",
    "Workshop",
    "record_acquired",
    "take_back",
]
