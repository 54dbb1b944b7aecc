"""The configuration: what the admin writes, checked as a whole before anything starts.

`load` gives a `Config` or one error that lists every fault. No secret ever stands in the file:
credentials are named (a profile, a file, environment variables), never written out.
"""

from bodycam_ingest.config.changes import CurrentConfig, changes, digest, portions, settings
from bodycam_ingest.config.load import examine, load
from bodycam_ingest.config.models import (
    CameraLimits,
    CameraProfile,
    Cameras,
    Config,
)
from bodycam_ingest.config.stores import (
    Credentials,
    DirectoryStoreConfig,
    EnvironmentCredentials,
    FileCredentials,
    S3StoreConfig,
)

__all__ = [
    "CameraLimits",
    "CameraProfile",
    "Cameras",
    "Config",
    "Credentials",
    "CurrentConfig",
    "DirectoryStoreConfig",
    "EnvironmentCredentials",
    "FileCredentials",
    "S3StoreConfig",
    "changes",
    "digest",
    "examine",
    "load",
    "portions",
    "settings",
]
