"""What an S3 server or the way to it says, sorted into the tree of faults, once.

Codes decide, then the status. What is not known here is a `StoreError`: slow, with an alarm.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import ssl
from typing import TYPE_CHECKING, Final

import botocore.exceptions as be
import urllib3.exceptions
from botocore.httpsession import URLLib3SSLError
from botocore.parsers import ResponseParserError

from bodycam_ingest.errors import (
    StoreClockSkewError,
    StoreCredentialsError,
    StoreError,
    StoreFullError,
    StoreIntegrityError,
    StoreMisconfiguredError,
    StoreThrottledError,
    StoreTooLargeError,
    StoreUnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_CODES_OF: Final[Mapping[type[StoreError], tuple[str, ...]]] = {
    StoreUnreachableError: (
        "RequestTimeout",
        "RequestTimeoutException",
        "InternalError",
        "ServiceUnavailable",
        "BadGateway",
        "GatewayTimeout",
        "OperationAborted",
        "NoSuchUpload",
        "ConditionalRequestConflict",
    ),
    StoreThrottledError: (
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "TooManyRequests",
        "Throttling",
        "ThrottlingException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "Busy",
    ),
    StoreClockSkewError: (
        "RequestTimeTooSkewed",
        "RequestExpired",
    ),
    StoreCredentialsError: (
        "ExpiredToken",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "TokenRefreshRequired",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
    ),
    StoreMisconfiguredError: (
        "NoSuchBucket",
        "AccessDenied",
        "AllAccessDisabled",
        "AccountProblem",
        "PermanentRedirect",
        "TemporaryRedirect",
        "Redirect",
        "AuthorizationHeaderMalformed",
        "NotImplemented",
        "MissingContentLength",
        "InvalidBucketName",
        "InvalidBucketState",
        "NotSignedUp",
        "InvalidStorageClass",
        "InvalidEncryptionAlgorithmError",
        "MethodNotAllowed",
        "ObjectLockConfigurationNotFoundError",
        "IllegalLocationConstraintException",
        "InvalidRegion",
        "UserSuspended",
        "InvalidObjectState",
        "AccessForbidden",
    ),
    StoreIntegrityError: (
        "BadDigest",
        "InvalidDigest",
        "XAmzContentSHA256Mismatch",
        "XAmzContentChecksumMismatch",
        "IncompleteBody",
        "InvalidPart",
        "InvalidPartOrder",
    ),
    StoreTooLargeError: ("EntityTooLarge",),
    StoreFullError: (
        "QuotaExceeded",
        "InsufficientStorage",
        "InsufficientCapacity",
        "StorageFull",
        "XMinioStorageFull",
        "XMinioAdminBucketQuotaExceeded",
    ),
}
_CODES: Final = {code: kind for kind, codes in _CODES_OF.items() for code in codes}
_STATUSES: Final[Mapping[int, type[StoreError]]] = {
    401: StoreCredentialsError,
    403: StoreMisconfiguredError,
    405: StoreMisconfiguredError,
    408: StoreUnreachableError,
    411: StoreMisconfiguredError,
    429: StoreThrottledError,
    500: StoreUnreachableError,
    501: StoreMisconfiguredError,
    502: StoreUnreachableError,
    503: StoreThrottledError,
    504: StoreUnreachableError,
    507: StoreFullError,
}
_TRANSIENT: Final = (
    be.EndpointConnectionError,
    be.ConnectTimeoutError,
    be.ReadTimeoutError,
    be.ConnectionClosedError,
    be.ResponseStreamingError,
    be.IncompleteReadError,
    be.HTTPClientError,
    # Not the certificate, that was sorted out before: the line broke inside of TLS.
    be.SSLError,
    URLLib3SSLError,
    # Under the body of an answer, which is read outside of botocore's own translation.
    urllib3.exceptions.ProtocolError,
    urllib3.exceptions.TimeoutError,
    ResponseParserError,
)
_CREDENTIALS: Final = (
    be.NoCredentialsError,
    be.PartialCredentialsError,
    be.CredentialRetrievalError,
    be.TokenRetrievalError,
    be.UnauthorizedSSOTokenError,
)
# What comes of an answer that is none: a number that is no number, a date of the year 10^20.
_UNINTELLIGIBLE: Final = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    # Of a time that no calendar has; and too deep a nesting.
    RuntimeError,
    MemoryError,
    urllib3.exceptions.HTTPError,
)
FAILURES: Final = (be.BotoCoreError, ResponseParserError, URLLib3SSLError, *_UNINTELLIGIBLE)
"""What a request, or reading the body of its answer, can raise besides a server's refusal."""
_SAID_CHARS_MAX: Final = 500
_DIGITS_MAX: Final = 12
# A server refuses requests that are more than 15 minutes off.
_SKEW_MAX: Final = dt.timedelta(minutes=14)
_HINT_HEAD: Final = (
    "The keys need the rights to list, get and put: a look at a missing object is refused without."
)


def answer_of(error: be.ClientError) -> tuple[int, str]:
    """Status and code of a server's refusal; a HEAD has its status for a code."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status), str(error.response.get("Error", {}).get("Code", ""))[:_SAID_CHARS_MAX]


def _headers(error: be.ClientError) -> Mapping[str, str]:
    found: Mapping[str, str] = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return found


def skew(headers: Mapping[str, str], now: dt.datetime) -> dt.timedelta | None:
    """How far the dock's clock is ahead of the `Date` of an answer, None where that has none."""
    date = headers.get("date", "")
    if not date:
        return None
    try:
        said = email.utils.parsedate_to_datetime(date)
        # RFC 5322 lets "-0000" mean: UTC, zone unknown.
        return now - (said if said.tzinfo else said.replace(tzinfo=dt.UTC))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `Retry-After` header, None where there is none in seconds (RFC 9110)."""
    text = headers.get("retry-after", "").strip()
    return float(text) if text.isdecimal() and len(text) <= _DIGITS_MAX else None


def refusal(error: be.ClientError, doing: str, now: dt.datetime) -> StoreError:
    """The fault that a server's refusal stands for, to be raised from it."""
    status, code = answer_of(error)
    headers = _headers(error)
    said = str(error.response.get("Error", {}).get("Message") or "")[:_SAID_CHARS_MAX]
    message = f"{doing}: {status} {code}: {said}" if said else f"{doing}: {status} {code}"
    kind = _CODES.get(code) or _STATUSES.get(status, StoreError)
    if status in {301, 302, 307, 308} or code.startswith("KMS."):
        kind = StoreMisconfiguredError
    if status == 403:  # noqa: PLR2004 - a bare 403 is all that a HEAD says of a skewed clock
        off = skew(headers, now)
        if off is not None and abs(off) > _SKEW_MAX:
            minutes = round(off.total_seconds() / 60)
            return StoreClockSkewError(f"{message}; the dock's clock is {minutes} minutes ahead")
    hint = _HINT_HEAD if kind is StoreMisconfiguredError and code == "403" else ""
    return kind(message, hint=hint, retry_after_s=retry_after_s(headers))


def _causes(error: BaseException) -> list[BaseException]:
    """An error and everything that it was made of: urllib3 hides the cause in arguments."""
    found: list[BaseException] = [error]
    for known in found:
        inner = [*known.args, getattr(known, "reason", None), known.__cause__]
        inner += list(getattr(known, "kwargs", {}).values())
        found.extend(one for one in inner if isinstance(one, BaseException) and one not in found)
    return found


def failure(error: Exception, doing: str) -> StoreError:
    """The fault that a failure on this side of the wire stands for, to be raised from it.

    It is one of `FAILURES`.
    """
    message = f"{doing}: {str(error)[:_SAID_CHARS_MAX]}"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        return StoreMisconfiguredError(
            message, hint="The store's certificate is not trusted: see ca_bundle and endpoint_url."
        )
    if isinstance(error, _CREDENTIALS):
        return StoreCredentialsError(message)
    if isinstance(error, _TRANSIENT):
        return StoreUnreachableError(message)
    if isinstance(error, be.ProfileNotFound | be.ConfigParseError | be.ConfigNotFound):
        return StoreMisconfiguredError(message)
    if isinstance(error, _UNINTELLIGIBLE):
        return StoreError(f"{doing}: the answer cannot be understood: {type(error).__name__}")
    return StoreError(message)
