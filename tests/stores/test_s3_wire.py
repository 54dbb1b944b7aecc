"""What really passes over the wire to an S3 store, and what happens when it is damaged there."""

from __future__ import annotations

import base64
import hashlib

import pytest

from bodycam_ingest.errors import (
    StoreConflictError,
    StoreIntegrityError,
    StoreMisconfiguredError,
    StoreMismatchError,
    StoreUnreachableError,
)
from bodycam_ingest.model.evidence import ProofKind, StoreProbe
from tests.support.faultproxy import Fault
from tests.support.seaweedfs import LOCKED_BUCKET
from tests.support.sending import (
    PART_BYTES,
    Bytes,
    Journal,
    Sent,
    clip,
    object_of,
    sent,
    some_bytes,
)

PUT = r"^PUT /\S*clip\.mp4"


@pytest.mark.parametrize("size", [0, 10, PART_BYTES + 1])
def test_both_digests_are_sent_and_are_those_of_the_bytes(open_s3, proxy, size):
    store = open_s3()
    data = some_bytes(size)
    store.send(object_of(data), Bytes(data), Journal())
    sent = [seen for seen in proxy.requests if seen.line.startswith("PUT ")]
    parts = [data[at : at + PART_BYTES] for at in range(0, size, PART_BYTES)] or [b""]
    assert len(sent) == len(parts)
    for seen, part in zip(sent, parts, strict=True):
        digest = hashlib.sha256(part)
        assert seen.body_sha256 == digest.hexdigest()
        assert seen.headers["x-amz-content-sha256"] == digest.hexdigest()
        assert base64.b64decode(seen.headers["x-amz-checksum-sha256"]) == digest.digest()
        signed = seen.headers["authorization"]
        assert "x-amz-checksum-sha256" in signed
        assert "x-amz-content-sha256" in signed
        assert "content-encoding" not in seen.headers


def test_only_creating_requests_are_sent(open_s3, proxy):
    store = open_s3()
    for size in (10, PART_BYTES + 1):
        data = some_bytes(size)
        store.send(object_of(data), Bytes(data), Journal())
    creating = [
        seen
        for seen in proxy.requests
        if (seen.line.startswith("PUT ") and "uploadId" not in seen.line)
        or (seen.line.startswith("POST ") and "uploadId" in seen.line)
    ]
    assert len(creating) == 2
    assert all(seen.headers["if-none-match"] == "*" for seen in creating)


@pytest.mark.parametrize("size", [1000, PART_BYTES + 1])
@pytest.mark.parametrize("after", [0, 999])
def test_a_bit_flipped_on_the_way_is_refused_and_sent_again(open_s3, proxy, size, after):
    store = open_s3()
    (data, obj), journal = clip(size), Journal()
    fault = proxy.add(Fault("flip", match=PUT, after=after))
    with pytest.raises(StoreIntegrityError):
        store.send(obj, Bytes(data), journal)
    assert fault.hits == 1
    assert store.look(obj.key) is None
    stored = store.send(obj, Bytes(data), journal)
    assert store.confirm(obj, stored).checksum
    assert b"".join(store.read(obj.key)) == data


@pytest.mark.parametrize("size", [1000, PART_BYTES + 1])
def test_a_look_that_missed_our_own_object_does_no_harm(open_s3, seaweed, proxy, size):
    """Stores may answer from a replica that is behind: then creating is refused, and looked at."""
    store = open_s3()
    data, obj, stored = sent(store, size)
    proxy.add(Fault("status", match="^HEAD ", status=404, code=""))
    again = store.send(obj, Bytes(data), Journal())
    assert again == stored
    assert [seen for seen in proxy.requests if "if-none-match" in seen.headers]
    assert seaweed.uploads(prefix=store._prefix) == []


def test_a_part_that_the_store_lost_is_sent_again(open_s3, proxy):
    store = open_s3()
    (data, obj), journal = clip(2 * PART_BYTES + 1), Journal()
    proxy.add(Fault("refuse", match=r"^PUT \S*partNumber=3"))
    with pytest.raises(StoreUnreachableError):
        store.send(obj, Bytes(data), journal)
    journal.etags[1] = '"of a part that is not there"'
    sent = Sent()
    store.confirm(obj, store.send(obj, Bytes(data), journal, sent))
    assert sent.size_bytes == PART_BYTES + 1
    assert b"".join(store.read(obj.key)) == data


def test_payload_is_not_hashed_again(open_s3, monkeypatch):
    store = open_s3()
    data, obj = clip(PART_BYTES + 1)
    hashed = []

    class Counting:
        def __init__(self, start=b""):
            self._inner = hashlib.sha256(start)
            hashed.append(len(start))

        def update(self, more):
            hashed.append(len(more))
            self._inner.update(more)

        def __getattr__(self, name):
            return getattr(self._inner, name)

    monkeypatch.setattr("botocore.auth.sha256", Counting)
    store.send(obj, Bytes(data), Journal())
    assert hashed, "signing does not use what was counted"
    assert max(hashed) < 10_000


def test_the_store_that_verifies_is_told_by_trying(open_s3, seaweed):
    store = open_s3()
    found = store.probe()
    assert found == StoreProbe(
        verifies_checksum=True, verifies_payload=False, returns_checksum=True, reads_back=False
    )
    assert seaweed.uploads(prefix=store._prefix) == []
    _, obj, stored = sent(store, 10)
    assert store.confirm(obj, stored).proof is ProofKind.STORE_CHECKSUM
    _, obj, stored = sent(store, PART_BYTES + 1)
    assert store.confirm(obj, stored).proof is ProofKind.PART_CHECKSUMS


def methods(proxy):
    return [seen.line.partition(" ")[0] for seen in proxy.requests]


def test_to_a_store_that_refuses_what_exists_a_small_object_takes_two_requests(open_s3, proxy):
    store = open_s3()
    store.identity()
    assert store.probe().creates_only
    data, obj = clip(1000)
    proxy.clear()
    stored = store.send(obj, Bytes(data), Journal())
    assert store.confirm(obj, stored).checksum
    assert methods(proxy) == ["PUT", "HEAD"]
    # Sent once more, as after a lost answer: refused, and found to be ours.
    assert store.send(obj, Bytes(data), Journal()) == stored
    assert methods(proxy) == ["PUT", "HEAD", "PUT", "HEAD"]
    other = some_bytes(1000, seed=1)
    with pytest.raises(StoreConflictError):
        store.send(object_of(other, obj.key), Bytes(other), Journal())
    assert b"".join(store.read(obj.key)) == data


def test_where_a_store_ignores_the_condition_each_key_is_looked_at_first(open_s3, proxy):
    store = open_s3()
    identity = store.identity()
    proxy.add(Fault("status", match=r"^PUT \S*\.bodycam-store", status=200, code=""))
    assert not store.probe().creates_only
    assert store.identity() == identity
    data, obj = clip(1000)
    proxy.clear()
    store.send(obj, Bytes(data), Journal())
    assert methods(proxy) == ["HEAD", "PUT"]


@pytest.mark.parametrize("mark", [None, b"x" * 1000])
def test_a_mark_that_is_not_ours_is_not_put_again(open_s3, seaweed, proxy, mark):
    store = open_s3()
    if mark is not None:
        key = store._prefix + ".bodycam-store"
        seaweed.admin().put_object(Bucket=seaweed.bucket, Key=key, Body=mark)
    assert not store.probe().creates_only
    assert not [
        seen
        for seen in proxy.requests
        if seen.line.startswith("PUT ") and "bodycam-store" in seen.line
    ]


def test_a_store_that_verifies_nothing_is_read_back(open_s3, proxy):
    store = open_s3()
    # What such a store answers to the probe's wrong digests: it takes them.
    proxy.add(Fault("status", match=r"^PUT /\S*\.probe", status=200, code="", times=2))
    assert store.probe().reads_back
    _, obj, stored = sent(store, PART_BYTES + 1)
    proof = store.confirm(obj, stored)
    assert (proof.proof, proof.checksum) == (ProofKind.READ_BACK, obj.digests.sha256.hex())
    proxy.add(Fault("flip_answer", match=r"^GET /\S*clip\.mp4", after=PART_BYTES))
    with pytest.raises(StoreMismatchError):
        store.confirm(obj, stored)


def test_locked_objects_cannot_be_deleted_and_are_known_by_version(open_s3, seaweed):
    store = open_s3(object_lock_days=1, bucket=LOCKED_BUCKET)
    for size in (10, PART_BYTES + 1):
        data, obj, stored = sent(store, size)
        assert stored.version_id
        proof = store.confirm(obj, stored)
        assert proof.stored.version_id == stored.version_id
        target = {"Bucket": LOCKED_BUCKET, "Key": store._prefix + obj.key}
        head = seaweed.admin().head_object(**target, VersionId=stored.version_id)
        assert head["ObjectLockMode"] == "COMPLIANCE"
        with pytest.raises(seaweed.admin().exceptions.ClientError):
            seaweed.admin().delete_object(**target, VersionId=stored.version_id)
        # WORM protects versions, not the key: another version does not touch ours.
        seaweed.admin().put_object(**target, Body=b"other")
        assert store.confirm(obj, stored).checksum == proof.checksum
        assert b"".join(store.read(obj.key, stored.version_id)) == data


def test_a_lock_that_a_server_drops_from_uploads_in_parts_is_set_afterwards(
    open_s3, seaweed, monkeypatch
):
    store = open_s3(object_lock_days=1, bucket=LOCKED_BUCKET)
    obj = object_of(data := some_bytes(PART_BYTES + 1))
    # This server keeps the lock; one that drops it acts as if it had not been asked for.
    unlocked = {"Metadata": dict(obj.metadata), "ContentType": obj.content_type}
    monkeypatch.setattr(store, "_create_params", lambda _obj: unlocked)
    stored = store.send(obj, Bytes(data), Journal())
    target = {"Bucket": LOCKED_BUCKET, "Key": store._prefix + obj.key}
    head = seaweed.admin().head_object(**target, VersionId=stored.version_id)
    assert head["ObjectLockMode"] == "COMPLIANCE"
    assert store.confirm(obj, stored).stored.version_id == stored.version_id


def test_objects_are_encrypted_where_asked(open_s3, seaweed):
    store = open_s3(sse="AES256")
    for size in (10, PART_BYTES + 1):
        data, obj, stored = sent(store, size)
        assert store.confirm(obj, stored).checksum
        target = {"Bucket": seaweed.bucket, "Key": store._prefix + obj.key}
        assert seaweed.client().head_object(**target)["ServerSideEncryption"] == "AES256"
        assert b"".join(store.read(obj.key)) == data


def test_a_store_without_encryption_or_lock_is_not_believed(open_s3):
    data = some_bytes(10)
    plain = open_s3()
    obj = object_of(data)
    stored = plain.send(obj, Bytes(data), Journal())
    for settings in ({"sse": "aws:kms"}, {"object_lock_days": 1}):
        asking = open_s3(**settings, prefix=plain._prefix.rstrip("/"))
        with pytest.raises(StoreMisconfiguredError):
            asking.confirm(obj, stored)
