"""An upload in parts that continues where it was, whatever was cut off, and never twice.

The journal is written before anything relies on it: the upload id before the first part, each
part's tag after it was taken, `completing` before the call that makes the object. So wherever a
process dies, the next one finds out what the store has by looking.

Each pass over the parts hashes the whole of the local copy beside them, and the object is made only
when that is the item's.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.errors import (
    LocalCopyDamagedError,
    StoreConflictError,
    StoreError,
    StoreIntegrityError,
    StoreMismatchError,
    StoreUnreachableError,
)
from bodycam_ingest.linux import durable
from bodycam_ingest.log import log
from bodycam_ingest.model.evidence import StoredObject
from bodycam_ingest.stores.s3.checksums import LocalParts, b64, check_local, is_checksum
from bodycam_ingest.stores.s3.client import ExpectedResponse, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bodycam_ingest.model.evidence import FoundObject, StoreObject
    from bodycam_ingest.stores.contract import ByteSource, Pace, UploadJournal
    from bodycam_ingest.stores.s3.client import S3Client


_ROUNDS: Final = 3
# The second is what Ceph says of an upload that was aborted.
_GONE: Final = frozenset({"NoSuchUpload", "NoSuchKey", "404"})
_DECIDED_BY_LOOKING: Final = frozenset({*_GONE, "409", "412", "InvalidPart", "PreconditionFailed"})


class MultipartUpload:
    """One object's upload in parts.

    It is created under its key with the store's prefix. `look_ours` tells what lies there, None for
    nothing, and raises `StoreConflictError` when that is not ours.
    """

    def __init__(
        self,
        client: S3Client,
        obj: StoreObject,
        s3_key: str,
        journal: UploadJournal,
        create_params: Mapping[str, Any],
        look_ours: Callable[[], FoundObject | None],
    ) -> None:
        self._client = client
        self._obj = obj
        self._key = s3_key
        self._journal = journal
        self._create_params = create_params
        self._look_ours = look_ours

    def run(self, source: ByteSource, pace: Pace) -> StoredObject:
        """Do what is left to do; as `ObjectStore.send`."""
        for _ in range(_ROUNDS):
            local = LocalParts(self._obj, source)
            found = self._look_ours()
            if found is not None:
                self.abort_all()
                return self._answer(found, local, pace)
            if not self._journal.upload_id:
                self._begin()
            stored = self._send(local, source, pace)
            if stored is not None:
                return stored
            self._journal.forgotten()
        raise StoreUnreachableError(
            f"{self._client.name}: uploads of {self._key} vanish as soon as they are begun"
        )

    def _answer(self, found: FoundObject, local: LocalParts, pace: Pace) -> StoredObject:
        """What stands at the key already, and is ours by its metadata."""
        expected, told = "", found.checksum_sha256
        if told:
            expected = local.composite(pace)
            if not is_checksum(told, expected):
                raise StoreConflictError(f"{self._obj.key} is taken by other bytes: {told}")
        return StoredObject(self._obj.key, found.version_id, found.etag, expected)

    def _send(self, local: LocalParts, source: ByteSource, pace: Pace) -> StoredObject | None:
        """Send what is missing, make the object; None when the store knows the upload no more."""
        there = self._parts_there()
        if there is None:
            return None
        try:
            sent = self._send_parts(local, source, there, pace)
        except LocalCopyDamagedError:
            # Where this fails too, whoever sends to the key next aborts it.
            with contextlib.suppress(StoreError):
                self.abort_all()
            self._journal.forgotten()
            raise
        return self._complete(local, pace) if sent else None

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

    def _parts_there(self) -> dict[int, list[Reply]] | None:
        """What the store has of each part, as it says; None when it knows no such upload."""
        there: dict[int, list[Reply]] = {}
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
            except ExpectedResponse:
                return None
            # One server lists a part that was sent twice as two.
            for part in map(Reply, page.get("Parts") or []):
                there.setdefault(part["PartNumber"], []).append(part)
            following = int(page.get("NextPartNumberMarker") or 0)
            if not page.get("IsTruncated") or following <= marker:
                return there
            marker = following

    def _send_parts(
        self, local: LocalParts, source: ByteSource, there: dict[int, list[Reply]], pace: Pace
    ) -> bool:
        """Send what is missing; False when the store no longer knows the upload."""
        for number, data, digest in local:
            tag = self._journal.etags.get(number)
            if any(_is_part(part, tag, len(data), digest) for part in there.get(number, ())):
                pace(0)
                continue
            pace(len(data))
            try:
                with durable.act("store.part"):
                    taken = self._client.call(
                        "upload_part",
                        expect=_GONE,
                        Key=self._key,
                        UploadId=self._journal.upload_id,
                        PartNumber=number,
                        Body=data,
                        ChecksumSHA256=b64(digest),
                    )
            except ExpectedResponse:
                return False
            except StoreIntegrityError:
                offset = (number - 1) * self._obj.digests.part_size_bytes
                check_local(source, offset, data, self._obj.key)
                raise
            with durable.act("upload.part"):
                self._journal.part_stored(number, taken["ETag"])
        return True

    def _complete(self, local: LocalParts, pace: Pace) -> StoredObject | None:
        """Make the object of its parts; None when the store no longer knows the upload."""
        with durable.act("upload.completing"):
            self._journal.completing_now()
        parts = [
            {
                "PartNumber": number,
                "ETag": self._journal.etags[number],
                "ChecksumSHA256": b64(digest),
            }
            for number, digest in enumerate(local.digests, 1)
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
        except ExpectedResponse as answer:
            return self._decide(answer, local, pace)
        except StoreIntegrityError:
            # A part of other bytes lies there, as of a copy that was misread: all are sent again.
            self.abort_all()
            self._journal.forgotten()
            raise
        expected = local.composite(pace)
        told = made.get("ChecksumSHA256")
        if told and not is_checksum(told, expected):
            raise StoreMismatchError(f"{self._client.name} made {self._key} with checksum {told}")
        # Another try whose answer was lost may have left an upload of its own.
        self.abort_all()
        return StoredObject(
            self._obj.key, made.get("VersionId", ""), made.get("ETag", ""), expected
        )

    def _decide(
        self, answer: ExpectedResponse, local: LocalParts, pace: Pace
    ) -> StoredObject | None:
        found = self._look_ours()
        if found is not None:
            # A 412 or 404 after our own lost answer is normal.
            self.abort_all()
            return self._answer(found, local, pace)
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


def _is_part(part: Reply, tag: str | None, size_bytes: int, digest: bytes) -> bool:
    """Whether what the store has is the part that was sent under this tag, with these bytes."""
    told = part.get("ChecksumSHA256")
    return (
        tag is not None
        and (part["ETag"], part["Size"]) == (tag, size_bytes)
        and (not told or told == b64(digest))
    )


def abort_uploads(client: S3Client, s3_key: str) -> None:
    """Abort every unfinished upload of one key, given with the store's prefix."""
    for upload_id in _uploads_of(client, s3_key):
        try:
            with durable.act("store.abort"):
                client.call("abort_multipart_upload", expect=_GONE, Key=s3_key, UploadId=upload_id)
        except ExpectedResponse:
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
