"""A mount is told at once, without anybody asking."""

from __future__ import annotations

import subprocess
import threading

import pytest

from bodycam_ingest.linux.mount_watch import MountWatch


def test_a_mount_and_its_end_are_told(tmp_path):
    told = threading.Event()
    watch = MountWatch(told.set)
    watch.start()
    try:
        done = subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=False)
        if done.returncode:
            pytest.skip("expected: this machine may not mount")
        try:
            assert told.wait(30)
            told.clear()
        finally:
            subprocess.run(["umount", tmp_path], check=True)
        assert told.wait(30)
    finally:
        watch.stop()
    assert "mount-watch" not in [thread.name for thread in threading.enumerate()]
