from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

import pytest
from ulid import ULID

from bodycam_ingest.errors import (
    LocalCopyDamagedError,
    ReadBackMismatchError,
    ReadBackUnprovenError,
    StagingMissingError,
    StagingUnreadableError,
)
from bodycam_ingest.linux import direct_io, durable
from bodycam_ingest.linux.direct_io import MediumFile
from tests.support.patching import fail
from tests.support.recordings import (
    Desk,
    content,
    digests_of,
    refuse_direct_at_open,
    refuse_direct_at_transfer,
)

if TYPE_CHECKING:
    from pathlib import Path

    from bodycam_ingest.acquire.acquirer import Acquirer
    from bodycam_ingest.model.evidence import Acquired

PART = 10_000


@pytest.fixture
def acquirer(desk) -> Acquirer:
    made: Acquirer = desk.acquirer()
    return made


def acquired(desk: Desk, acquirer: Acquirer, size_bytes: int = 50_000) -> Acquired:
    name = f"{ULID()}.mp4"
    return acquirer.acquire(desk.root_fd, desk.record(name, content(size_bytes), PART))


def rewrite(path: Path, data: bytes) -> None:
    """Change a sealed copy behind everybody's back, on the medium."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.truncate(len(data))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o400)


def flip_bit(path: Path, at: int) -> bytes:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    rewrite(path, bytes(data))
    return bytes(data)


@pytest.mark.parametrize("at", [0, 4095, 25_000, 49_999])
def test_one_flipped_bit_is_found_and_the_bad_copy_kept(desk, acquirer, at):
    copy = acquired(desk, acquirer)
    bad = flip_bit(desk.staging / copy.staged_path, at)

    with pytest.raises(ReadBackMismatchError) as caught:
        acquirer.read_back(copy)

    assert caught.value.quarantined.startswith(f"quarantine/{copy.item_id}-")
    assert desk.staged_files() == [caught.value.quarantined]
    assert (desk.staging / caught.value.quarantined).read_bytes() == bad


@pytest.mark.parametrize("length", [0, 4096, 49_999, 50_001])
def test_a_copy_of_another_length_is_found(desk, acquirer, length):
    copy = acquired(desk, acquirer)
    rewrite(desk.staging / copy.staged_path, content(50_001)[:length])

    with pytest.raises(ReadBackMismatchError):
        acquirer.read_back(copy)


def test_what_is_in_the_cache_proves_nothing(desk, acquirer, monkeypatch):
    """The copy is warm in the cache; the read-back must still come from the medium."""
    copy = acquired(desk, acquirer)
    path = desk.staging / copy.staged_path
    path.read_bytes()
    seen: list[bool] = []
    real = os.readv

    def looking(fd, views):
        seen.append(direct_io.cached(fd, 50_000))
        return real(fd, views)

    monkeypatch.setattr(os, "readv", looking)
    how = acquirer.read_back(copy)

    assert how == "memory" or not any(seen)


def test_second_bad_copies_overwrite_nothing(desk, acquirer):
    wanted = desk.record("A0001.mp4", content(5000), PART)
    kept = []
    for _ in range(3):
        copy = acquirer.acquire(desk.root_fd, wanted)
        flip_bit(desk.staging / copy.staged_path, 7)
        with pytest.raises(ReadBackMismatchError) as caught:
            acquirer.read_back(copy)
        kept.append(caught.value.quarantined)

    assert desk.staged_files() == sorted(kept)
    assert len(set(kept)) == 3


def test_a_missing_copy_is_told_as_missing(desk, acquirer):
    copy = acquired(desk, acquirer)
    (desk.staging / copy.staged_path).unlink()

    with pytest.raises(StagingMissingError):
        acquirer.read_back(copy)


def test_a_copy_on_bad_sectors_is_set_apart(desk, acquirer, monkeypatch):
    copy = acquired(desk, acquirer)
    fail(monkeypatch, os, "readv", errno.EIO)

    with pytest.raises(ReadBackMismatchError) as caught:
        acquirer.read_back(copy)

    assert desk.staged_files() == [caught.value.quarantined]


def test_when_all_of_the_disk_fails_the_copy_stays_where_it_is(desk, acquirer, monkeypatch):
    copy = acquired(desk, acquirer)
    fail(monkeypatch, os, "readv", errno.EIO)
    fail(monkeypatch, durable, "rename_no_replace", errno.EIO)
    with pytest.raises(StagingUnreadableError):
        acquirer.read_back(copy)

    assert desk.staged_files() == [copy.staged_path]


def test_a_copy_that_stays_in_the_cache_is_not_proven(desk, acquirer, monkeypatch):
    copy = acquired(desk, acquirer)
    refuse_direct_at_open(monkeypatch)
    monkeypatch.setattr(direct_io, "_DROP_PAUSE_S", 0)
    monkeypatch.setattr(direct_io, "on_memory_file_system", lambda _: False)
    monkeypatch.setattr(direct_io, "cached", lambda *_: True)

    with pytest.raises(ReadBackUnprovenError):
        acquirer.read_back(copy)

    assert desk.staged_files() == [copy.staged_path]


def test_a_file_system_in_memory_is_called_that(desk, acquirer, monkeypatch):
    copy = acquired(desk, acquirer)
    monkeypatch.setattr(direct_io, "on_memory_file_system", lambda _: True)

    assert acquirer.read_back(copy) == "memory"


def test_direct_reading_refused_late_is_not_claimed(desk, acquirer, monkeypatch):
    monkeypatch.setattr(direct_io, "on_memory_file_system", lambda _: False)
    copy = acquired(desk, acquirer)
    refuse_direct_at_transfer(monkeypatch)

    assert acquirer.read_back(copy) == "cache_dropped"


def test_direct_reading_refused_late_is_no_proof_while_the_file_stays_cached(
    desk, acquirer, monkeypatch
):
    monkeypatch.setattr(direct_io, "on_memory_file_system", lambda _: False)
    copy = acquired(desk, acquirer)
    refuse_direct_at_transfer(monkeypatch)
    monkeypatch.setattr(direct_io, "cached", lambda _fd, _size: True)

    with pytest.raises(ReadBackUnprovenError):
        acquirer.read_back(copy)


def test_a_fifo_in_a_copys_place_holds_up_nobody(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="regular"):
        MediumFile(str(tmp_path / "fifo"))


def test_residency_tells_warm_from_cold(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(content(300_000))
    fd = os.open(path, os.O_RDONLY)
    try:
        os.pread(fd, 300_000, 0)
        assert direct_io.cached(fd, 300_000)
    finally:
        os.close(fd)
    refuse_direct_at_open(monkeypatch)
    with MediumFile(str(path)) as file:
        assert file.in_memory or file.past_cache()


def test_memory_file_systems_are_known():
    fd = os.memfd_create("here")
    try:
        assert direct_io.on_memory_file_system(fd)
    finally:
        os.close(fd)


def test_a_batch_tells_each_outcome_in_order(desk, acquirer):
    copies = [acquired(desk, acquirer, size_bytes) for size_bytes in (0, 100, 5000, 40_000, 3)]
    flip_bit(desk.staging / copies[2].staged_path, 9)
    (desk.staging / copies[4].staged_path).unlink()

    outcomes = acquirer.read_back_batch(copies)

    assert [type(one) for one in outcomes] == [
        str,
        str,
        ReadBackMismatchError,
        str,
        StagingMissingError,
    ]


@pytest.mark.parametrize("size_bytes", [0, 1, 9_999, 10_000, 10_001, 250_000])
def test_hashing_again_gives_what_was_taken_off_the_camera(desk, acquirer, size_bytes):
    data = content(size_bytes)
    copy = acquirer.acquire(desk.root_fd, desk.record("A0001.mp4", data, PART))

    assert acquirer.copies.rehash(copy.staged_path, b"A0001.mp4", PART) == copy.digests
    assert copy.digests == digests_of(b"A0001.mp4", data, PART)


def test_uploads_read_exactly_what_they_ask_for(desk, acquirer):
    data = content(30_000)
    copy = acquirer.acquire(desk.root_fd, desk.record("A0001.mp4", data, PART))

    with contextlib.closing(acquirer.staging.open_staged(copy.staged_path)) as source:
        assert source.read_at(0, 30_000) == data
        assert source.read_at(12_345, 10) == data[12_345:12_355]
        assert source.read_at(30_000, 0) == b""
        with pytest.raises(LocalCopyDamagedError):
            source.read_at(29_999, 2)


def test_uploads_hear_of_failing_media_and_missing_copies(desk, acquirer, monkeypatch):
    copy = acquired(desk, acquirer)
    with contextlib.closing(acquirer.staging.open_staged(copy.staged_path)) as source:
        fail(monkeypatch, os, "pread", errno.EIO)
        with pytest.raises(StagingUnreadableError):
            source.read_at(0, 10)
    acquirer.staging.purge(copy.staged_path)
    with pytest.raises(StagingMissingError):
        acquirer.staging.open_staged(copy.staged_path)


def test_purging_is_done_once_and_may_be_asked_again(desk, acquirer):
    copy = acquired(desk, acquirer)

    assert acquirer.staging.purge(copy.staged_path) is True
    assert acquirer.staging.purge(copy.staged_path) is False
    assert desk.staged_files() == []
