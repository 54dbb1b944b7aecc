"""Makes stores from their `[[stores]]` tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodycam_ingest.stores import directory
from bodycam_ingest.stores.directory import DirectoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.config.stores import DirectoryStoreConfig, S3StoreConfig
    from bodycam_ingest.stores.contract import ObjectStore

# Connections that one store keeps: those of uploads, and those of `verify` and `doctor`.
_SPARE_CONNECTIONS = 4


def open_store(
    config: DirectoryStoreConfig | S3StoreConfig,
    *,
    uploads: int = 2,
    heartbeat: Callable[[], None] = lambda: None,
) -> ObjectStore:
    """A store as configured; nothing is asked of it yet.

    So many `uploads` go to it at the same time. The heartbeat is called at each request and each
    piece of a body: long work is seen to move.
    """
    if config.type == "directory":
        return DirectoryStore(config.name, config.path)
    from bodycam_ingest.stores.s3 import S3Client, S3Store  # noqa: PLC0415 - botocore

    return S3Store(S3Client(config, connections=uploads + _SPARE_CONNECTIONS, heartbeat=heartbeat))


def prepare_store(config: DirectoryStoreConfig | S3StoreConfig) -> str:
    """Make a store ready to be used, as `init` does; harmless when it is.

    Returns what was done, for people; empty when there was nothing to do here.

    Raises:
        StoreError: as its subclass says.
    """
    if config.type == "directory":
        return f"directory {config.path} is marked as store {directory.prepare(config.path)}"
    return ""
