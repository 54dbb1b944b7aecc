"""Who can write to a volume is what the kernel says of its file system, not of one mount of it."""

from __future__ import annotations

import os
import subprocess

import pytest

from bodycam_ingest.linux.open_writers import nobody_can_write
from tests.support.mounts import ext4_image, mounted


@pytest.fixture
def image(tmp_path):
    return ext4_image(tmp_path / "image", 4 * 2**20)


def unwritable(path):
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return nobody_can_write(fd)
    finally:
        os.close(fd)


def test_a_read_only_file_system_and_every_mount_of_it(tmp_path, image):
    with mounted(tmp_path / "card", "-o", "loop,ro", image) as card:
        assert unwritable(card)
        with mounted(tmp_path / "bound", "--bind", card) as bound:
            assert unwritable(bound)


def test_a_read_only_mount_of_a_writable_file_system_has_writers_elsewhere(tmp_path, image):
    with (
        mounted(tmp_path / "card", "-o", "loop", image) as card,
        mounted(tmp_path / "bound", "--bind", card) as bound,
    ):
        subprocess.run(["mount", "-o", "remount,bind,ro", bound], check=True)
        assert os.statvfs(bound).f_flag & os.ST_RDONLY
        assert not unwritable(bound)


def test_what_has_no_block_device_may_be_written_from_elsewhere(tmp_path):
    with mounted(tmp_path / "share", "-t", "tmpfs", "-o", "ro", "none") as share:
        assert not unwritable(share)


def test_where_it_cannot_be_found_out_somebody_can_write():
    assert not nobody_can_write(-1)
