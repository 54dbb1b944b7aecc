"""A mount is told at once, without anybody asking."""

from __future__ import annotations

import threading

from bodycam_ingest.linux.mount_watch import MountWatch
from tests.support.mounts import mounted


def test_a_mount_and_its_end_are_told(tmp_path):
    told = threading.Event()
    watch = MountWatch(told.set)
    watch.start()
    try:
        with mounted(tmp_path):
            assert told.wait(30)
            told.clear()
        assert told.wait(30)
    finally:
        watch.stop()
    assert "mount-watch" not in [thread.name for thread in threading.enumerate()]
