"""Small objects that a directory store writes together: the order of one, the flushes of few."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from pathlib import Path

import pytest

from bodycam_ingest.errors import (
    AbandonedError,
    LocalCopyDamagedError,
    StagingMissingError,
    StoreConflictError,
    StoreFullError,
)
from bodycam_ingest.linux import durable, group_commit
from bodycam_ingest.stores.directory import DirectoryStore, prepare
from tests.support.patching import Crash, acts, fail, note
from tests.support.recordings import file_of, open_files
from tests.support.sending import Bytes, Journal, object_of, some_bytes, unfinished


@pytest.fixture
def store(archive):
    return archive


def batch_of(count, size=1000):
    made = []
    for number in range(count):
        data = some_bytes(size, seed=number)
        made.append((object_of(data), Bytes(data)))
    return made


def assert_all_stand(store, root, batch):
    for obj, source in batch:
        store.confirm(obj, store.send(obj, source, Journal()))
        assert (root / obj.key).read_bytes() == source.data
        assert dict(store.look(obj.key).metadata) == obj.metadata
    assert sorted(store.keys("")) == sorted(obj.key for obj, _ in batch)
    assert unfinished(root) == []


def test_what_was_written_together_is_found_done(store, root, monkeypatch):
    batch, before = batch_of(20), open_files()
    paces: list[int] = []
    store.write_together(batch, paces.append)
    assert paces == [1000] * 20
    assert open_files() == before
    assert sorted(store.keys("")) == sorted(obj.key for obj, _ in batch)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _fd: pytest.fail("it is durable already"))
        for obj, source in batch:
            store.send(obj, source, Journal())
    # What was told once as done is looked at anew after that.
    assert_all_stand(store, root, batch)


def test_the_disk_is_flushed_three_times_an_object(store, monkeypatch):
    store.write_together(batch_of(1))
    synced = note(monkeypatch, os, "fsync")
    store.write_together(batch_of(50))
    # Note, bytes, and both their names; and the names of all fifty directories together.
    assert len(synced) == 3 * 50 + 1


def test_no_name_is_given_before_its_bytes_are_durable(store, root, monkeypatch):
    steps = []
    real_sync, real_rename = os.fsync, durable.rename_no_replace

    def syncing(fd):
        path = file_of(fd)
        real_sync(fd)
        steps.append(("sync", path, ""))

    def renaming(source, target):
        old = os.path.realpath(source)
        real_rename(source, target)
        steps.append(("rename", old, os.path.realpath(target)))

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(durable, "rename_no_replace", renaming)
    batch = batch_of(5)
    store.write_together(batch)
    renames = [step for step in steps if step[0] == "rename"]
    assert len(renames) == 10
    for step in renames:
        at = steps.index(step)
        assert ("sync", step[1], "") in steps[:at]
        assert ("sync", str(Path(step[2]).parent), "") in steps[at:]
    for obj, _ in batch:
        own = (root / obj.key).parent
        names = [Path(step[2]).name for step in renames if Path(step[2]).parent == own]
        assert names == [".clip.mp4.meta.json", "clip.mp4"], "the note reserves the key"


class Missing:
    def read_at(self, offset, length):
        raise StagingMissingError(f"{offset}, {length}")


def test_what_is_wrong_with_one_is_told_when_it_is_sent(store, root):
    batch = batch_of(6)
    batch[1] = (batch[1][0], Bytes(batch[1][1].data[::-1]))
    batch[2] = (batch[2][0], Missing())
    batch[3] = (type(batch[3][0])("../x", batch[3][0].digests, batch[3][0].metadata), batch[3][1])
    taken = root / batch[4][0].key
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"of another")
    store.write_together(batch)
    assert sorted(store.keys("")) == sorted(batch[n][0].key for n in (0, 4, 5))
    with pytest.raises(LocalCopyDamagedError):
        store.send(*batch[1], Journal())
    with pytest.raises(StagingMissingError):
        store.send(*batch[2], Journal())
    with pytest.raises(StoreConflictError):
        store.send(*batch[4], Journal())
    assert taken.read_bytes() == b"of another"
    assert unfinished(root) == []


def test_large_ones_are_left_to_be_sent(store):
    batch = batch_of(2, size=300_000)
    store.write_together(batch, lambda _count: pytest.fail("too large"))
    assert list(store.keys("")) == []


@pytest.mark.parametrize("call", ["write", "fsync", "open"])
def test_a_file_that_cannot_be_written_fails_alone(store, root, monkeypatch, call):
    batch = batch_of(6)
    bad = f"/{Path(batch[2][0].key).parent.name}/"

    def is_bad(what, *_arguments, **_more):
        path = file_of(what) if isinstance(what, int) else os.path.realpath(what)
        return bad in path and path.endswith(".part")

    with monkeypatch.context() as patch:
        fail(patch, os, call, errno.ENOSPC, is_bad)
        store.write_together(batch)
        assert len(list(store.keys(""))) == 5
        with pytest.raises(StoreFullError):
            store.send(*batch[2], Journal())
    assert unfinished(root) == []
    assert_all_stand(store, root, batch)


def test_names_whose_directory_cannot_be_synced_count_for_nothing(store, root, monkeypatch):
    batch = batch_of(3)
    store.write_together(batch_of(1))
    above = str((root / batch[0][0].key).parents[1])
    with monkeypatch.context() as patch:
        asked = fail(patch, os, "fsync", errno.EIO, lambda fd: file_of(fd) == above)
        store.write_together(batch)
        assert asked
    assert store._written.keys().isdisjoint(obj.key for obj, _ in batch)
    for obj, source in batch:
        store.confirm(obj, store.send(obj, source, Journal()))


@pytest.mark.parametrize("fails", [False, True])
def test_on_a_file_system_of_its_own_one_flush_serves_all(store, root, monkeypatch, fails):
    flushed = []

    def flush(fd):
        flushed.append(file_of(fd))
        if fails:
            raise OSError(errno.EIO, "failing")

    batch = batch_of(10)
    store.write_together(batch_of(1))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_mount", lambda _path: True)
        patch.setattr(group_commit, "_syncfs", flush)
        patch.setattr(os, "fsync", lambda _fd: pytest.fail("one flush was to serve all"))
        store.write_together(batch)
    assert flushed == [str(root)] * (1 if fails else 2)
    assert len(store._written) == (1 if fails else 11)
    assert unfinished(root) == []


def test_a_share_is_not_flushed_as_a_whole(store, monkeypatch):
    monkeypatch.setattr(os, "major", lambda _device: 0)
    monkeypatch.setattr(Path, "is_mount", lambda _path: True)
    monkeypatch.setattr(group_commit, "_syncfs", lambda _fd: pytest.fail("a share"))
    batch = batch_of(2)
    store.write_together(batch)
    assert sorted(store.keys("")) == sorted(obj.key for obj, _ in batch)


def test_the_end_of_the_process_leaves_nothing_half_made(store, root):
    batch = batch_of(5)
    left = iter([1, 2])

    def pace(_count):
        if next(left, None) is None:
            raise AbandonedError("stopping")

    with pytest.raises(AbandonedError):
        store.write_together(batch, pace)
    assert list(store.keys("")) == []
    assert unfinished(root) == []
    assert_all_stand(store, root, batch)


@pytest.mark.parametrize("when", ["before:", "after:"])
def test_cut_off_at_any_step_each_object_comes_to_stand_once(tmp_path, when):
    for step in itertools.count():
        root = tmp_path / str(step)
        root.mkdir()
        prepare(root)
        batch, steps = batch_of(3), itertools.count()

        def is_end(act, steps=steps, step=step):
            return act.startswith(when) and next(steps) == step

        hit = True
        with contextlib.suppress(Crash), acts(is_end):
            DirectoryStore("archive", root).write_together(batch)
            hit = False
        # What a kill leaves and this did not, since it tidied up.
        for obj, _ in batch:
            if (own := (root / obj.key).parent).is_dir():
                (own / f".clip.mp4.{'0' * 26}.part").write_bytes(b"half")
        again = DirectoryStore("archive", root)
        for obj, source in batch:
            again.confirm(obj, again.send(obj, source, Journal()))
        assert len(list(again.keys(""))) == 3
        if not hit:
            break
    assert step == 6
