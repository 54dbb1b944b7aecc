from __future__ import annotations

import errno
import fcntl

from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.camera import files
from bodycam_ingest.camera.listing import Settling, being_written
from bodycam_ingest.linux import open_writers
from bodycam_ingest.model.evidence import StatSignature
from tests.support.patching import fail


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 3)), max_size=30))
def test_a_file_settles_only_after_standing_still_for_the_whole_time(looks):
    settling = Settling(lambda: 5.0)
    now, since, last = 0.0, 0.0, None
    for wait, size in looks:
        now += wait
        if size != last:
            since, last = now, size
        settled = settling.observe(now, b"A", StatSignature(size, 1, 1, 1))
        assert settled == (now - since >= 5.0)


def test_where_nobody_can_write_two_looks_that_agree_suffice():
    settling = Settling(lambda: 3600.0, unwritable=True)
    looks = [1, 2, 2, 3, 3]
    settled = [settling.observe(0.0, b"A", StatSignature(size, 1, 1, 1)) for size in looks]
    assert settled == [False, False, True, False, True]


def test_a_file_held_open_for_writing_is_seen(card):
    root, fd = card
    (root / "A.MP4").write_bytes(b"clip")
    assert not being_written(fd, b"A.MP4")
    with (root / "A.MP4").open("ab"):
        assert being_written(fd, b"A.MP4")
    assert not being_written(fd, b"A.MP4")


def test_a_writer_is_seen_without_the_right_to_ask_for_a_lease(card, monkeypatch):
    root, fd = card
    fail(monkeypatch, fcntl, "fcntl", errno.EPERM)
    monkeypatch.setattr(open_writers, "_FRESH_S", -1.0)
    (root / "A.MP4").write_bytes(b"clip")
    with (root / "A.MP4").open("rb"):
        assert not being_written(fd, b"A.MP4")
    with (root / "A.MP4").open("ab"):
        assert being_written(fd, b"A.MP4")
    assert not being_written(fd, b"A.MP4")


def test_one_look_at_the_processes_serves_a_whole_card(card, monkeypatch):
    root, fd = card
    looks = []

    def look():
        looks.append(1)
        return iter(())

    fail(monkeypatch, fcntl, "fcntl", errno.EPERM)
    monkeypatch.setattr(open_writers, "_FRESH_S", 1000.0)
    monkeypatch.setattr(open_writers, "_writers", open_writers._Writers())
    monkeypatch.setattr(open_writers, "_open_for_writing", look)
    for number in range(20):
        (root / f"{number}.MP4").write_bytes(b"clip")
        assert not being_written(fd, b"%d.MP4" % number)
    assert len(looks) == 1


def test_a_file_that_cannot_be_opened_holds_up_nobody(card, monkeypatch):
    _, fd = card
    fail(monkeypatch, files, "_open", errno.EIO)
    assert not being_written(fd, b"A.MP4")
