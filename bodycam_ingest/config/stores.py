"""The `[[stores]]` tables: where evidence goes, one model a type."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from bodycam_ingest.config.kinds import ConfigPath, Listed, Reloadable, Section, Window

_VARIABLE: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
_PREFIX: Final = re.compile(r"([A-Za-z0-9_.-]+/)*[A-Za-z0-9_.-]+")


class _Store(Section):
    """What is said of every store."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")] = Field(
        description="a name for this store, never changed: 1 to 32 of a-z, 0-9 and '-'"
    )
    required: bool = Field(
        default=True, description="whether an item is confirmed only when it is in this store"
    )
    bandwidth_limit_bytes_per_s: Annotated[int | None, Field(ge=0), Reloadable()] = Field(
        default=None, description="bytes a second for this store alone; 0 sets no limit"
    )
    windows: Annotated[tuple[Window, ...] | None, Listed, Reloadable()] = Field(
        default=None,
        description='local times such as "22:00-06:00" for this store; none means always',
    )
    workers: Annotated[int, Field(ge=1, le=64)] | None = Field(
        default=None, description="uploads to this store at the same time, 1 to 64"
    )


class DirectoryStoreConfig(_Store):
    """A directory: a mounted archive, or a disk of its own."""

    type: Literal["directory"] = Field(description='"directory" or "s3"')
    path: ConfigPath = Field(description="an existing directory that the daemon may write")


class EnvironmentCredentials(Section):
    """Keys in environment variables of the daemon; the configuration holds their names alone."""

    source: Literal["environment"] = Field(description='"environment", "file" or "profile"')
    access_key_variable: Annotated[str, Field(pattern=_VARIABLE)] = Field(
        default="AWS_ACCESS_KEY_ID", description="name of a variable"
    )
    secret_key_variable: Annotated[str, Field(pattern=_VARIABLE)] = Field(
        default="AWS_SECRET_ACCESS_KEY", description="name of a variable"
    )
    session_token_variable: Annotated[str, Field(pattern=_VARIABLE)] = Field(
        default="AWS_SESSION_TOKEN", description="name of a variable, which need not be set"
    )


class FileCredentials(Section):
    """Keys in a file of the form that S3 tools share, readable by the daemon's user alone."""

    source: Literal["file"] = Field(description='"environment", "file" or "profile"')
    path: ConfigPath = Field(description="an INI file with aws_access_key_id and so on")
    profile: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        default="default", description="section of that file"
    )


class ProfileCredentials(Section):
    """A profile of the daemon's user's own S3 set-up, which may fetch keys by a command."""

    source: Literal["profile"] = Field(description='"environment", "file" or "profile"')
    profile: Annotated[str, Field(min_length=1, max_length=128)] = Field(
        default="default", description="name of a profile under ~/.aws"
    )


Credentials = EnvironmentCredentials | FileCredentials | ProfileCredentials


def _bucket(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", value) or ".." in value:
        raise ValueError("is no bucket name")
    return value


def _prefix(value: str) -> str:
    if value and (not _PREFIX.fullmatch(value) or {".", ".."} & set(value.split("/"))):
        raise ValueError("is no prefix")
    return value


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class S3StoreConfig(_Store):
    """A bucket of any store that speaks S3."""

    type: Literal["s3"] = Field(description='"directory" or "s3"')
    bucket: Annotated[str, AfterValidator(_bucket)] = Field(
        description="an existing bucket: 3 to 63 of a-z, 0-9, '.' and '-'; it is never made"
    )
    prefix: Annotated[str, AfterValidator(_prefix)] = Field(
        default="", description="put before every key, without a slash at either end; may be empty"
    )
    allow_http: bool = Field(
        default=False, description="true allows http:// to this machine itself, for trials"
    )
    endpoint_url: str = Field(
        default="",
        description="https://host[:port] of the store; empty means AWS. http:// only to this "
        "machine itself, with allow_http = true",
    )
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")] = Field(
        default="us-east-1", description="region name such as us-gov-west-1"
    )
    credentials: Annotated[Credentials, Field(discriminator="source")] = Field(
        default_factory=lambda: EnvironmentCredentials(source="environment"),
        description='a table with source = "environment", "file" or "profile"',
    )
    ca_bundle: ConfigPath | None = Field(
        default=None, description="PEM file with the certificates that sign the store's own"
    )
    sse: Literal["none", "AES256", "aws:kms"] = Field(
        default="none", description='"none", "AES256" or "aws:kms"'
    )
    kms_key_id: str = Field(default="", description='key for sse = "aws:kms"; empty else')
    storage_class: Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,64}$")] = Field(
        default="STANDARD", description="as the store names it, such as STANDARD_IA"
    )
    object_lock_days: Annotated[int, Field(ge=0, le=36500)] = Field(
        default=0, description="days for which no one can delete an object; 0 asks for no lock"
    )

    @field_validator("endpoint_url")
    @classmethod
    def _tls_only(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return value
        url = urlsplit(value)
        if url.scheme not in {"https", "http"} or not url.hostname or url.path not in {"", "/"}:
            raise ValueError("is no https:// address of a host")
        if url.username is not None or url.query or url.fragment:
            raise ValueError("holds more than host and port")
        if url.scheme == "http" and not (info.data.get("allow_http") and _loopback(url.hostname)):
            raise ValueError("is not encrypted")
        return value.rstrip("/")

    @field_validator("kms_key_id")
    @classmethod
    def _only_with_kms(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("sse", "aws:kms") != "aws:kms":
            raise ValueError('has no use unless sse = "aws:kms"')
        return value


StoreConfig = DirectoryStoreConfig | S3StoreConfig
