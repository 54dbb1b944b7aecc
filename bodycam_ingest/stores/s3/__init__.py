"""An S3 bucket as a store. The only importer of botocore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodycam_ingest.stores.s3.client import S3Client
from bodycam_ingest.stores.s3.endpoint import Endpoint, keys_from_environment, keys_from_file
from bodycam_ingest.stores.s3.settings import ObjectSettings
from bodycam_ingest.stores.s3.store import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.config.stores import Credentials, S3StoreConfig
    from bodycam_ingest.stores.s3.endpoint import Keys

__all__ = ["open_s3_store"]


def open_s3_store(config: S3StoreConfig, connections: int, moving: Callable[[], None]) -> S3Store:
    """A bucket as configured; nothing is asked of it yet.

    Args:
        config: its table.
        connections: kept at most.
        moving: called at each request and each piece of a body, so that long work is seen to move.
    """
    endpoint = Endpoint(
        url=config.endpoint_url,
        region=config.region,
        ca_bundle=config.ca_bundle,
        keys=_keys(config.credentials),
        profile=config.credentials.profile if config.credentials.source == "profile" else "",
        connections=connections,
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
