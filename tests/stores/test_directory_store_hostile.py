"""A directory store whose disk is full, and an archive into which others put things."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
from pathlib import Path

import pytest

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
from tests.support.mounts import ext4_image, mounted
from tests.support.patching import fail, note
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


@pytest.fixture
def store(archive):
    return archive


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
