from __future__ import annotations

import errno
import os
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodycam_ingest.camera import files
from bodycam_ingest.camera import listing as scan
from bodycam_ingest.errors import (
    AbandonedError,
    SourceChangedError,
    SourceError,
    SourceGoneError,
    SourceLimitError,
)
from bodycam_ingest.linux import beneath
from bodycam_ingest.model.evidence import EntryKind
from bodycam_ingest.model.sampling import SampleHasher, sample_digest, sample_windows
from tests.support.mounts import mounted
from tests.support.patching import fail
from tests.support.recordings import limits_of

WIDE = limits_of(10_000, 4096, 64)


@pytest.fixture(params=[True, False], ids=["openat2", "walked"])
def kernel_guards(request, monkeypatch):
    """With openat2(2), and where it is forbidden, as in many containers."""
    if not request.param:
        fail(monkeypatch, beneath, "_openat2", errno.ENOSYS)


def listed(fd, limits=WIDE):
    listing = scan.list_volume(fd, limits)
    return listing, {entry.path: entry for entry in listing.entries}


def test_hostile_names_and_special_files_are_listed_and_nothing_is_followed(card):
    root, fd = card
    (root / "DCIM").mkdir()
    (root / "DCIM" / "A.MP4").write_bytes(b"clip")
    odd = [b"new\nline.mp4", b"\xff\xfe.mp4", b"[R][0@0][0].mp4", b"\x1b[31m.mp4", b"n" * 255]
    for name in odd:
        (root / os.fsdecode(name)).write_bytes(b"")
    (root / "etc").symlink_to("/etc")
    (root / "up").symlink_to("..")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        here = os.open(root, os.O_PATH)
        sock.bind(f"/proc/self/fd/{here}/sock")
        os.close(here)
    listing, entries = listed(fd)
    assert listing.complete
    assert entries[b"DCIM/A.MP4"].signature.size_bytes == 4
    assert {entries[name].kind for name in odd} == {EntryKind.FILE}
    assert entries[b"etc"].kind is entries[b"up"].kind is EntryKind.SYMLINK
    assert entries[b"fifo"].kind is EntryKind.FIFO
    assert entries[b"sock"].kind is EntryKind.SOCKET
    assert len(entries) == 2 + len(odd) + 4


@pytest.mark.parametrize("path", [b"etc/passwd", b"link", b"../outside", b"/etc/passwd", b"a\0b"])
def test_no_path_leads_out_of_the_volume(card, kernel_guards, path):
    root, fd = card
    (root.parent / "outside").write_bytes(b"secret")
    (root / "etc").symlink_to("/etc")
    (root / "link").symlink_to("../outside")
    with pytest.raises(SourceError):
        files.open_beneath(fd, path)


def test_a_file_in_a_directory_opens_either_way(card, kernel_guards):
    root, fd = card
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "c").write_bytes(b"clip")
    found = files.open_beneath(fd, b"a/b/c")
    assert os.pread(found, 10, 0) == b"clip"
    os.close(found)


def test_a_fifo_neither_blocks_nor_opens(card):
    root, fd = card
    os.mkfifo(root / "fifo")
    with pytest.raises(SourceChangedError):
        files.open_beneath(fd, b"fifo")


def test_a_file_that_is_gone_is_told_as_gone_not_as_empty(card):
    _, fd = card
    with pytest.raises(SourceGoneError):
        files.open_beneath(fd, b"DCIM/A.MP4")


@pytest.mark.parametrize(
    ("limits", "tree"),
    [
        (limits_of(3, 4096, 64), ["a", "b", "c", "d"]),
        (limits_of(100, 8, 64), ["a" * 9]),
        (limits_of(100, 4096, 2), ["1/2/3/4"]),
    ],
)
def test_a_passed_limit_is_a_fault_and_what_was_listed_stands(card, limits, tree):
    root, fd = card
    for name in tree:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    listing, _ = listed(fd, limits)
    assert not listing.complete
    assert isinstance(listing.fault, SourceLimitError)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOENT])
def test_a_directory_that_cannot_be_listed_hides_no_other_and_is_never_complete(
    card, monkeypatch, code
):
    root, fd = card
    for name in ("bad", "good"):
        (root / name).mkdir()
        (root / name / "A.MP4").write_bytes(b"")
    (root / "A.MP4").write_bytes(b"clip")
    fail(monkeypatch, files, "open_directory_beneath", code, lambda _, path: path == b"bad")
    listing, entries = listed(fd)
    assert not listing.complete
    # It is no sign that the camera left.
    assert not isinstance(listing.fault, SourceGoneError)
    assert entries.keys() >= {b"A.MP4", b"good/A.MP4"}
    assert b"bad/A.MP4" not in entries


def test_a_directory_swapped_for_a_link_is_not_entered(card, monkeypatch):
    root, fd = card
    (root / "DCIM").mkdir()
    real = files.open_directory_beneath

    def swapping(root_fd, path):
        if path == b"DCIM":
            (root / "DCIM").rmdir()
            (root / "DCIM").symlink_to("/etc")
        return real(root_fd, path)

    monkeypatch.setattr(files, "open_directory_beneath", swapping)
    listing, entries = listed(fd)
    assert not listing.complete
    assert not [path for path in entries if path.startswith(b"DCIM/")]


def test_another_mount_below_the_volume_is_not_entered(card):
    root, fd = card
    with mounted(root / "inner") as inner:
        (inner / "stranger").write_bytes(b"")
        listing, entries = listed(fd)
        assert entries[b"inner"].kind is EntryKind.OTHER_MOUNT
        assert b"inner/stranger" not in entries
        assert listing.complete
        with pytest.raises(SourceError):
            files.open_beneath(fd, b"inner/stranger")


def test_a_file_mounted_over_a_file_is_not_opened(card, kernel_guards):
    root, fd = card
    (root / "A.MP4").write_bytes(b"clip")
    with mounted(root / "A.MP4", "--bind", "/proc/version"):
        assert listed(fd)[1][b"A.MP4"].kind is EntryKind.OTHER_MOUNT
        with pytest.raises(SourceError):
            files.open_beneath(fd, b"A.MP4")


def test_a_walk_stops_when_the_daemon_stops(card):
    _, fd = card
    abandon = threading.Event()
    abandon.set()
    with pytest.raises(AbandonedError):
        scan.list_volume(fd, WIDE, abandon)


@pytest.mark.long
@settings(max_examples=30)
@given(st.binary(min_size=1, max_size=20), st.integers(0, 700_000), st.randoms())
def test_the_sample_by_windows_is_the_sample_of_the_whole(path, size, random):
    data = random.randbytes(size)
    hasher = SampleHasher(path, size)
    at = 0
    while at < size:
        step = random.randint(1, 200_000)
        hasher.update(data[at : at + step])
        at += step
    windows = sample_windows(path, size)
    assert hasher.digest() == sample_digest(path, size, lambda at, n: data[at : at + n])
    assert all(0 <= low < high <= size for low, high in windows)
    assert sum(high - low for low, high in windows) <= 192 * 1024


def test_what_stood_before_a_fault_in_a_directory_is_gone_on_with(card, monkeypatch):
    root, fd = card
    (root / "good").mkdir()
    (root / "good" / "A.MP4").write_bytes(b"clip")
    real = os.scandir

    class Failing:
        def __init__(self, at):
            self._names = real(at)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._names.close()

        def __iter__(self):
            yield from self._names
            raise OSError(5, "Input/output error")

    def once(at):
        monkeypatch.setattr(os, "scandir", real)
        return Failing(at)

    monkeypatch.setattr(os, "scandir", once)
    listing, entries = listed(fd)
    assert not listing.complete
    assert b"good/A.MP4" in entries


def test_a_sample_of_a_file_that_changed_since_it_was_listed_is_refused(card):
    root, fd = card
    (root / "A.MP4").write_bytes(b"clip")
    signature = listed(fd)[1][b"A.MP4"].signature
    assert scan.sample(fd, b"A.MP4", signature)
    (root / "A.MP4").write_bytes(b"clip and more")
    with pytest.raises(SourceChangedError):
        scan.sample(fd, b"A.MP4", signature)


def test_reading_leaves_the_access_time_as_it_was(card):
    root, fd = card
    (root / "A.MP4").write_bytes(b"clip")
    os.utime(root / "A.MP4", (1, 2))
    scan.sample(fd, b"A.MP4", listed(fd)[1][b"A.MP4"].signature)
    assert (root / "A.MP4").stat().st_atime == 1
