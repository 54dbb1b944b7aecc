"""Sends what is due to the stores, has it proven, pauses a store, publishes checkpoints."""

from bodycam_ingest.upload.checkpoints import SETTLES_S, AnchorKeeper
from bodycam_ingest.upload.store_changes import StoreKeeper
from bodycam_ingest.upload.uploader import Uploader

__all__ = ["SETTLES_S", "AnchorKeeper", "StoreKeeper", "Uploader"]
