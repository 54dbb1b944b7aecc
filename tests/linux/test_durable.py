"""What is made durable together."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from bodycam_ingest.linux import durable


@pytest.fixture
def directory(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


class Slow:
    """fsync(2) that waits until it is let go on; the first so many of them fail."""

    def __init__(self, faults=0):
        self.begun, self.go_on = threading.Semaphore(0), threading.Event()
        self.calls, self.faults = 0, faults

    def __call__(self, _path):
        self.calls += 1
        self.begun.release()
        assert self.go_on.wait(60)
        if self.faults:
            self.faults -= 1
            raise OSError(errno.EIO, "failing")


def sync_in_threads(sync, fd, slow, count):
    """The first begins; the others ask while it is under way. Returns how many met a fault."""
    faults = []

    def ask():
        try:
            sync.sync(fd)
        except OSError as error:
            faults.append(error)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    threads[0].start()
    assert slow.begun.acquire(timeout=60)
    for thread in threads[1:]:
        thread.start()
    while sync._asked and next(iter(sync._asked.values())).asked < count:
        pass
    slow.go_on.set()
    for thread in threads:
        thread.join()
    return len(faults)


def test_one_sync_serves_all_who_asked_before_it_began_and_none_who_asked_later(
    directory, monkeypatch
):
    slow = Slow()
    monkeypatch.setattr(durable, "fsync_directory", slow)
    sync = durable.DirectorySync()
    assert sync_in_threads(sync, directory, slow, 5) == 0
    # The one under way had begun before the other four asked: they share another.
    assert slow.calls == 2
    sync.sync(directory)
    assert slow.calls == 3
    assert not sync._asked


def test_a_sync_that_failed_served_nobody(directory, monkeypatch):
    slow = Slow(faults=2)
    monkeypatch.setattr(durable, "fsync_directory", slow)
    assert sync_in_threads(durable.DirectorySync(), directory, slow, 5) == 2
    assert slow.calls == 3
