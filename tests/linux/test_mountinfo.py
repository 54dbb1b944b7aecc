from __future__ import annotations

import os
import threading
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.linux import mountinfo
from tests.support.mounts import mounted

CARD = (
    b"40 29 8:17 / /run/bodycam-ingest/volumes/sdb1 ro,nosuid,nodev,noexec,relatime "
    b"shared:31 master:2 - vfat /dev/sdb1 ro,uid=990,utf8\n"
)


def escaped(path: bytes) -> bytes:
    """As the kernel writes it (mangle in fs/seq_file.c)."""
    return b"".join(b"\\%03o" % c if c in b" \t\n\\#" else bytes([c]) for c in path)


def line(path: bytes, optional: bytes = b"", number: tuple[int, int] = (8, 17)) -> bytes:
    optional = optional and optional + b" "
    return b"40 29 %d:%d / %s rw,nodev %s- vfat %s ro,utf8" % (
        *number,
        escaped(path),
        optional,
        escaped(b"/dev/disk of a camera"),
    )


def test_a_card_is_read_with_device_options_and_place():
    (mount,) = mountinfo.parse(CARD)
    assert (mount.mount_id, mount.device) == (40, os.makedev(8, 17))
    assert (mount.root, mount.mount_path) == (b"/", b"/run/bodycam-ingest/volumes/sdb1")
    assert {"ro", "nosuid", "nodev", "noexec"} <= mount.options
    assert (mount.fs_type, mount.source) == ("vfat", b"/dev/sdb1")
    assert mount.super_options == {"ro", "uid=990", "utf8"}
    assert mount.read_only


def test_a_mount_that_can_be_written_is_seen():
    (mount,) = mountinfo.parse(CARD.replace(b" ro,", b" rw,"))
    assert not mount.read_only
    # Either of the two forbids writing.
    (mount,) = mountinfo.parse(CARD.replace(b" ro,nosuid", b" rw,nosuid"))
    assert mount.read_only


def test_lines_of_another_form_hide_nothing():
    text = b"\n".join([b"", b"nonsense", b"1 2 3", b"1 2 x:y / /m rw - a b c", CARD, b"9 9 8:1"])
    assert [mount.mount_id for mount in mountinfo.parse(text)] == [40]
    assert not list(mountinfo.parse(b"40 29 8:17 / /m rw - vfat"))


@given(
    path=st.binary(min_size=1).filter(lambda path: b"\0" not in path),
    optional=st.sampled_from([b"", b"shared:1", b"shared:1 master:2", b"propagate_from:2"]),
    number=st.tuples(st.integers(0, 4095), st.integers(0, 1048575)),
)
def test_any_path_comes_back_as_it_was(path, optional, number):
    (mount,) = mountinfo.parse(line(path, optional, number))
    assert mount.mount_path == path
    assert mount.source == b"/dev/disk of a camera"
    assert (os.major(mount.device), os.minor(mount.device)) == number


@given(st.binary())
def test_any_bytes_are_survived(text):
    list(mountinfo.parse(text))


def test_this_machine_can_be_read():
    mounts = list(mountinfo.parse(Path("/proc/self/mountinfo").read_bytes()))
    roots = [mount.device for mount in mounts if mount.mount_path == b"/"]
    assert Path("/").stat().st_dev in roots


def test_a_mount_and_its_end_are_told(tmp_path):
    told = threading.Event()
    watch = mountinfo.MountWatch(told.set)
    watch.start()
    try:
        with mounted(tmp_path):
            assert told.wait(30)
            told.clear()
        assert told.wait(30)
    finally:
        watch.stop()
    assert "mount-watch" not in [thread.name for thread in threading.enumerate()]
