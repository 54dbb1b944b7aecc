"""Finds out what an S3 store really verifies, by sending it wrong digests.

Everything happens inside one upload in parts that is aborted: nothing is left, also not in a
bucket whose objects cannot be deleted. A checksum that a store only echoes proves nothing.
"""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.errors import StoreMisconfiguredError
from bodycam_ingest.model.evidence import StoreProbe
from bodycam_ingest.model.object_keys import safe_segment
from bodycam_ingest.stores.s3.checksums import b64
from bodycam_ingest.stores.s3.client import ExpectedResponse, S3Client
from bodycam_ingest.stores.s3.endpoint import build
from bodycam_ingest.stores.s3.multipart import abort_uploads
from bodycam_ingest.stores.s3.signing import BodyHashed, WrongPayload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from botocore.auth import S3SigV4Auth

_BODY: Final = b"bodycam-ingest asks what this store verifies\n"
_GOOD: Final = hashlib.sha256(_BODY).digest()
_BAD: Final = hashlib.sha256(b"something else").digest()


class _Asker(S3Client):
    """A client whose uploads are signed in a way of its own."""

    def __init__(self, client: S3Client, auth: type[S3SigV4Auth]) -> None:
        super().__init__(client.config, heartbeat=client.heartbeat)
        self._client = build(client.config, self.connections, auth=auth)

    def renew(self) -> None:
        """Stays as it is: a new client would sign in the usual way."""

    def refuses(self, **params: Any) -> bool:
        """Whether the store refuses a part as wrong.

        Some say 403: to them a wrong payload digest is a wrong signature. That it is no matter of
        rights is shown by the right part, which they must take afterwards.
        """
        try:
            self.call("upload_part", expect=("400", "403"), Body=_BODY, **params)
        except ExpectedResponse:
            return True
        return False


def probe(client: S3Client, prefix: str, params: Mapping[str, Any]) -> StoreProbe:
    """Ask a store what it verifies, with objects created as `params` say.

    The prefix is the store's, empty or ending in a slash.

    Raises:
        StoreMisconfiguredError: it refuses what is right.
        StoreError: as its subclass says.
    """
    # One key a machine: what a probe that was cut off left is found again by the next.
    key = f"{prefix}.probe/{safe_segment(socket.gethostname())}"
    abort_uploads(client, key)
    upload_id = _begin(client, key, params)
    try:
        return _ask(client, {"Key": key, "UploadId": upload_id, "PartNumber": 1})
    finally:
        abort_uploads(client, key)


def _begin(client: S3Client, key: str, params: Mapping[str, Any]) -> str:
    try:
        begun = client.call(
            "create_multipart_upload",
            expect=("InvalidRequest", "InvalidArgument"),
            Key=key,
            ChecksumAlgorithm="SHA256",
            **params,
        )
    except ExpectedResponse as answer:
        asked = ", ".join(sorted(params)) or "nothing"
        raise StoreMisconfiguredError(
            f"{client.describe()} takes no object with {asked}: {answer}",
            hint="Switch Object Lock on for the bucket or set object_lock_days = 0; compare sse, "
            "kms_key_id and storage_class with what the store has.",
        ) from answer
    return str(begun["UploadId"])


def _ask(client: S3Client, part: Mapping[str, Any]) -> StoreProbe:
    body_hashed = _Asker(client, BodyHashed)
    wrongly = _Asker(client, WrongPayload)
    try:
        checksum = body_hashed.refuses(**part, ChecksumSHA256=b64(_BAD))
        payload = wrongly.refuses(**part)
    finally:
        body_hashed.close()
        wrongly.close()
    try:
        taken = client.call(
            "upload_part", expect=("400",), Body=_BODY, ChecksumSHA256=b64(_GOOD), **part
        )
    except ExpectedResponse as answer:
        raise StoreMisconfiguredError(
            f"{client.name} refuses a part with the right digests: {answer}",
            hint="Look for a proxy that changes requests.",
        ) from answer
    return StoreProbe(
        verifies_checksum=checksum,
        verifies_payload=payload,
        returns_checksum=taken.get("ChecksumSHA256") == b64(_GOOD),
        reads_back=not (checksum or payload),
    )
