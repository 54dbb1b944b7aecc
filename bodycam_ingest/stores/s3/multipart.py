"""An upload in parts that goes on where it was, whatever was cut off, and never twice.

The journal is written before anything relies on it: the upload id before the first part, each
part's tag after it was taken, `completing` before the call that makes the object. So wherever a
process dies, the next one finds out what the store has by looking.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog

from bodycam_ingest.errors import (
    LocalCopyDamagedError,
    StoreIntegrityError,
    StoreMismatchError,
    StoreUnreachableError,
)
from bodycam_ingest.linux import durable
from bodycam_ingest.model.evidence import FoundObject, StoredObject
from bodycam_ingest.stores.s3.client import Answer, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bodycam_ingest.model.evidence import Digests, StoreObject
    from bodycam_ingest.stores.contract import ByteSource, UploadJournal
    from bodycam_ingest.stores.s3.client import S3Client

log = structlog.get_logger(__name__)

_ROUNDS: Final = 3
# The second is what Ceph says of an upload that was aborted.
_GONE: Final = frozenset({"NoSuchUpload", "NoSuchKey", "404"})
_DECIDED_BY_LOOKING: Final = frozenset({*_GONE, "409", "412", "InvalidPart", "PreconditionFailed"})


class LookOurs(Protocol):
    """Looks at the object's key."""

    def __call__(self) -> FoundObject | None:
        """What lies there, None when nothing; raises `StoreConflictError` when it is not ours."""
        ...


def b64(digest: bytes) -> str:
    """A digest as S3 headers carry it."""
    return base64.b64encode(digest).decode("ascii")


def composite(digests: Digests) -> str:
    """The checksum that a store tells of an object made of these parts."""
    return f"{b64(digests.composite_sha256())}-{len(digests.part_sha256s)}"


def checksums(obj: StoreObject) -> tuple[str, ...]:
    """What a store may tell of the object: its SHA-256, or the composite of its parts."""
    told = composite(obj.digests)
    if len(obj.digests.part_sha256s) == 1:
        return (b64(obj.digests.sha256), told)
    # Some leave the number of parts away.
    return (told, told.partition("-")[0])


def check_local(source: ByteSource, offset: int, data: bytes, expected: bytes, key: str) -> None:
    """After a store refused a digest: find out whether it is the local copy that is wrong.

    Raises:
        LocalCopyDamagedError: it is.
    """
    again = source.read_at(offset, len(data))
    if hashlib.sha256(data).digest() != expected or hashlib.sha256(again).digest() != expected:
        raise LocalCopyDamagedError(
            f"the copy of {key} differs from what was read, from byte {offset}"
        )


class MultipartUpload:
    """One object's upload in parts.

    Args:
        client: makes the requests.
        obj: what shall stand there.
        s3_key: its key with the store's prefix.
        journal: how far it got.
        create_params: what the object is created with: metadata, encryption, lock.
        look_ours: looks at the key.
    """

    def __init__(
        self,
        client: S3Client,
        obj: StoreObject,
        s3_key: str,
        journal: UploadJournal,
        create_params: Mapping[str, Any],
        look_ours: LookOurs,
    ) -> None:
        self._client = client
        self._obj = obj
        self._key = s3_key
        self._journal = journal
        self._create_params = create_params
        self._look_ours = look_ours

    def run(self, source: ByteSource) -> StoredObject:
        """Do what is left to do.

        Args:
            source: the object's bytes.

        Returns:
            What stands there.

        Raises:
            StoreConflictError: another object lies at the key.
            LocalCopyDamagedError: the source has other bytes.
            StoreError: as its subclass says; to be run again.
        """
        for _ in range(_ROUNDS):
            found = self._look_ours()
            if found is not None:
                self.abort_all()
                return self._answer(found)
            if not self._journal.upload_id:
                self._begin()
            there = self._parts_there()
            if there is None or not self._send_parts(source, there):
                self._journal.forgotten()
                continue
            stored = self._complete()
            if stored is not None:
                return stored
            self._journal.forgotten()
        raise StoreUnreachableError(
            f"{self._client.name}: uploads of {self._key} vanish as soon as they are begun"
        )

    def _answer(self, found: FoundObject) -> StoredObject:
        return StoredObject(key=self._obj.key, version_id=found.version_id, etag=found.etag)

    def _begin(self) -> None:
        self.abort_all()
        with durable.act("store.create"):
            begun = self._client.call(
                "create_multipart_upload",
                Key=self._key,
                ChecksumAlgorithm="SHA256",
                **self._create_params,
            )
        with durable.act("upload.begun"):
            self._journal.begun(begun["UploadId"])

    def _parts_there(self) -> dict[int, set[tuple[str, int]]] | None:
        """Tags and sizes of what the store has of each part; None when it knows no such upload."""
        there: dict[int, set[tuple[str, int]]] = {}
        marker = 0
        while True:
            try:
                page = self._client.call(
                    "list_parts",
                    expect=_GONE,
                    Key=self._key,
                    UploadId=self._journal.upload_id,
                    PartNumberMarker=marker,
                )
            except Answer:
                return None
            # One server lists a part that was sent twice as two.
            for part in map(Reply, page.get("Parts") or []):
                tags = there.setdefault(part["PartNumber"], set())
                tags.add((part["ETag"], part["Size"]))
            following = int(page.get("NextPartNumberMarker") or 0)
            if not page.get("IsTruncated") or following <= marker:
                return there
            marker = following

    def _send_parts(self, source: ByteSource, there: dict[int, set[tuple[str, int]]]) -> bool:
        """Send what is missing; False when the store no longer knows the upload."""
        digests = self._obj.digests
        for number, expected in enumerate(digests.part_sha256s, 1):
            offset = (number - 1) * digests.part_size_bytes
            length = min(digests.part_size_bytes, digests.size_bytes - offset)
            tag = self._journal.etags.get(number)
            if tag is not None and (tag, length) in there.get(number, ()):
                continue
            data = source.read_at(offset, length)
            try:
                with durable.act("store.part"):
                    taken = self._client.call(
                        "upload_part",
                        expect=_GONE,
                        Key=self._key,
                        UploadId=self._journal.upload_id,
                        PartNumber=number,
                        Body=data,
                        ChecksumSHA256=b64(expected),
                    )
            except Answer:
                return False
            except StoreIntegrityError:
                check_local(source, offset, data, expected, self._obj.key)
                raise
            with durable.act("upload.part"):
                self._journal.part_stored(number, taken["ETag"])
        return True

    def _complete(self) -> StoredObject | None:
        """Make the object of its parts; None when the store no longer knows the upload."""
        with durable.act("upload.completing"):
            self._journal.completing_now()
        digests = self._obj.digests
        parts = [
            {
                "PartNumber": number,
                "ETag": self._journal.etags[number],
                "ChecksumSHA256": b64(digest),
            }
            for number, digest in enumerate(digests.part_sha256s, 1)
        ]
        try:
            with durable.act("store.complete"):
                made = self._client.call(
                    "complete_multipart_upload",
                    expect=_DECIDED_BY_LOOKING,
                    Key=self._key,
                    UploadId=self._journal.upload_id,
                    IfNoneMatch="*",
                    MultipartUpload={"Parts": parts},
                )
        except Answer as answer:
            return self._decide(answer)
        told = made.get("ChecksumSHA256") or composite(digests)
        if told.partition("-")[0] != b64(digests.composite_sha256()):
            raise StoreMismatchError(f"{self._client.name} made {self._key} with checksum {told}")
        # Another try whose answer was lost may have left an upload of its own.
        self.abort_all()
        return StoredObject(
            key=self._obj.key, version_id=made.get("VersionId", ""), etag=made.get("ETag", "")
        )

    def _decide(self, answer: Answer) -> StoredObject | None:
        found = self._look_ours()
        if found is not None:
            # A 412 or 404 after our own lost answer is normal.
            self.abort_all()
            return self._answer(found)
        if answer.code in _GONE or str(answer.status) in _GONE:
            return None
        self.abort_all()
        self._journal.forgotten()
        raise StoreIntegrityError(
            f"{self._client.name}: the parts of {self._key} were not accepted: {answer}"
        )

    def abort_all(self) -> None:
        """Abort every upload of this key: nobody else has a reason to upload to it."""
        abort_uploads(self._client, self._key)


def abort_uploads(client: S3Client, s3_key: str) -> None:
    """Abort every unfinished upload of one key.

    Args:
        client: makes the requests.
        s3_key: the key with the store's prefix.

    Raises:
        StoreError: as its subclass says.
    """
    for upload_id in _uploads_of(client, s3_key):
        try:
            with durable.act("store.abort"):
                client.call("abort_multipart_upload", expect=_GONE, Key=s3_key, UploadId=upload_id)
        except Answer:
            continue
        log.debug("upload.aborted", store=client.name, key=s3_key)


def _uploads_of(client: S3Client, s3_key: str) -> list[str]:
    found: list[str] = []
    markers: dict[str, str] = {}
    while True:
        page = client.call("list_multipart_uploads", Prefix=s3_key, **markers)
        uploads = map(Reply, page.get("Uploads") or [])
        found += [one["UploadId"] for one in uploads if one["Key"] == s3_key]
        following = {
            "KeyMarker": page.get("NextKeyMarker", ""),
            "UploadIdMarker": page.get("NextUploadIdMarker", ""),
        }
        if not page.get("IsTruncated") or following == markers:
            return found
        markers = following
