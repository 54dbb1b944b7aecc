"""Single requests of one bucket: what is sent is seen to move, what goes wrong is translated."""

from __future__ import annotations

import datetime as dt
import io
import threading
from typing import TYPE_CHECKING, Any, Final

import botocore.exceptions

from bodycam_ingest.errors import (
    StoreCredentialsError,
    StoreError,
    StoreIntegrityError,
    StoreMisconfiguredError,
)
from bodycam_ingest.stores.s3.endpoint import build
from bodycam_ingest.stores.s3.errors import FAILURES, answer_of, failure, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from bodycam_ingest.config import S3StoreConfig

_PIECE_BYTES: Final = 256 * 1024
_UNCLEAR: Final = frozenset({400, 403})


class ExpectedResponse(Exception):  # noqa: N818 - an answer that the caller asked to be told, no fault
    """A refusal that the caller expects and knows what to do about.

    The code is the HTTP status again where the answer had no body.
    """

    def __init__(self, status: int, code: str) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.UTC)


class Reply(dict[str, Any]):
    """A server's answer; what it should hold and does not is the server's fault."""

    def __missing__(self, key: str) -> Any:
        raise StoreError(f"the store's answer has no {key}")


class _Body(io.BytesIO):
    """A body whose sending is seen to move."""

    def __init__(self, data: bytes, heartbeat: Callable[[], None]) -> None:
        super().__init__(data)
        self._heartbeat = heartbeat

    def read(self, size: int | None = -1, /) -> bytes:
        """The next piece; larger than the few KiB that are asked for, which costs less."""
        self._heartbeat()
        whole = size is None or size < 0
        return super().read(-1 if whole else _PIECE_BYTES)


class S3Client:
    """Makes single requests of one bucket; safe for several threads, not across fork.

    So many connections are kept open at most. The heartbeat is called at each request and each
    piece of a body that is sent.
    """

    def __init__(
        self,
        config: S3StoreConfig,
        *,
        connections: int = 10,
        heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        self.config: Final = config
        self.connections: Final = connections
        self.name: Final = config.name
        self.heartbeat = heartbeat
        self._lock = threading.Lock()
        self._client: Any = None

    def call(self, operation: str, *, expect: Collection[str] = (), **params: Any) -> Any:
        """Make one request.

        Args:
            operation: the client's method, such as `head_object`.
            expect: statuses (as text) and codes that are raised as `ExpectedResponse`.
            params: its parameters, without the bucket.

        Raises:
            ExpectedResponse: one of `expect`.
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
        self.heartbeat()
        try:
            return Reply(
                getattr(client, operation)(Bucket=self.config.bucket, **self._paced(params))
            )
        except botocore.exceptions.ClientError as error:
            status, code = answer_of(error)
            if code in expect or str(status) in expect:
                raise ExpectedResponse(status, code) from error
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
            self.heartbeat()

    def describe(self) -> str:
        """The store for people: its name, bucket and address."""
        return f"{self.name} (bucket {self.config.bucket} at {self.config.endpoint_url or 'AWS'})"

    def _paced(self, params: dict[str, Any]) -> dict[str, Any]:
        body = params.get("Body")
        if not isinstance(body, bytes) or len(body) <= _PIECE_BYTES:
            return params
        return {**params, "Body": _Body(body, self.heartbeat)}

    def _ask_for_code(self, client: Any, params: dict[str, Any], doing: str) -> None:
        """The answer to a HEAD has no body and so no code: ask in a way that has one."""
        try:
            client.get_object(Bucket=self.config.bucket, Key=params["Key"], Range="bytes=0-0")[
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
                self._client = build(self.config, self.connections)
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
