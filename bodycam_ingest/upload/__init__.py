"""Sends what is due to the stores, has it proven, pauses a store, publishes checkpoints."""

from bodycam_ingest.upload.checkpoints import SETTLES_S, CheckpointPublisher
from bodycam_ingest.upload.store_changes import StoreChanges
from bodycam_ingest.upload.uploader import BATCH_THREADS, Uploader

__all__ = ["BATCH_THREADS", "SETTLES_S", "CheckpointPublisher", "StoreChanges", "Uploader"]
