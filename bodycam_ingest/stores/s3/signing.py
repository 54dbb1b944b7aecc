"""Request signing with the digest that is known already, instead of hashing again.

No S3 server is known to check both digests, each checks one. So the same SHA-256, taken while the
item was read from its camera, is sent twice in one request: as `x-amz-checksum-sha256` and as the
signed payload digest (AWS Signature Version 4). This leans on internals of botocore, which is
therefore pinned; a test looks at both headers on the wire.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import botocore.auth

CHECKSUM_HEADER: Final = "x-amz-checksum-sha256"
_PREHASHED: Final = "s3v4-prehashed"
_BODY_HASHED: Final = "s3v4-body-hashed"
_WRONG: Final = "s3v4-wrong-payload"
_WRONG_DIGEST: Final = hashlib.sha256(b"not what is sent").hexdigest()
_OPERATIONS: Final = ("PutObject", "UploadPart")


class _PrehashedAuth(botocore.auth.S3SigV4Auth):  # type: ignore[misc] # botocore has no types
    """The payload digest is the checksum header's."""

    def payload(self, request: Any) -> str:
        checksum = request.headers.get(CHECKSUM_HEADER)
        if checksum is None:
            return str(super().payload(request))
        return base64.b64decode(checksum).hex()


class _BodyHashedAuth(botocore.auth.S3SigV4Auth):  # type: ignore[misc] # botocore has no types
    """The payload digest is that of the body, over TLS too."""

    def _should_sha256_sign_payload(self, request: Any) -> bool:
        del request
        return True


class _WrongPayloadAuth(botocore.auth.S3SigV4Auth):  # type: ignore[misc] # botocore has no types
    """The payload digest is not that of the body: what a probe sends."""

    def payload(self, request: Any) -> str:
        del request
        return _WRONG_DIGEST


botocore.auth.AUTH_TYPE_MAPS[_PREHASHED] = _PrehashedAuth
botocore.auth.AUTH_TYPE_MAPS[_BODY_HASHED] = _BodyHashedAuth
botocore.auth.AUTH_TYPE_MAPS[_WRONG] = _WrongPayloadAuth


def _sign_with(client: Any, signer: str) -> None:
    def choose(**_context: Any) -> str:
        return signer

    for operation in _OPERATIONS:
        client.meta.events.register_last(f"choose-signer.s3.{operation}", choose)


def sign_prehashed(client: Any) -> None:
    """Have uploads of a client signed with the digest that they carry."""
    _sign_with(client, _PREHASHED)


def sign_body_hashed(client: Any) -> None:
    """Have uploads of a client signed with the digest of their bodies."""
    _sign_with(client, _BODY_HASHED)


def sign_wrongly(client: Any) -> None:
    """Have uploads of a client signed with a digest that is not their bodies'."""
    _sign_with(client, _WRONG)
