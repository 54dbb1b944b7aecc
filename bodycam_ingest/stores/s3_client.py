"""The one seam to botocore: builds the client, makes single requests, translates its faults."""

from __future__ import annotations

import configparser
import datetime as dt
import functools
import io
import os
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import botocore.exceptions
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.handlers import add_expect_header

from bodycam_ingest.errors import (
    StoreCredentialsError,
    StoreError,
    StoreIntegrityError,
    StoreMisconfiguredError,
)
from bodycam_ingest.stores.s3_errors import FAILURES, answer_of, failure, refusal
from bodycam_ingest.stores.s3_signing import sign_prehashed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

# It also bounds how long a send may stall, so it is longer than a mere connect needs.
CONNECT_TIMEOUT_S: Final = 30
READ_TIMEOUT_S: Final = 120
_PIECE_BYTES: Final = 256 * 1024
# Where systems keep what `update-ca-certificates` and its kin make: Debian, Red Hat, SUSE, Alpine.
# Not what OpenSSL's environment variables name: those are not the system's.
SYSTEM_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
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
        ca_bundle: PEM file that signs the store's certificate, None for the system's.
        keys: asked each time that a client is built; None for the profile.
        profile: profile of the user's own set-up, empty for none.
        connections: connections kept open.
        allow_http: whether `url` may be plain http, to this machine itself.
    """

    url: str
    region: str
    ca_bundle: Path | None
    keys: Callable[[], Keys] | None
    profile: str = ""
    connections: int = 10
    allow_http: bool = False


@functools.cache
def _models() -> Any:
    """What botocore knows of S3 and of AWS's regions: half a second to parse, the same for all."""
    return botocore.loaders.create_loader()


def build(endpoint: Endpoint, *, sign: Callable[[Any], None] = sign_prehashed) -> Any:
    """An S3 client that never retries, never hashes twice and always checks certificates.

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
        session = botocore.session.Session(profile=endpoint.profile or None)
        session.register_component("data_loader", _models())
        client = session.create_client(
            "s3",
            region_name=endpoint.region,
            endpoint_url=endpoint.url or None,
            # Passed always: else an environment variable could choose other certificates.
            verify=_trusted(endpoint),
            aws_access_key_id=keys.access_key if keys else None,
            aws_secret_access_key=keys.secret_key if keys else None,
            aws_session_token=(keys.session_token or None) if keys else None,
            config=Config(
                signature_version="s3v4",
                # Neither the environment nor ~/.aws/config sends evidence to another place.
                ignore_configured_endpoint_urls=True,
                s3={"addressing_style": "path"},
                # The database owns the retries.
                retries={"total_max_attempts": 1, "mode": "standard"},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                tcp_keepalive=True,
                max_pool_connections=endpoint.connections,
                # Else botocore adds checksums of its own, framed as trailers, which some refuse.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise StoreMisconfiguredError(f"no client for {endpoint.url or 'AWS'}: {error}") from error
    sign(client)
    client.meta.events.register_last("before-send.s3", _Guard(endpoint))
    # Bodies that are read piece by piece would wait for leave, which some servers never give.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client


class _Guard:
    """Lets no request leave but over TLS, whatever chose its address.

    Args:
        endpoint: where requests are to go.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._plain = endpoint.url if endpoint.allow_http else ""

    def __call__(self, request: Any, **_context: Any) -> None:
        url = urlsplit(request.url)
        if url.scheme == "https":
            return
        if self._plain and (url.scheme, url.netloc) == urlsplit(self._plain)[:2]:
            return
        raise StoreMisconfiguredError(
            f"a request was to go to {url.scheme}://{url.netloc}, which is not encrypted",
            hint="Set endpoint_url of the store to its https:// address.",
        )


def _trusted(endpoint: Endpoint) -> str | bool:
    """The certificates to trust: the store's own, else the system's, else those of botocore."""
    if endpoint.ca_bundle is not None:
        return str(endpoint.ca_bundle)
    return next((path for path in SYSTEM_BUNDLES if os.access(path, os.R_OK)), True)


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


class Reply(dict[str, Any]):
    """A server's answer; what it should hold and does not is the server's fault."""

    def __missing__(self, key: str) -> Any:
        raise StoreError(f"the store's answer has no {key}")


class _Body(io.BytesIO):
    """A body whose sending is seen to move.

    Args:
        data: its bytes.
        moving: called at each piece.
    """

    def __init__(self, data: bytes, moving: Callable[[], None]) -> None:
        super().__init__(data)
        self._moving = moving

    def read(self, size: int | None = -1, /) -> bytes:
        """The next piece; larger than the few KiB that are asked for, which costs less."""
        self._moving()
        whole = size is None or size < 0
        return super().read(-1 if whole else _PIECE_BYTES)


class S3Client:
    """Makes single requests of one bucket; safe for several threads, not across fork.

    Args:
        name: the store's name, for messages.
        bucket: the bucket.
        endpoint: where it is.
        moving: called at each request and each piece of a body that is sent.
    """

    def __init__(
        self,
        name: str,
        bucket: str,
        endpoint: Endpoint,
        moving: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.bucket = bucket
        self.endpoint = endpoint
        self.moving = moving
        self._lock = threading.Lock()
        self._client: Any = None

    def call(self, operation: str, *, expect: Collection[str] = (), **params: Any) -> Any:
        """Make one request.

        Args:
            operation: the client's method, such as `head_object`.
            expect: statuses (as text) and codes that are raised as `Answer`.
            params: its parameters, without the bucket.

        Returns:
            What botocore returns.

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
        doing = f"{self.describe()}: {operation} {params.get('Key', '')}".rstrip()
        client = self._get()
        self.moving()
        try:
            return Reply(getattr(client, operation)(Bucket=self.bucket, **self._paced(params)))
        except botocore.exceptions.ClientError as error:
            status, code = answer_of(error)
            if code in expect or str(status) in expect:
                raise Answer(status, code) from error
            if operation == "head_object" and status in _UNCLEAR:
                self._ask_for_code(client, params, doing)
            fault: StoreError = refusal(error, doing, _now())
            if isinstance(fault, StoreIntegrityError):
                # Sent again on a new connection: this one may be what damages the bytes.
                self.renew()
            raise fault from error
        except FAILURES as error:
            fault = failure(error, doing)
            if isinstance(fault, StoreMisconfiguredError):
                # Certificates may be renewed on disk meanwhile: they are read with a new client.
                self.renew()
            raise fault from error
        finally:
            self.moving()

    def describe(self) -> str:
        """The store for people: its name, bucket and address."""
        return f"{self.name} (bucket {self.bucket} at {self.endpoint.url or 'AWS'})"

    def _paced(self, params: dict[str, Any]) -> dict[str, Any]:
        body = params.get("Body")
        if not isinstance(body, bytes) or len(body) <= _PIECE_BYTES:
            return params
        return {**params, "Body": _Body(body, self.moving)}

    def _ask_for_code(self, client: Any, params: dict[str, Any], doing: str) -> None:
        """The answer to a HEAD has no body and so no code: ask in a way that has one."""
        try:
            client.get_object(Bucket=self.bucket, Key=params["Key"], Range="bytes=0-0")[
                "Body"
            ].close()
        except botocore.exceptions.ClientError as error:
            if answer_of(error)[0] in _UNCLEAR:
                raise refusal(error, doing, _now()) from error
        except FAILURES as error:
            raise failure(error, doing) from error

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
