"""Uploads in parts: what goes out, and what went out before, is the copy that was verified."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest

from bodycam_ingest.errors import (
    LocalCopyDamagedError,
    StoreConflictError,
    StoreIntegrityError,
    StoreMismatchError,
    StoreUnreachableError,
)
from bodycam_ingest.model.evidence import ProofKind
from bodycam_ingest.stores.s3.checksums import b64
from bodycam_ingest.stores.s3.client import S3Client
from tests.support.faultproxy import Fault
from tests.support.sending import PART_BYTES, Bytes, Journal, Sent, clip, sent

pytestmark = pytest.mark.server

SIZE_BYTES = 2 * PART_BYTES + 1


def rotten(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def cut_off_at(store, proxy, obj, data, part):
    """An upload of which the parts before `part` were sent; returns its journal."""
    journal = Journal()
    proxy.add(Fault("refuse", match=rf"^PUT \S*partNumber={part}"))
    with pytest.raises(StoreUnreachableError):
        store.send(obj, Bytes(data), journal)
    assert sorted(journal.etags) == list(range(1, part))
    return journal


def test_a_part_that_rots_after_it_was_sent_keeps_the_object_from_being_made(
    open_s3, proxy, seaweed
):
    store = open_s3()
    data, obj = clip(SIZE_BYTES)
    journal = cut_off_at(store, proxy, obj, data, 3)
    with pytest.raises(LocalCopyDamagedError):
        store.send(obj, Bytes(rotten(data, 0)), journal)
    assert store.look(obj.key) is None
    assert seaweed.uploads(prefix=store._prefix) == []
    assert journal.upload_id == ""


def test_a_part_that_was_sent_from_other_bytes_is_sent_again(open_s3, proxy, seaweed):
    """As where the copy was misread once: the store has other bytes than the copy gives now."""
    store = open_s3()
    data, obj = clip(SIZE_BYTES)
    journal = cut_off_at(store, proxy, obj, rotten(data, 0), 3)
    # This server tells no digest of a part when it lists them; it compares them at the end.
    with pytest.raises(StoreIntegrityError):
        store.send(obj, Bytes(data), journal)
    assert journal.upload_id == ""
    assert seaweed.uploads(prefix=store._prefix) == []
    stored = store.send(obj, Bytes(data), journal)
    assert store.confirm(obj, stored).proof is ProofKind.PART_CHECKSUMS
    assert b"".join(store.read(obj.key)) == data


def test_where_the_list_tells_digests_a_part_of_other_bytes_is_not_taken_for_ours(
    open_s3, proxy, monkeypatch
):
    store = open_s3()
    data, obj = clip(SIZE_BYTES)
    bad = rotten(data, 0)
    journal = cut_off_at(store, proxy, obj, bad, 3)
    call = S3Client.call

    def telling(self, operation, **params):
        answer = call(self, operation, **params)
        for part in answer.get("Parts", ()) if operation == "list_parts" else ():
            at = (part["PartNumber"] - 1) * PART_BYTES
            part["ChecksumSHA256"] = b64(hashlib.sha256(bad[at : at + PART_BYTES]).digest())
        return answer

    monkeypatch.setattr(S3Client, "call", telling)
    sent = Sent()
    stored = store.send(obj, Bytes(data), journal, sent)
    # The first part, which is another now, and the last, which was not sent before.
    assert sent.size_bytes == PART_BYTES + 1
    assert store.confirm(obj, stored).proof is ProofKind.PART_CHECKSUMS
    assert b"".join(store.read(obj.key)) == data


def test_a_rotten_copy_stays_damaged_when_the_abort_fails_too(open_s3, proxy):
    store = open_s3()
    data, obj = clip(SIZE_BYTES)
    proxy.add(Fault("refuse", match=r"^GET \S*uploads", skip=1, times=-1))
    with pytest.raises(LocalCopyDamagedError):
        store.send(obj, Bytes(rotten(data, SIZE_BYTES - 1)), Journal())
    proxy.clear()
    assert store.look(obj.key) is None


def test_after_a_restart_the_checksum_is_taken_from_the_local_copy(open_s3):
    store = open_s3()
    data, obj = clip(SIZE_BYTES)
    stored = dataclasses.replace(store.send(obj, Bytes(data), Journal()), checksum="")
    proof = store.confirm(obj, stored, source=Bytes(data))
    assert proof.proof is ProofKind.PART_CHECKSUMS


@pytest.mark.parametrize("local", ["none", "rotten"])
def test_where_nobody_knows_the_checksum_the_bytes_are_read_back(open_s3, local):
    store = open_s3()
    data, obj = clip(SIZE_BYTES)
    stored = dataclasses.replace(store.send(obj, Bytes(data), Journal()), checksum="")
    source = Bytes(rotten(data, 7)) if local == "rotten" else None
    proof = store.confirm(obj, stored, source=source)
    assert (proof.proof, proof.checksum) == (ProofKind.READ_BACK, obj.digests.sha256.hex())


def test_the_object_of_another_with_our_metadata_is_a_conflict(open_s3, seaweed):
    store = open_s3()
    data, obj, _ = sent(store, SIZE_BYTES)
    other = rotten(data, SIZE_BYTES - 1)
    seaweed.admin().put_object(
        Bucket=seaweed.bucket,
        Key=store._prefix + obj.key,
        Body=other,
        Metadata=dict(obj.metadata),
        ChecksumAlgorithm="SHA256",
    )
    with pytest.raises(StoreConflictError):
        store.send(obj, Bytes(data), Journal())


def test_what_a_store_confirmed_once_is_held_against_what_it_tells_later(open_s3):
    store = open_s3()
    data, obj = clip(SIZE_BYTES)
    proof = store.confirm(obj, store.send(obj, Bytes(data), Journal()))
    again = dataclasses.replace(proof.stored, checksum=proof.checksum)
    assert store.confirm(obj, again).checksum == proof.checksum
    other = dataclasses.replace(proof.stored, checksum="A" + proof.checksum[1:])
    with pytest.raises(StoreMismatchError):
        store.confirm(obj, other)
