"""An S3 bucket as a store: create-only, resumed where it was cut off, proven by digests.

A look (HEAD) decides whether an object is ours; a lost answer is never guessed about. The
SHA-256 of an object in parts can be checked by no server: the proof is the digest of each part and
the composite over them, or, where the store verifies neither, reading all of it back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
from typing import TYPE_CHECKING, Any, Final

from ulid import ULID

from bodycam_ingest.errors import (
    LocalCopyDamagedError,
    StoreConflictError,
    StoreError,
    StoreIntegrityError,
    StoreMisconfiguredError,
    StoreMismatchError,
    StoreUnreachableError,
)
from bodycam_ingest.linux import durable
from bodycam_ingest.model.evidence import Confirmation, FoundObject, ProofKind, StoredObject
from bodycam_ingest.stores.contract import at_once, check, check_key, is_ours, must_be_ours
from bodycam_ingest.stores.s3.checksums import b64, check_local, expected_checksums
from bodycam_ingest.stores.s3.client import ExpectedResponse, Reply, S3Client
from bodycam_ingest.stores.s3.errors import FAILURES, failure
from bodycam_ingest.stores.s3.multipart import MultipartUpload
from bodycam_ingest.stores.s3.probe import probe
from bodycam_ingest.stores.s3.settings import check_made, check_size, object_params, retain_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bodycam_ingest.model.evidence import StoreObject, StoreProbe
    from bodycam_ingest.stores.contract import ByteSource, Pace, UploadJournal

MARKER: Final = ".bodycam-store"
# A slow line must give one piece within the time that a thread may be silent.
_CHUNK_BYTES: Final = 64 * 1024
_MARK_BYTES_MAX: Final = 64
_TAKEN: Final = frozenset({"409", "412", "PreconditionFailed"})


class S3Store:
    """Objects in a bucket."""

    on_disk = False

    def __init__(self, client: S3Client) -> None:
        self.name = client.name
        self._client = client
        self._config = client.config
        self._prefix = f"{client.config.prefix}/" if client.config.prefix else ""
        self._probe: StoreProbe | None = None

    def write_together(
        self, batch: Sequence[tuple[StoreObject, ByteSource]], pace: Pace = at_once
    ) -> None:
        """Nothing: S3 has no request that creates more than one object."""

    def send(
        self, obj: StoreObject, source: ByteSource, journal: UploadJournal, pace: Pace = at_once
    ) -> StoredObject:
        """As `ObjectStore.send`."""
        check(obj)
        check_size(obj)
        params = self._create_params(obj)
        if obj.digests.parts > 1:
            upload = MultipartUpload(
                self._client,
                obj,
                self._prefix + obj.key,
                journal,
                params,
                lambda: self._look_ours(obj),
            )
            stored = upload.run(source, pace)
            self._lock(stored)
            return stored
        return self._put(obj, source, params, pace)

    def _create_params(self, obj: StoreObject) -> dict[str, Any]:
        return {
            "Metadata": dict(obj.metadata),
            "ContentType": obj.content_type,
            **object_params(self._config, dt.datetime.now(tz=dt.UTC)),
        }

    def _put(
        self, obj: StoreObject, source: ByteSource, params: dict[str, Any], pace: Pace
    ) -> StoredObject:
        # A store that refuses what exists needs no look before: it answers that it is taken.
        sure = self._probe is not None and self._probe.creates_only
        found = None if sure else self._look_ours(obj)
        if found is not None:
            return StoredObject(obj.key, found.version_id, found.etag)
        data = source.read_at(0, obj.digests.size_bytes)
        if hashlib.sha256(data).digest() != obj.digests.sha256:
            raise LocalCopyDamagedError(f"the copy of {obj.key} is no longer what was read")
        pace(len(data))
        try:
            with durable.act("store.put"):
                made = self._client.call(
                    "put_object",
                    expect=_TAKEN,
                    Key=self._prefix + obj.key,
                    Body=data,
                    ChecksumSHA256=b64(obj.digests.sha256),
                    IfNoneMatch="*",
                    **params,
                )
        except ExpectedResponse as answer:
            # Taken: by our own request whose answer was lost, or by another writer.
            found = self._look_ours(obj)
            if found is None:
                raise StoreUnreachableError(
                    f"{self.name}: {obj.key} is being written by another: {answer}"
                ) from answer
            return StoredObject(obj.key, found.version_id, found.etag)
        except StoreIntegrityError:
            check_local(source, 0, data, obj.key)
            raise
        return StoredObject(obj.key, made.get("VersionId", ""), made.get("ETag", ""))

    def _lock(self, stored: StoredObject) -> None:
        """Some servers drop the lock that an upload in parts was begun with."""
        if not self._config.object_lock_days:
            return
        head = self._head(stored.key, stored.version_id)
        if head is None or head.get("ObjectLockMode"):
            return
        version = stored.version_id or head.get("VersionId", "")
        with durable.act("store.lock"):
            self._client.call(
                "put_object_retention",
                Key=self._prefix + stored.key,
                **({"VersionId": version} if version else {}),
                Retention={
                    "Mode": "COMPLIANCE",
                    "RetainUntilDate": retain_until(self._config, dt.datetime.now(tz=dt.UTC)),
                },
            )

    def confirm(
        self,
        obj: StoreObject,
        stored: StoredObject,
        pace: Pace = at_once,
        source: ByteSource | None = None,
    ) -> Confirmation:
        """As `ObjectStore.confirm`; also encrypted and locked as was asked."""
        head = self._head(obj.key, stored.version_id)
        found = None if head is None else _found(obj.key, head)
        if head is None or found is None or not is_ours(obj, found):
            raise StoreMismatchError(f"{self.name} does not hold {obj.key} as it was stored")
        check_made(self._config, obj.key, head)
        stored = StoredObject(
            obj.key, stored.version_id or found.version_id, found.etag, stored.checksum
        )
        proven = self._probe or self.probe()
        told = found.checksum_sha256
        expected = expected_checksums(obj, stored.checksum, source, pace) if told else ()
        if expected and told not in expected:
            raise StoreMismatchError(
                f"{self.name} tells checksum {told} of {obj.key}, {expected[0]} was sent"
            )
        if expected and not proven.reads_back:
            single = obj.digests.parts == 1
            proof = ProofKind.STORE_CHECKSUM if single else ProofKind.PART_CHECKSUMS
            return Confirmation(stored, proof, told)
        return self._read_back(obj, stored, pace)

    def _read_back(self, obj: StoreObject, stored: StoredObject, pace: Pace) -> Confirmation:
        digest = hashlib.sha256()
        size_bytes = 0
        for chunk in self.read(obj.key, stored.version_id):
            digest.update(chunk)
            size_bytes += len(chunk)
            pace(len(chunk))
        if digest.digest() != obj.digests.sha256:
            raise StoreMismatchError(
                f"{self.name}: {obj.key} came back as {size_bytes} bytes with SHA-256 "
                f"{digest.hexdigest()}, {obj.digests.sha256.hex()} was sent"
            )
        return Confirmation(stored, ProofKind.READ_BACK, digest.hexdigest())

    def look(self, key: str, version_id: str = "") -> FoundObject | None:
        """As `ObjectStore.look`."""
        check_key(key)
        head = self._head(key, version_id)
        return None if head is None else _found(key, head)

    def _look_ours(self, obj: StoreObject) -> FoundObject | None:
        found = self.look(obj.key)
        if found is None:
            return None
        must_be_ours(obj, found)
        told = found.checksum_sha256
        if told and obj.digests.parts == 1 and told not in expected_checksums(obj):
            raise StoreConflictError(f"{obj.key} is taken by other bytes: checksum {told}")
        return found

    def _head(self, key: str, version_id: str) -> dict[str, Any] | None:
        try:
            head: dict[str, Any] = self._client.call(
                "head_object",
                expect=("404", "NoSuchKey", "NoSuchVersion"),
                Key=self._prefix + key,
                ChecksumMode="ENABLED",
                **({"VersionId": version_id} if version_id else {}),
            )
        except ExpectedResponse:
            return None
        return head

    def read(self, key: str, version_id: str = "") -> Iterator[bytes]:
        """As `ObjectStore.read`; raises `StoreMismatchError` where there is no such object."""
        check_key(key)
        try:
            answer = self._client.call(
                "get_object",
                expect=("404", "NoSuchKey", "NoSuchVersion"),
                Key=self._prefix + key,
                **({"VersionId": version_id} if version_id else {}),
            )
        except ExpectedResponse as missing:
            raise StoreMismatchError(f"{self.name} has no {key}") from missing
        body = answer["Body"]
        try:
            yield from body.iter_chunks(_CHUNK_BYTES)
        except FAILURES as error:
            raise failure(error, f"{self.name}: reading {key}") from error
        finally:
            body.close()

    def keys(self, prefix: str) -> Iterator[str]:
        """As `ObjectStore.keys`, sorted."""
        token: dict[str, str] = {}
        seen: set[str] = set()
        while True:
            page = self._client.call("list_objects_v2", Prefix=self._prefix + prefix, **token)
            for found in map(Reply, page.get("Contents") or []):
                key = found["Key"].removeprefix(self._prefix)
                if not key.startswith("."):
                    yield key
            after = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not after:
                return
            if after in seen:
                raise StoreError(f"{self._client.describe()}: its listing does not end")
            seen.add(after)
            token = {"ContinuationToken": after}

    def probe(self) -> StoreProbe:
        """As `ObjectStore.probe`."""
        params = object_params(self._config, dt.datetime.now(tz=dt.UTC))
        found = probe(self._client, self._prefix, params)
        mark = self._read_mark()
        # The one object that is there for good: whoever ignores the condition puts the same bytes
        # over it. What has more bytes is none of ours.
        refuses = mark is not None and len(mark) < _MARK_BYTES_MAX and not self._put_mark(mark)
        self._probe = dataclasses.replace(found, creates_only=refuses)
        return self._probe

    def identity(self, *, first: bool = True) -> str:
        """As `ObjectStore.identity`: a mark in the bucket, made at first contact with it.

        Host names and buckets can come to mean another place; the mark cannot.

        Raises:
            StoreMisconfiguredError: there is no mark, and this is not the first contact.
            StoreError: as its subclass says.
        """
        mark = self._read_mark()
        if mark is None and not first:
            raise StoreMisconfiguredError(
                f"{self._client.describe()} has no {self._prefix}{MARKER}",
                hint="Another bucket or prefix than at first contact: bring the old one back, or "
                "give the new one a name of its own.",
            )
        if mark is None:
            # Where another dock comes first, its mark is the one that counts.
            self._put_mark(f"{ULID()}\n".encode())
            mark = self._read_mark()
        if mark is None:
            raise StoreError(f"{self.name}: {MARKER} was written and is not there")
        return f"s3:{mark.decode('ascii', 'replace').strip()}"

    def _read_mark(self) -> bytes | None:
        """The mark, as far as it may be long; None when there is none."""
        try:
            answer = self._client.call(
                "get_object", expect=("404", "NoSuchKey"), Key=self._prefix + MARKER
            )
        except ExpectedResponse:
            return None
        try:
            with contextlib.closing(answer["Body"]) as body:
                return bytes(body.read(_MARK_BYTES_MAX))
        except FAILURES as error:
            raise failure(error, f"{self.name}: reading {MARKER}") from error

    def _put_mark(self, body: bytes) -> bool:
        """Create the mark; returns whether the store did not refuse it as being there."""
        try:
            self._client.call(
                "put_object",
                expect=_TAKEN,
                Key=self._prefix + MARKER,
                Body=body,
                ChecksumSHA256=b64(hashlib.sha256(body).digest()),
                IfNoneMatch="*",
            )
        except ExpectedResponse:
            return False
        return True

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()


def _found(key: str, head: dict[str, Any]) -> FoundObject:
    return FoundObject(
        key=key,
        size_bytes=head["ContentLength"],
        metadata={name.lower(): value for name, value in (head.get("Metadata") or {}).items()},
        version_id=head.get("VersionId", ""),
        etag=head.get("ETag", ""),
        checksum_sha256=head.get("ChecksumSHA256", ""),
    )
