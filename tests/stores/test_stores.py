"""One contract for every store: the fake, a directory, a real S3 server over TLS."""

from __future__ import annotations

import hashlib
import itertools
import threading

import pytest

from bodycam_ingest.errors import (
    LocalCopyDamagedError,
    StoreConflictError,
    StoreError,
    StoreMismatchError,
    StoreUnreachableError,
)
from tests.support.sending import PART_BYTES, Bytes, Journal, Sent, clip, object_of, some_bytes
from tests.support.threads import together

SIZES = {
    "empty": 0,
    "one byte": 1,
    "one page less one": 4095,
    "one part": PART_BYTES,
    "one part and one byte": PART_BYTES + 1,
    "two parts": 2 * PART_BYTES,
    "three parts, the last one odd": 2 * PART_BYTES + 77_777,
}


def send(store, data, **metadata):
    obj = object_of(data, **metadata)
    return obj, store.send(obj, Bytes(data), Journal())


def read(store, obj, stored=None):
    return b"".join(store.read(obj.key, stored.version_id if stored else ""))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES.keys())
def test_what_is_sent_stands_there_and_is_proven(harness, store, size):
    data = some_bytes(size)
    obj, stored = send(store, data)
    proof = store.confirm(obj, stored)
    assert proof.checksum
    assert proof.stored.key == obj.key
    assert read(store, obj, stored) == data
    found = store.look(obj.key)
    assert found.size_bytes == size
    assert found.metadata == obj.metadata
    assert list(store.keys("evidence/")) == [obj.key]
    assert harness.unfinished() == []


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
def test_sent_again_nothing_changes_and_no_part_goes_out(store, size):
    data = some_bytes(size)
    obj, stored = send(store, data)
    sent = Sent()
    assert store.send(obj, Bytes(data), Journal(), sent) == stored
    # A small one may go out again, to a store that refuses what exists.
    assert sent.size_bytes == 0 or size <= PART_BYTES
    assert list(store.keys("")) == [obj.key]


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
def test_the_object_of_another_is_never_overwritten(harness, store, size):
    data, theirs = some_bytes(size), some_bytes(size, seed=1)
    obj = object_of(data)
    harness.take_key(obj, theirs)
    with pytest.raises(StoreConflictError):
        store.send(obj, Bytes(data), Journal())
    assert read(store, obj) == theirs
    assert harness.unfinished() == []


@pytest.mark.parametrize("size", [10, PART_BYTES + 1])
def test_other_bytes_of_the_same_item_are_another_object(store, size):
    data, other = some_bytes(size), some_bytes(size, seed=1)
    obj, stored = send(store, data)
    again = object_of(other, obj.key, item_id=obj.metadata["item-id"])
    with pytest.raises(StoreConflictError):
        store.send(again, Bytes(other), Journal())
    with pytest.raises(StoreMismatchError):
        store.confirm(again, stored)
    assert store.confirm(obj, stored).checksum
    assert read(store, obj) == data


@pytest.mark.parametrize("size", [10, 2 * PART_BYTES])
def test_wrong_bytes_never_become_an_object(harness, store, size):
    data, obj = clip(size)
    wrong = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(LocalCopyDamagedError):
        store.send(obj, Bytes(wrong), Journal())
    assert store.look(obj.key) is None
    assert harness.unfinished() == []
    # The right bytes still find their place.
    journal = Journal()
    store.confirm(obj, store.send(obj, Bytes(data), journal))
    assert read(store, obj) == data
    assert harness.unfinished() == []


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done, answer lost"])
@pytest.mark.parametrize("size", [10, PART_BYTES + 1], ids=["whole", "in parts"])
def test_cut_off_at_any_step_it_goes_on_to_one_object(harness, store, size, done):
    data = some_bytes(size)
    for step in itertools.count():
        obj = object_of(data)
        journal = Journal()
        with harness.cut(step, done=done) as cut:
            try:
                stored = store.send(obj, Bytes(data), journal)
            except StoreError:
                stored = store.send(obj, Bytes(data), journal)
        assert store.confirm(obj, stored).stored.key == obj.key
        assert read(store, obj, stored) == data
        assert harness.unfinished() == []
        if not cut.hit:
            break
    assert step >= (2 if size > PART_BYTES else 1), "the fault was never met"
    assert len(list(store.keys(""))) == step + 1


@pytest.mark.parametrize("done", [False, True], ids=["not done", "done, answer lost"])
def test_cut_off_with_its_memory_lost_it_leaves_no_orphan(harness, store, done):
    """As after a crash before the journal was written: each try has a journal of its own."""
    data = some_bytes(PART_BYTES + 1)
    for step in itertools.count():
        obj = object_of(data)
        with harness.cut(step, done=done) as cut:
            try:
                stored = store.send(obj, Bytes(data), Journal())
            except StoreError:
                stored = store.send(obj, Bytes(data), Journal())
        assert read(store, obj, stored) == data
        assert harness.unfinished() == []
        if not cut.hit:
            break
    assert step >= 2


def test_parts_that_are_there_are_not_sent_again(harness, store):
    data, obj = clip(3 * PART_BYTES)
    journal = Journal()
    sent = Sent()
    for step in range(30):
        with harness.cut(step, done=False) as cut:
            try:
                store.send(obj, Bytes(data), journal, sent)
            except StoreError:
                continue
        assert not cut.hit
        break
    else:
        pytest.fail("never came to an end")
    if journal.upload_id:
        # Each try gets one step further, so a part is sent again only when it was the one cut off.
        assert sent.size_bytes <= 6 * PART_BYTES
    assert read(store, obj) == data


def test_a_changed_object_is_no_longer_confirmed(harness, store):
    for size in (10, PART_BYTES + 1):
        data = some_bytes(size)
        obj, stored = send(store, data)
        harness.overwrite(obj, data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(StoreMismatchError):
            store.confirm(obj, stored)
        harness.overwrite(obj, data[:-1])
        with pytest.raises(StoreMismatchError):
            store.confirm(obj, stored)


def test_an_object_that_is_gone_is_no_longer_confirmed(store):
    data = some_bytes(10)
    _, stored = send(store, data)
    missing = object_of(data)
    assert store.look(missing.key) is None
    with pytest.raises(StoreMismatchError):
        store.confirm(missing, type(stored)(key=missing.key))


def test_metadata_comes_back_as_it_was(store):
    metadata = {
        "source-path": "DCIM/100MEDIA/%FF%00%20%25%27%22.MP4",
        "custody-checkpoint": "a+/" * 200 + "=",
        "punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        "words": "one two three",
        "n": "0",
    }
    obj, stored = send(store, b"x", **metadata)
    assert dict(store.look(obj.key, stored.version_id).metadata) == {
        **metadata,
        "item-id": obj.metadata["item-id"],
        "sha256": hashlib.sha256(b"x").hexdigest(),
    }


@pytest.mark.parametrize(
    "value", [" x", "x ", "two  blanks", "line\nfeed", "\x00", "é", "x" * 2048]
)
def test_metadata_that_a_store_would_change_is_refused(store, value):
    with pytest.raises(StoreError):
        send(store, b"x", strange=value)
    assert list(store.keys("")) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/",
        "a//b",
        "../a",
        "a/../b",
        ".",
        "a/.b",
        "a b",
        "a\0b",
        "é",
        "a" * 901,
        "a\\b/c:",
    ],
)
def test_unsafe_keys_are_refused(store, key):
    obj = object_of(b"x")
    unsafe = type(obj)(key, obj.digests, obj.metadata)
    with pytest.raises(StoreError):
        store.send(unsafe, Bytes(b"x"), Journal())
    with pytest.raises(StoreError):
        store.look(key)
    assert list(store.keys("")) == []


def test_keys_are_listed_by_prefix(store):
    keys = [f"evidence/cam-{n}/x/item-{n}/a.mp4" for n in range(5)]
    for key in keys:
        obj = object_of(b"x", key)
        store.send(obj, Bytes(b"x"), Journal())
    assert sorted(store.keys("")) == keys
    assert list(store.keys("evidence/cam-3/")) == [keys[3]]
    assert list(store.keys("ledger/")) == []


def test_of_many_writers_one_wins_and_knows_it(store):
    key = "evidence/contested/item/x.mp4"
    bodies = [some_bytes(1000, seed=n) for n in range(6)]
    objects = [object_of(body, key) for body in bodies]
    won: list[int] = []
    lost: list[int] = []
    start = threading.Barrier(len(bodies))

    def write(number):
        start.wait()
        while not {number} & {*won, *lost}:
            try:
                stored = store.send(objects[number], Bytes(bodies[number]), Journal())
            except StoreConflictError:
                lost.append(number)
            except StoreUnreachableError:
                # Another got in the way; as the daemon does, it is tried again.
                continue
            else:
                store.confirm(objects[number], stored)
                won.append(number)

    together(write, range(len(bodies)))
    assert len(won) == 1
    assert sorted(won + lost) == list(range(len(bodies)))
    assert b"".join(store.read(key)) == bodies[won[0]]


def test_identity_lasts_and_probing_leaves_nothing(harness, store):
    before = store.identity()
    assert before
    probe = store.probe()
    assert probe.verifies_checksum or probe.verifies_payload or probe.reads_back
    assert store.identity() == before
    assert list(store.keys("")) == []
    assert harness.unfinished() == []
