"""A directory as a store: what mounts, disks, power cuts and other people do to it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import stat
import threading
from pathlib import Path

import pytest

from bodycam_ingest.config.stores import DirectoryStoreConfig
from bodycam_ingest.errors import (
    StoreConflictError,
    StoreError,
    StoreFullError,
    StoreMisconfiguredError,
    StoreMismatchError,
    StoreObstructedError,
    StoreUnreachableError,
)
from bodycam_ingest.linux import durable
from bodycam_ingest.stores import directory_files
from bodycam_ingest.stores.directory import MARKER, DirectoryStore, prepare
from bodycam_ingest.stores.registry import open_store, prepare_store
from tests.support.mounts import ext4_image, mounted
from tests.support.patching import Crash, acts, fail, note
from tests.support.plants import PLANTS
from tests.support.sending import (
    Bytes,
    Journal,
    clip,
    everything,
    object_of,
    sent,
    some_bytes,
    unfinished,
)


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


def test_a_note_without_its_object_is_neither_ours_nor_foreign(store, root, monkeypatch):
    data, obj = clip(10_000)
    with acts("after:store.create".__eq__), pytest.raises(Crash):
        store.send(obj, Bytes(data), Journal())
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
    monkeypatch.setattr("bodycam_ingest.linux.direct_io.on_memory_file_system", lambda _fd: False)
    with pytest.raises(StoreError, match="memory"):
        store.confirm(obj, stored)


FAULTS = [
    (errno.ENOSPC, StoreFullError),
    (errno.EDQUOT, StoreFullError),
    (errno.EROFS, StoreMisconfiguredError),
    (errno.EACCES, StoreMisconfiguredError),
    (errno.EIO, StoreUnreachableError),
    (errno.ESTALE, StoreUnreachableError),
    (errno.ENOTCONN, StoreUnreachableError),
    (errno.EFBIG, StoreError),
]


@pytest.mark.parametrize(("code", "kind"), FAULTS)
@pytest.mark.parametrize("after", [0, 1], ids=["at once", "in the middle"])
@pytest.mark.parametrize("size", [10, 5_000_000])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_what_writing_says_is_never_hidden(store, root, monkeypatch, code, kind, after, size, call):
    data, obj = clip(size)
    # That directories are there is durable, so that the first two calls are for note and object.
    store.send(object_of(b"", f"{obj.key.rpartition('/')[0]}/other.mp4"), Bytes(b""), Journal())
    with monkeypatch.context() as patch:
        fail(patch, os, call, code, after=after)
        with pytest.raises(StoreError) as caught:
            store.send(obj, Bytes(data), Journal())
    assert type(caught.value) is kind
    assert unfinished(root) == []
    store.confirm(obj, store.send(obj, Bytes(data), Journal()))


@pytest.mark.parametrize(("code", "kind"), FAULTS)
@pytest.mark.parametrize("after", [0, 1], ids=["at once", "in the middle"])
def test_what_reading_back_says_is_never_hidden(store, monkeypatch, code, kind, after):
    _, obj, stored = sent(store, 5_000_000)
    with monkeypatch.context() as patch:
        fail(patch, os, "readv", code, after=after)
        with pytest.raises(StoreError) as caught:
            store.confirm(obj, stored)
    assert type(caught.value) is kind
    store.confirm(obj, stored)


def test_a_full_disk_is_told_as_such_and_taken_up_again(tmp_path):
    image = ext4_image(tmp_path / "image", 16_000_000)
    with mounted(tmp_path / "disk", "-o", "loop", image) as disk:
        prepare(disk)
        store = DirectoryStore("archive", disk)
        ballast = disk / "ballast"
        with ballast.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(65_536))
        data, obj = clip(5_000_000)
        with pytest.raises(StoreFullError, match="archive") as caught:
            store.send(obj, Bytes(data), Journal())
        assert str(disk) in caught.value.hint
        ballast.unlink()
        store.probe()
        store.confirm(obj, store.send(obj, Bytes(data), Journal()))


def put_huge(path: Path) -> None:
    path.write_bytes(b'{"metadata": {"item-id": "' + b"x" * 10_000_000 + b'"}}')


HARMS = {**PLANTS, "huge": put_huge}


@pytest.fixture
def little_memory():
    """What is read whole must be small: more than 1 GB above what is mapped now is refused."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 1_000_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("harm", HARMS)
def test_whatever_lies_where_a_note_belongs_is_a_fault_of_that_object(
    store, root, harm, little_memory
):
    data, obj, stored = sent(store, 10)
    note = (root / obj.key).parent / ".clip.mp4.meta.json"
    note.unlink()
    HARMS[harm](note)
    assert store.look(obj.key).metadata == {}
    with pytest.raises(StoreMismatchError):
        store.confirm(obj, stored)
    with pytest.raises(StoreConflictError):
        store.send(obj, Bytes(data), Journal())


@pytest.mark.timeout(30)
@pytest.mark.parametrize("harm", HARMS)
def test_whatever_lies_where_an_object_belongs_is_a_fault_of_that_object(
    store, root, harm, little_memory
):
    data, obj, stored = sent(store, 10)
    (root / obj.key).unlink()
    HARMS[harm](root / obj.key)
    with pytest.raises(StoreMismatchError):
        store.confirm(obj, stored)
    with pytest.raises(StoreConflictError):
        store.send(obj, Bytes(data), Journal())
    if harm in {"link to zeros", "pipe", "directory"}:
        with pytest.raises(StoreMismatchError):
            next(store.read(obj.key))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("harm", HARMS)
def test_whatever_lies_where_the_marker_belongs_the_store_is_not_taken(store, root, harm):
    (root / MARKER).unlink()
    HARMS[harm](root / MARKER)
    with pytest.raises(StoreUnreachableError):
        store.identity()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("harm", ["pipe", "link to zeros", "deep", "link"])
def test_what_lies_in_the_way_to_one_camera_concerns_that_camera_alone(store, root, tmp_path, harm):
    data = some_bytes(10)
    obj, other = object_of(data, "evidence/cam-1/a/b.mp4"), object_of(data, "evidence/cam-2/a.mp4")
    (root / "evidence").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if harm == "link":
        (root / "evidence" / "cam-1").symlink_to(elsewhere)
    else:
        HARMS[harm](root / "evidence" / "cam-1")
    for ask in (
        lambda: store.send(obj, Bytes(data), Journal()),
        lambda: store.look(obj.key),
        lambda: list(store.read(obj.key)),
    ):
        with pytest.raises(StoreObstructedError, match="cam-1"):
            ask()
    assert everything(elsewhere) == []
    store.confirm(other, store.send(other, Bytes(data), Journal()))
    (root / "evidence" / "cam-1").unlink()
    store.confirm(obj, store.send(obj, Bytes(data), Journal()))


def test_a_store_is_prepared_twice_without_a_trace(root):
    before = everything(root)
    prepare(root)
    assert everything(root) == before == [MARKER]


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_file_that_could_not_be_made_leaves_nothing(tmp_path, monkeypatch, call):
    for make in (durable.create_file, durable.replace_file):
        with monkeypatch.context() as patch:
            fail(patch, os, call, errno.ENOSPC)
            with pytest.raises(OSError, match="No space"):
                make(tmp_path / "name", b"data")
        assert everything(tmp_path) == []
    (tmp_path / "name").write_bytes(b"there")
    with pytest.raises(FileExistsError):
        durable.create_file(tmp_path / "name", b"data")
    assert everything(tmp_path) == ["name"]


def test_a_directory_that_is_there_is_trusted_only_after_its_name_was_synced(store, root):
    """As after a process that was killed between making a directory and syncing its parent."""
    (root / "evidence" / "cam" / "x").mkdir(parents=True)
    data = some_bytes(10)
    with pytest.MonkeyPatch.context() as patch:
        synced = note(patch, durable, "fsync_directory", os.path.realpath)
        for name in ("a", "b"):
            obj = object_of(data, f"evidence/cam/x/{name}/clip.mp4")
            store.send(obj, Bytes(data), Journal())
            parents = [str(root), str(root / "evidence"), str(root / "evidence" / "cam")]
            assert [synced.count(path) for path in parents] == [1, 1, 1]


def test_trials_that_were_killed_are_swept_and_nothing_else(store, root):
    ulid = "01J00000000000000000000000"
    old = [f".{ulid}.trial", f"..{ulid}.trial.tmp"]
    kept = [f"..{ulid[:-1]}1.trial.tmp", f".{ulid}.trial.mp4", f"{ulid}.trial", ".trial", "a"]
    for name in old + kept:
        (root / name).write_bytes(b"")
    for name in [*old, *kept[1:]]:
        os.utime(root / name, (1_700_000_000, 1_700_000_000))
    link = root / f".{ulid[:-1]}2.trial"
    link.symlink_to(root / "a")
    os.utime(link, (1_700_000_000, 1_700_000_000), follow_symlinks=False)
    store.probe()
    assert everything(root) == sorted([*kept, link.name, MARKER])


def test_a_listing_looks_only_below_its_prefix(store, root, monkeypatch):
    for key in ("evidence/cam-1/a/x.mp4", "evidence/cam-2/a/x.mp4", "ledger/x"):
        obj = object_of(b"x", key)
        store.send(obj, Bytes(b"x"), Journal())
    listed = note(monkeypatch, os, "scandir", os.fspath)
    assert list(store.keys("evidence/cam-1/")) == ["evidence/cam-1/a/x.mp4"]
    assert not [path for path in listed if "cam-2" in path or "ledger" in path]
    assert list(store.keys("nowhere/")) == []


def test_reading_back_is_paced_and_can_be_broken_off(store):
    data, obj, stored = sent(store, 9_000_000)
    counts: list[int] = []
    store.confirm(obj, stored, counts.append)
    assert sum(counts) == len(data)
    assert max(counts) <= directory_files.CHUNK_BYTES

    class StopError(Exception):
        pass

    def stop(_count: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        store.confirm(obj, stored, stop)
    assert threading.active_count() < 20
