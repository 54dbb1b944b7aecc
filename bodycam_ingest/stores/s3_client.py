"""The one seam to boto3: builds the client, makes single requests, translates what goes wrong."""

from __future__ import annotations

import configparser
import datetime as dt
import os
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.exceptions
import botocore.session
from botocore.config import Config
from botocore.parsers import ResponseParserError

from bodycam_ingest.errors import (
    StoreCredentialsError,
    StoreIntegrityError,
    StoreMisconfiguredError,
)
from bodycam_ingest.stores.s3_errors import answer_of, failure, refusal
from bodycam_ingest.stores.s3_signing import sign_prehashed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

# It also bounds how long a send may stall, so it is longer than a mere connect needs.
CONNECT_TIMEOUT_S: Final = 30
READ_TIMEOUT_S: Final = 120
_UNCLEAR: Final = frozenset({400, 403})


class Answer(Exception):  # noqa: N818 - an answer that the caller asked to be told, no fault
    """A refusal that the caller expects and knows what to do about.

    Args:
        status: the HTTP status.
        code: the S3 error code; the status again where the answer had no body.
    """

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """Credentials; never shown.

    Args:
        access_key: the id.
        secret_key: the secret.
        session_token: empty for lasting keys.
    """

    access_key: str
    secret_key: str
    session_token: str = ""


def keys_from_environment(access_key: str, secret_key: str, session_token: str) -> Keys:
    """Keys from the variables of these names; the last one need not be set.

    Raises:
        StoreCredentialsError: one is not set.
    """
    missing = [name for name in (access_key, secret_key) if not os.environ.get(name)]
    if missing:
        raise StoreCredentialsError(f"not set in the environment: {', '.join(missing)}")
    return Keys(os.environ[access_key], os.environ[secret_key], os.environ.get(session_token, ""))


def keys_from_file(path: Path, profile: str) -> Keys:
    """Keys from a section of an INI file.

    Raises:
        StoreCredentialsError: the file or the section is missing or unreadable.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
        section = parser[profile]
        return Keys(
            section["aws_access_key_id"],
            section["aws_secret_access_key"],
            section.get("aws_session_token", ""),
        )
    except (OSError, UnicodeDecodeError) as error:
        raise StoreCredentialsError(f"{path} cannot be read: {error}") from error
    except (KeyError, configparser.Error):
        # Its text could hold a part of the secret.
        raise StoreCredentialsError(f"{path} has no keys under [{profile}]") from None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the store is and how it is reached.

    Args:
        url: `https://host[:port]`; empty means AWS.
        region: region name.
        ca_bundle: PEM file that signs the store's certificate, None for the usual ones.
        keys: asked each time that a client is built; None for the profile.
        profile: profile of the user's own set-up, empty for none.
        connections: connections kept open.
    """

    url: str
    region: str
    ca_bundle: Path | None
    keys: Callable[[], Keys] | None
    profile: str = ""
    connections: int = 10


def build(endpoint: Endpoint, *, sign: Callable[[Any], None] = sign_prehashed) -> Any:
    """A boto3 client that never retries, never hashes twice and always checks certificates.

    Args:
        endpoint: where.
        sign: sets how its uploads are signed.

    Raises:
        StoreCredentialsError: there are no keys.
        StoreMisconfiguredError: the settings make no client.
    """
    keys = endpoint.keys() if endpoint.keys is not None else None
    _check_ca_bundle(endpoint.ca_bundle)
    try:
        session = boto3.session.Session(profile_name=endpoint.profile or None)
        client = session.client(
            "s3",
            region_name=endpoint.region,
            endpoint_url=endpoint.url or None,
            # Passed always: else an environment variable could choose other certificates.
            verify=str(endpoint.ca_bundle) if endpoint.ca_bundle else True,
            aws_access_key_id=keys.access_key if keys else None,
            aws_secret_access_key=keys.secret_key if keys else None,
            aws_session_token=(keys.session_token or None) if keys else None,
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                # The database owns the retries.
                retries={"total_max_attempts": 1, "mode": "standard"},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                tcp_keepalive=True,
                max_pool_connections=endpoint.connections,
                # Else boto3 adds checksums of its own, framed as trailers, which some refuse.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise StoreMisconfiguredError(f"no client for {endpoint.url or 'AWS'}: {error}") from error
    sign(client)
    return client


def _check_ca_bundle(path: Path | None) -> None:
    """Else a missing file looks like a line that broke, which is waited for in silence."""
    if path is None:
        return
    try:
        ssl.create_default_context(cafile=os.fspath(path))
    except (OSError, ssl.SSLError) as error:
        raise StoreMisconfiguredError(
            f"{path} holds no certificates: {error}",
            hint="ca_bundle names a PEM file with the certificates that sign the store's own.",
        ) from error


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


class S3Client:
    """Makes single requests of one bucket; safe for several threads, not across fork.

    Args:
        name: the store's name, for messages.
        bucket: the bucket.
        endpoint: where it is.
    """

    def __init__(self, name: str, bucket: str, endpoint: Endpoint) -> None:
        self.name = name
        self.bucket = bucket
        self.endpoint = endpoint
        self._lock = threading.Lock()
        self._client: Any = None

    def call(self, operation: str, *, expect: Collection[str] = (), **params: Any) -> Any:
        """Make one request.

        Args:
            operation: the client's method, such as `head_object`.
            expect: statuses (as text) and codes that are raised as `Answer`.
            params: its parameters, without the bucket.

        Returns:
            What boto3 returns.

        Raises:
            Answer: one of `expect`.
            StoreError: as its subclass says.
        """
        try:
            return self._call(operation, expect, params)
        except StoreCredentialsError:
            # Keys may have been renewed on disk meanwhile: one try with fresh ones.
            self.renew()
            return self._call(operation, expect, params)

    def _call(self, operation: str, expect: Collection[str], params: dict[str, Any]) -> Any:
        doing = f"{self.name}: {operation} {params.get('Key', '')}".rstrip()
        client = self._get()
        try:
            return getattr(client, operation)(Bucket=self.bucket, **params)
        except botocore.exceptions.ClientError as error:
            status, code = answer_of(error)
            if code in expect or str(status) in expect:
                raise Answer(status, code) from error
            if operation == "head_object" and status in _UNCLEAR:
                self._ask_for_code(client, params, doing)
            fault = refusal(error, doing, _now())
            if isinstance(fault, StoreIntegrityError):
                # Sent again on a new connection: this one may be what damages the bytes.
                self.renew()
            raise fault from error
        except (botocore.exceptions.BotoCoreError, ResponseParserError) as error:
            raise failure(error, doing) from error

    def _ask_for_code(self, client: Any, params: dict[str, Any], doing: str) -> None:
        """The answer to a HEAD has no body and so no code: ask in a way that has one."""
        try:
            client.get_object(Bucket=self.bucket, Key=params["Key"], Range="bytes=0-0")[
                "Body"
            ].close()
        except botocore.exceptions.ClientError as error:
            if answer_of(error)[0] in _UNCLEAR:
                raise refusal(error, doing, _now()) from error

    def _get(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = build(self.endpoint)
            return self._client

    def renew(self) -> None:
        """Build a new client, with fresh keys and connections, at the next request."""
        with self._lock:
            self._client = None

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None
