"""Makes stores from their `[[stores]]` tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodycam_ingest.stores import directory
from bodycam_ingest.stores.directory import DirectoryStore
from bodycam_ingest.stores.s3.client import S3Client
from bodycam_ingest.stores.s3.endpoint import Endpoint, keys_from_environment, keys_from_file
from bodycam_ingest.stores.s3.settings import ObjectSettings
from bodycam_ingest.stores.s3.store import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.config.stores import Credentials, DirectoryStoreConfig, S3StoreConfig
    from bodycam_ingest.stores.s3.endpoint import Keys

# Connections that one store keeps: its workers', and those of `verify` and `doctor`.
_SPARE_CONNECTIONS = 4


def open_store(
    config: DirectoryStoreConfig | S3StoreConfig,
    *,
    workers: int = 2,
    moving: Callable[[], None] = lambda: None,
) -> DirectoryStore | S3Store:
    """A store as configured; nothing is asked of it yet.

    Args:
        config: its table.
        workers: uploads to it at the same time.
        moving: called at each request and each piece of a body, so that long work is seen to move.

    Returns:
        The store.
    """
    if config.type == "directory":
        return DirectoryStore(config.name, config.path)
    endpoint = Endpoint(
        url=config.endpoint_url,
        region=config.region,
        ca_bundle=config.ca_bundle,
        keys=_keys(config.credentials),
        profile=config.credentials.profile if config.credentials.source == "profile" else "",
        connections=workers + _SPARE_CONNECTIONS,
        allow_http=config.allow_http,
    )
    settings = ObjectSettings(
        sse=config.sse,
        kms_key_id=config.kms_key_id,
        storage_class=config.storage_class,
        object_lock_days=config.object_lock_days,
    )
    return S3Store(S3Client(config.name, config.bucket, endpoint, moving), config.prefix, settings)


def _keys(credentials: Credentials) -> Callable[[], Keys] | None:
    match credentials.source:
        case "environment":
            names = (
                credentials.access_key_variable,
                credentials.secret_key_variable,
                credentials.session_token_variable,
            )
            return lambda: keys_from_environment(*names)
        case "file":
            path, profile = credentials.path, credentials.profile
            return lambda: keys_from_file(path, profile)
        case "profile":
            return None


def prepare_store(config: DirectoryStoreConfig | S3StoreConfig) -> str:
    """Make a store ready to be used, as `init` does; harmless when it is.

    Args:
        config: its table.

    Returns:
        What was done, for people; empty when there was nothing to do here.

    Raises:
        StoreError: as its subclass says.
    """
    if config.type == "directory":
        return f"directory {config.path} is marked as store {directory.prepare(config.path)}"
    return ""
