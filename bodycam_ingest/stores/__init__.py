"""Stores for objects that are created once and never overwritten: directories and S3.

botocore is loaded when the first S3 store is opened.
"""

from bodycam_ingest.stores.contract import ByteSource, ObjectStore, Pace, UploadJournal
from bodycam_ingest.stores.registry import open_store, prepare_store

__all__ = [
    "ByteSource",
    "ObjectStore",
    "Pace",
    "UploadJournal",
    "open_store",
    "prepare_store",
]
