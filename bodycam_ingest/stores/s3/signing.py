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
_WRONG_DIGEST: Final = hashlib.sha256(b"not what is sent").hexdigest()
_OPERATIONS: Final = ("PutObject", "UploadPart")


class Prehashed(botocore.auth.S3SigV4Auth):  # type: ignore[misc] # botocore has no types
    """The payload digest is the checksum header's."""

    def payload(self, request: Any) -> str:
        """The digest, hex."""
        checksum = request.headers.get(CHECKSUM_HEADER)
        if checksum is None:
            return str(super().payload(request))
        return base64.b64decode(checksum).hex()


class BodyHashed(botocore.auth.S3SigV4Auth):  # type: ignore[misc] # botocore has no types
    """The payload digest is that of the body, over TLS too."""

    def _should_sha256_sign_payload(self, request: Any) -> bool:
        del request
        return True


class WrongPayload(botocore.auth.S3SigV4Auth):  # type: ignore[misc] # botocore has no types
    """The payload digest is not that of the body: what a probe sends."""

    def payload(self, request: Any) -> str:
        """The digest, hex."""
        del request
        return _WRONG_DIGEST


def sign_uploads(client: Any, auth: type[botocore.auth.S3SigV4Auth]) -> None:
    """Have uploads of a client signed by one of the classes above."""
    signer = f"s3v4-{auth.__name__}"
    botocore.auth.AUTH_TYPE_MAPS[signer] = auth

    def choose(**_context: Any) -> str:
        return signer

    for operation in _OPERATIONS:
        client.meta.events.register_last(f"choose-signer.s3.{operation}", choose)
