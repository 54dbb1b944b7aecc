from __future__ import annotations

import json
import os
import threading

import pytest
import structlog
from watchdog.observers.api import BaseObserver

from bodycam_ingest.camera.sources import folder
from bodycam_ingest.camera.sources.folder import FolderSource
from tests.support.mounts import mounted
from tests.support.patching import fail

WAKE_TIMEOUT_S = 20


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "media"
    path.mkdir()
    return path


@pytest.fixture
def start():
    sources = []

    def begin(source, wake=lambda: None):
        sources.append(source)
        source.start(wake)
        return source

    yield begin
    for source in sources:
        source.stop()


def names(source):
    return [volume.camera for volume in source.present()]


def test_everything_is_found_without_events(root, start):
    source = start(FolderSource([root], watch=False), pytest.fail)
    assert names(source) == []
    (root / "X812").mkdir()
    (root / "X811").mkdir()
    assert names(source) == ["X811", "X812"]
    (root / "X812").rmdir()
    assert names(source) == ["X811"]


def test_a_camera_that_was_there_before_the_start_counts(root, start):
    (root / "X812").mkdir()
    assert names(start(FolderSource([root]))) == ["X812"]


def test_only_directories_that_can_be_cameras_are_cameras(root, start):
    (root / "X812").mkdir()
    (root / ".building").mkdir()
    (root / "lost+found").mkdir()
    (root / "notes.txt").write_bytes(b"")
    (root / "link").symlink_to(root / "X812")
    (root / "etc").symlink_to("/etc")
    os.mkfifo(root / "fifo")
    assert names(start(FolderSource([root], watch=False))) == ["X812"]


def test_a_root_that_is_missing_hides_no_other_and_is_told_once(root, tmp_path, start):
    (root / "X812").mkdir()
    later = tmp_path / "later"
    source = start(FolderSource([later, root]))
    with structlog.testing.capture_logs() as logs:
        assert names(source) == ["X812"]
        assert names(source) == ["X812"]
        (later / "X900").mkdir(parents=True)
        assert names(source) == ["X900", "X812"]
    assert [line["event"] for line in logs] == ["source.root_unreadable"]


def test_events_wake_and_wake_again_when_a_root_came_back(root, start):
    woken = threading.Event()
    source = start(FolderSource([root]), woken.set)
    (root / "X811").mkdir()
    assert woken.wait(WAKE_TIMEOUT_S)
    (root / "X811").rmdir()
    root.rename(root.with_name("aside"))
    assert names(source) == []
    root.mkdir()
    assert names(source) == []
    woken.clear()
    (root / "X812").mkdir()
    assert woken.wait(WAKE_TIMEOUT_S)
    assert names(source) == ["X812"]


def test_without_inotify_the_cameras_are_found_all_the_same(root, start, monkeypatch):
    fail(monkeypatch, BaseObserver, "schedule", OSError(24, "inotify instance limit reached"))
    with structlog.testing.capture_logs() as logs:
        source = start(FolderSource([root]))
        (root / "X812").mkdir()
        assert names(source) == ["X812"]
        assert names(source) == ["X812"]
    assert [line["event"] for line in logs] == ["source.events_off"]


def test_a_directory_of_the_same_name_is_not_the_same_camera(root, start):
    (root / "X812").mkdir()
    source = start(FolderSource([root], watch=False))
    before = source.present()[0]
    assert source.is_present(before)
    (root / "X812").rename(root / "aside")
    assert not source.is_present(before)
    (root / "X812").mkdir()
    assert not source.is_present(before)
    assert source.present()[0] != before
    (root / "X812").rmdir()
    (root / "aside").rename(root / "X812")
    assert source.is_present(before)
    assert source.present()[0] == before


def test_a_link_put_in_place_of_a_camera_is_not_that_camera(root, start):
    (root / "X812").mkdir()
    source = start(FolderSource([root], watch=False))
    before = source.present()[0]
    (root / "X812").rename(root / "aside")
    (root / "X812").symlink_to(root / "aside")
    assert not source.is_present(before)


def test_a_name_of_any_bytes_gives_text_that_can_be_written(root, start):
    for name in (b"\xff\xfe", b"new\nline", b"n" * 255):
        (root / os.fsdecode(name)).mkdir()
    source = start(FolderSource([root], watch=False))
    for volume in source.present():
        line = json.dumps([volume.camera, volume.bay, dict(volume.properties)], ensure_ascii=False)
        assert "\n" not in json.loads(line)[0]
        assert line.encode("utf-8")
        assert source.is_present(volume)
    assert len(source.present()) == 3


def test_a_mount_point_left_bare_is_no_camera_with_an_empty_card(root, start):
    point = root / "X812"
    with mounted(point):
        (point / "A.MP4").write_bytes(b"clip")
        source = start(FolderSource([root], watch=False))
        volume = source.present()[0]
        assert source.is_present(volume)
    assert not source.is_present(volume)
    assert names(source) == []
    (point / "B.MP4").write_bytes(b"dropped here by a vendor's tool")
    assert names(source) == ["X812"]


def test_a_mount_that_outlived_its_disk_is_no_camera(root, start, monkeypatch):
    with mounted(root / "X812"):
        source = start(FolderSource([root], watch=False))
        volume = source.present()[0]
        monkeypatch.setattr(folder, "_pulled", lambda device: device == volume.device)
        assert not source.is_present(volume)
        assert names(source) == []


def test_a_disk_is_gone_when_the_kernel_no_longer_lists_it(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "BLOCK_DEVICES", tmp_path)
    (tmp_path / "8:17").mkdir()
    assert not folder._pulled(os.makedev(8, 17))
    assert folder._pulled(os.makedev(8, 33))
    assert not folder._pulled(os.makedev(0, 57))
    monkeypatch.setattr(folder, "BLOCK_DEVICES", tmp_path / "none")
    assert not folder._pulled(os.makedev(8, 33))
