"""A directory as a store: what mounts, disks and power cuts do to it."""

from __future__ import annotations

import errno
import json
import stat

import pytest

from bodycam_ingest.config.stores import DirectoryStoreConfig
from bodycam_ingest.errors import (
    StoreConflictError,
    StoreError,
    StoreFullError,
    StoreUnreachableError,
)
from bodycam_ingest.linux import durable
from bodycam_ingest.stores.directory import MARKER, DirectoryStore, prepare
from bodycam_ingest.stores.registry import open_store, prepare_store
from tests.support.patching import fail
from tests.support.sending import Bytes, Journal, clip, everything, object_of, sent


@pytest.fixture
def store(archive):
    return archive


def test_a_mount_that_is_not_there_is_never_written_below(tmp_path):
    obj = object_of(b"x")
    (tmp_path / "bare").mkdir()
    for path in (tmp_path / "bare", tmp_path / "missing"):
        store = DirectoryStore("archive", path)
        for ask in (
            lambda store=store: store.send(obj, Bytes(b"x"), Journal()),
            lambda store=store: store.look(obj.key),
            lambda store=store: list(store.keys("")),
            lambda store=store: list(store.read(obj.key)),
            store.probe,
            store.identity,
        ):
            with pytest.raises(StoreUnreachableError):
                ask()
    assert everything(tmp_path) == ["bare"]


def test_a_store_is_made_once_and_only_in_a_directory_that_is_there(tmp_path):
    with pytest.raises(StoreUnreachableError):
        prepare(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()
    (tmp_path / "new").mkdir()
    root = tmp_path / "new"
    first = prepare(root)
    assert prepare(root) == first
    config = DirectoryStoreConfig.model_validate(
        {"name": "archive", "type": "directory", "path": str(root)}
    )
    assert first in prepare_store(config)
    assert first in open_store(config).identity()
    (root / MARKER).unlink()
    assert prepare(root) != first


def test_objects_are_plain_files_that_nobody_changes_by_accident(store, root):
    data, obj, _ = sent(store, 10_000)
    path = root / obj.key
    assert path.read_bytes() == data
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    note = json.loads((path.parent / f".{path.name}.meta.json").read_bytes())
    assert note["metadata"] == obj.metadata
    assert [entry.name for entry in path.parent.iterdir() if entry.suffix == ".part"] == []


class Crash(BaseException):
    """Ends the try at once, as a kill does; what the code would tidy up is put back by the test."""


def test_a_note_without_its_object_is_neither_ours_nor_foreign(store, root, monkeypatch):
    data, obj = clip(10_000)

    def crash(act):
        if act == "after:store.create":
            raise Crash

    durable.listen(crash)
    try:
        with pytest.raises(Crash):
            store.send(obj, Bytes(data), Journal())
    finally:
        durable.listen(None)
    left = (root / obj.key).parent / f".clip.mp4.{'0' * 26}.part"
    left.write_bytes(b"half")
    assert store.look(obj.key) is None
    assert list(store.keys("")) == []
    # Its metadata changed meanwhile, because the item was queued anew.
    changed = type(obj)(obj.key, obj.digests, {**obj.metadata, "ledger-entry": "7"})
    stored = store.send(changed, Bytes(data), Journal())
    store.confirm(changed, stored)
    assert store.look(obj.key).metadata["ledger-entry"] == "7"
    assert not left.exists()


def test_a_key_reserved_for_another_item_is_a_conflict(store, root):
    data, obj = clip(10)
    other = object_of(data, obj.key)
    note = (root / obj.key).parent
    note.mkdir(parents=True)
    (note / ".clip.mp4.meta.json").write_text(
        json.dumps({"v": 1, "metadata": dict(other.metadata)}), encoding="utf-8"
    )
    with pytest.raises(StoreConflictError):
        store.send(obj, Bytes(data), Journal())
    assert list(store.keys("")) == []


def test_an_object_that_lost_the_name_of_its_note_alone_is_ours_if_its_bytes_are(store, root):
    """As after a power cut on a file system that keeps no order among names."""
    data, obj, stored = sent(store, 10)
    note = (root / obj.key).parent / ".clip.mp4.meta.json"
    note.unlink()
    assert store.send(obj, Bytes(data), Journal()) == stored
    store.confirm(obj, stored)
    note.unlink()
    (root / obj.key).chmod(0o600)
    (root / obj.key).write_bytes(data[::-1])
    with pytest.raises(StoreConflictError):
        store.send(obj, Bytes(data), Journal())


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"metadata": 1}', b'{"metadata": {}}'])
def test_an_object_whose_note_is_damaged_is_nobodys(store, root, note):
    data, obj, _ = sent(store, 10)
    path = (root / obj.key).parent / ".clip.mp4.meta.json"
    path.chmod(0o600)
    path.write_bytes(note)
    with pytest.raises(StoreConflictError):
        store.send(obj, Bytes(data), Journal())
    assert (root / obj.key).read_bytes() == data


def test_a_full_disk_is_found_by_probing(store, monkeypatch):
    fail(monkeypatch, durable, "create_file", errno.ENOSPC)
    with pytest.raises(StoreFullError):
        store.probe()


def test_links_in_place_of_objects_are_not_followed(store, root, tmp_path):
    data, obj = clip(10)
    secret = tmp_path / "secret"
    secret.write_bytes(b"not evidence")
    (root / obj.key).parent.mkdir(parents=True)
    (root / obj.key).symlink_to(secret)
    with pytest.raises(StoreConflictError):
        store.send(obj, Bytes(data), Journal())
    assert secret.read_bytes() == b"not evidence"


def test_copies_that_can_only_be_read_from_memory_are_not_claimed(store, monkeypatch):
    _, obj, stored = sent(store, 10)
    monkeypatch.setattr(
        "bodycam_ingest.stores.directory_files.MediumFile.past_cache", lambda _self: False
    )
    monkeypatch.setattr("bodycam_ingest.linux.residency.on_memory_file_system", lambda _fd: False)
    with pytest.raises(StoreError, match="memory"):
        store.confirm(obj, stored)
