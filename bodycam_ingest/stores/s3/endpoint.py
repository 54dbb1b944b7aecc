"""How an S3 store is reached: its address, keys and certificates, and the client made of them."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import ssl
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import botocore.awsrequest
import botocore.exceptions
import botocore.loaders
import botocore.session
from botocore.config import Config as ClientConfig
from botocore.credentials import EnvProvider, SharedCredentialProvider
from botocore.handlers import add_expect_header

from bodycam_ingest.errors import StoreCredentialsError, StoreMisconfiguredError
from bodycam_ingest.stores.s3.signing import Prehashed, sign_uploads

if TYPE_CHECKING:
    from pathlib import Path

    from botocore.auth import S3SigV4Auth

    from bodycam_ingest.config import S3StoreConfig

# It also bounds how long a send may stall, so it is longer than a mere connect needs.
CONNECT_TIMEOUT_S: Final = 30
READ_TIMEOUT_S: Final = 120
_PIECE_BYTES: Final = 64 * 1024
# A page of a listing is the longest: 1,000 keys of at most 1,024 bytes, each escaped at worst.
_ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
# Where systems keep what `update-ca-certificates` and its kin make: Debian, Red Hat, SUSE, Alpine.
# Not what OpenSSL's environment variables name: those are not the system's.
SYSTEM_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def credentials_of(config: S3StoreConfig) -> Any:
    """The store's keys as botocore reads them, anew at each call; None where a session finds them.

    Raises:
        StoreCredentialsError: there are none, or not all that belong together.
    """
    named = config.credentials
    match named.source:
        case "profile":
            return None
        case "environment":
            names = (named.access_key_variable, named.secret_key_variable)
            place = f"the environment: {', '.join(names)}"
            provider: Any = EnvProvider(
                mapping={
                    "access_key": named.access_key_variable,
                    "secret_key": named.secret_key_variable,
                    "token": named.session_token_variable,
                    # Whether they still hold is for the store to say.
                    "expiry_time": "",
                }
            )
        case "file":
            place = f"{named.path} under [{named.profile}]"
            if not os.access(named.path, os.R_OK):
                raise StoreCredentialsError(f"{named.path} cannot be read")
            provider = SharedCredentialProvider(os.fspath(named.path), named.profile)
    try:
        found = provider.load()
    except botocore.exceptions.BotoCoreError:
        # Its text could hold a part of the secret.
        found = None
    if found is None:
        raise StoreCredentialsError(f"not all keys are in {place}")
    return found


@functools.cache
def _models() -> Any:
    """What botocore knows of S3 and of AWS's regions: half a second to parse, the same for all."""
    return botocore.loaders.create_loader()


def build(config: S3StoreConfig, connections: int, *, auth: type[S3SigV4Auth] = Prehashed) -> Any:
    """An S3 client that never retries, never hashes twice and always checks certificates.

    Raises:
        StoreCredentialsError: there are no keys.
        StoreMisconfiguredError: the settings make no client.
    """
    keys = credentials_of(config)
    _check_ca_bundle(config.ca_bundle)
    profile = config.credentials.profile if config.credentials.source == "profile" else None
    try:
        session = botocore.session.Session(profile=profile)
        session.register_component("data_loader", _models())
        # Times in answers are not looked at, and reading them costs as much as signing does.
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
        client = session.create_client(
            "s3",
            region_name=config.region,
            endpoint_url=config.endpoint_url or None,
            # Passed always: else an environment variable could choose other certificates.
            verify=_trusted(config),
            aws_access_key_id=keys.access_key if keys else None,
            aws_secret_access_key=keys.secret_key if keys else None,
            aws_session_token=keys.token if keys else None,
            config=ClientConfig(
                signature_version="s3v4",
                # Made anew for each request else, as is the comparison of its parameters.
                user_agent="bodycam-ingest",
                parameter_validation=False,
                # Neither the environment nor ~/.aws/config sends evidence to another place.
                ignore_configured_endpoint_urls=True,
                s3={"addressing_style": "path"},
                # The database owns the retries.
                retries={"total_max_attempts": 1, "mode": "standard"},
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                tcp_keepalive=True,
                max_pool_connections=connections,
                # Else botocore adds checksums of its own, framed as trailers, which some refuse.
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise StoreMisconfiguredError(
            f"no client for {config.endpoint_url or 'AWS'}: {error}"
        ) from error
    sign_uploads(client, auth)
    # The one place for it that botocore has: it reads answers whole, however long they are.
    inner = client._endpoint  # noqa: SLF001 - botocore is held to a tested range
    inner.http_session = _BoundedSession(inner.http_session)
    client.meta.events.register_last("before-send.s3", _Guard(config))
    # Bodies that are read piece by piece would wait for leave, which some servers never give.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    return client


class OverlongError(botocore.exceptions.BotoCoreError):  # type: ignore[misc]  # untyped
    """An answer that S3 never gives; told as every other fault that botocore meets."""

    fmt = "the answer is longer than {max_bytes} bytes"


class _BoundedResponse(botocore.awsrequest.AWSResponse):  # type: ignore[misc]  # untyped
    """An answer whose body is not read beyond what S3 ever says."""

    _read: bytes | None = None

    @property
    def content(self) -> bytes:
        """The body; raises `OverlongError` where it is longer than any answer of S3."""
        if self._read is None:
            body = io.BytesIO()
            with contextlib.closing(self.raw.stream(_PIECE_BYTES)) as pieces:
                for piece in pieces:
                    if body.tell() + len(piece) > _ANSWER_BYTES_MAX:
                        break
                    body.write(piece)
                else:
                    self._read = body.getvalue()
        if self._read is None:
            self.raw.close()
            raise OverlongError(max_bytes=_ANSWER_BYTES_MAX)
        return self._read


class _BoundedSession:
    """Sends requests by botocore's own session; what comes back is a `_BoundedResponse`."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def send(self, request: Any) -> Any:
        """The answer; its body is read already, unless the caller reads it piece by piece."""
        streams, request.stream_output = request.stream_output, True
        try:
            reply = self._session.send(request)
        finally:
            request.stream_output = streams
        bounded = _BoundedResponse(reply.url, reply.status_code, reply.headers, reply.raw)
        if not streams:
            _ = bounded.content
        return bounded

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()


class _Guard:
    """Lets no request leave but over TLS, whatever chose its address."""

    def __init__(self, config: S3StoreConfig) -> None:
        self._plain = config.endpoint_url if config.allow_http else ""

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


def _trusted(config: S3StoreConfig) -> str | bool:
    """The certificates to trust: the store's own, else the system's, else those of botocore."""
    if config.ca_bundle is not None:
        return str(config.ca_bundle)
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
