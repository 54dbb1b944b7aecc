"""Every fault of the operating system ends in the class that says whose it is."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bodycam_ingest.camera import files as volume
from bodycam_ingest.errors import (
    SourceForbiddenError,
    SourceGoneError,
    SourceUnreadableError,
    StagingError,
    StagingForbiddenError,
    StagingFullError,
    StagingReadOnlyError,
    StagingUnreadableError,
    TooManyOpenFilesError,
)
from bodycam_ingest.linux import durable
from tests.support.patching import fail
from tests.support.recordings import Desk, content, file_of, is_part, open_files

if TYPE_CHECKING:
    from collections.abc import Sequence

ON_READING = [
    (errno.EIO, SourceUnreadableError),
    (errno.ENODEV, SourceGoneError),
    (errno.ENXIO, SourceGoneError),
    (errno.ENOENT, SourceGoneError),
    (errno.ESTALE, SourceGoneError),
]
ON_OPENING_SOURCE = [
    *ON_READING,
    (errno.EACCES, SourceForbiddenError),
]
ON_WRITING = [
    (errno.ENOSPC, StagingFullError),
    (errno.EDQUOT, StagingFullError),
    (errno.EROFS, StagingReadOnlyError),
    (errno.EIO, StagingUnreadableError),
    (errno.ENODEV, StagingUnreadableError),
    (errno.ESTALE, StagingUnreadableError),
    (errno.EFBIG, StagingError),
]
ON_OPENING_STAGING = [
    *ON_WRITING,
    (errno.EACCES, StagingForbiddenError),
    (errno.EPERM, StagingForbiddenError),
    (errno.EMFILE, TooManyOpenFilesError),
    (errno.ENFILE, TooManyOpenFilesError),
    (errno.ENOENT, StagingError),
]


def codes(cases):
    return [pytest.param(code, expected, id=errno.errorcode[code]) for code, expected in cases]


def assert_sorted(desk: Desk, expected: type[Exception], size_bytes: int = 60_000) -> None:
    """The fault is exactly of the class; no copy, thread, buffer or open file is left."""
    wanted = desk.record("A0001.mp4", content(size_bytes))
    acquirer = desk.acquirer()
    threads, files = threading.active_count(), open_files()

    with pytest.raises(expected) as caught:
        acquirer.acquire(desk.root_fd, wanted)

    assert type(caught.value) is expected
    assert caught.value.__cause__ is not None
    assert threading.active_count() == threads
    assert acquirer.pool.in_use == 0
    assert open_files() == files
    assert [name for name in desk.staged_files() if not name.startswith("quarantine/")] == []
    assert acquirer.free_space.look().free_bytes >= 0


@pytest.mark.parametrize(("code", "expected"), codes(ON_READING))
@pytest.mark.parametrize("good_reads", [0, 4])
def test_reading_the_camera(desk, monkeypatch, code, expected, good_reads):
    fail(monkeypatch, os, "readv", code, after=good_reads)
    assert_sorted(desk, expected)


def test_asking_the_camera_at_the_end(desk, monkeypatch):
    def is_source(fd):
        return file_of(fd).endswith("A0001.mp4")

    # Before: listed by the test, opened, compared with the listing.
    fail(monkeypatch, os, "fstat", errno.ENODEV, is_source, after=3)
    assert_sorted(desk, SourceGoneError)


@pytest.mark.parametrize(("code", "expected"), codes(ON_WRITING))
@pytest.mark.parametrize("size_bytes", [60_000, 100])
def test_writing_to_staging(desk, monkeypatch, code, expected, size_bytes):
    good_writes = 0 if size_bytes == 100 else 3
    fail(monkeypatch, os, "write", code, lambda fd, _: is_part(fd), after=good_writes)
    assert_sorted(desk, expected, size_bytes)


@pytest.mark.parametrize("name", ["fsync", "ftruncate", "fchmod"])
@pytest.mark.parametrize(("code", "expected"), codes(ON_WRITING))
def test_finishing_the_copy(desk, monkeypatch, name, code, expected):
    fail(monkeypatch, os, name, code, lambda fd, *_: is_part(fd))
    wanted = desk.record("probe", b"x")
    if name == "ftruncate" and not _writes_direct(desk, wanted):
        return  # through the cache nothing is padded, so nothing is cut
    assert_sorted(desk, expected)


def _writes_direct(desk: Desk, wanted) -> bool:
    desk.acquirer().staging.make_docking_directory(desk.docking_id)
    with desk.acquirer().copies.new_part(desk.docking_id, wanted.item_id) as part:
        answer = part.direct
    desk.acquirer().staging.discard_part(desk.docking_id, wanted.item_id)
    return answer


@pytest.mark.parametrize(("code", "expected"), codes(ON_OPENING_STAGING))
def test_opening_the_temporary_file(desk, monkeypatch, code, expected):
    fail(monkeypatch, os, "open", code, lambda path, *_, **__: str(path).endswith(".part"))
    assert_sorted(desk, expected)


@pytest.mark.parametrize(("code", "expected"), codes(ON_OPENING_STAGING))
def test_naming_the_copy(desk, monkeypatch, code, expected):
    fail(monkeypatch, durable, "rename_no_replace", code)
    assert_sorted(desk, expected)


@pytest.mark.parametrize(("code", "expected"), codes(ON_OPENING_SOURCE))
def test_opening_the_recording(desk, monkeypatch, code, expected):
    wanted = desk.record("A0001.mp4", content(1000))

    def failing(_root, path):
        error = OSError(code, os.strerror(code))
        raise volume.source_error(error, path) from error

    monkeypatch.setattr(volume, "open_beneath", failing)
    with pytest.raises(expected):
        desk.acquirer().acquire(desk.root_fd, wanted)
    assert desk.staged_files() == []


def test_no_thread_to_be_had(desk, monkeypatch):
    """At the service's task limit a copy fails and is tried again; nothing hangs."""
    wanted = desk.record("A0001.mp4", content(60_000))
    fail(monkeypatch, threading.Thread, "start", RuntimeError("can't start new thread"))
    with pytest.raises(StagingError):
        desk.acquirer().acquire(desk.root_fd, wanted)
    assert desk.staged_files() == []


def test_a_temporary_file_that_cannot_be_removed_does_not_hide_the_fault(desk, monkeypatch):
    wanted = desk.record("A0001.mp4", content(60_000))
    acquirer = desk.acquirer()

    with monkeypatch.context() as patch:
        fail(patch, os, "unlink", errno.EIO)
        fail(patch, os, "fsync", errno.EIO, is_part)
        with pytest.raises(StagingUnreadableError, match="writing"):
            acquirer.acquire(desk.root_fd, wanted)

    assert [name.endswith(".part") for name in desk.staged_files()] == [True]
    acquired = acquirer.acquire(desk.root_fd, wanted)
    assert desk.staged_files() == [acquired.staged_path]


ON_A_REAL_FILE_SYSTEM = textwrap.dedent(
    """
    import pathlib, subprocess, sys
    from tests.support.recordings import Desk, content, file_of, open_files
    from bodycam_ingest.errors import IngestError
    base = pathlib.Path(sys.argv[1])
    desk = Desk.at(base)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "t", str(desk.staging)], check=True)
    def told(wanted):
        # The gate is held open, so that the file system itself must say no.
        try:
            desk.acquirer(min_free_bytes=-10**9).acquire(desk.root_fd, wanted)
        except IngestError as error:
            return type(error).__name__
        return "acquired"
    print("TOLD", told(desk.record("small", content(300_000))))
    print("TOLD", told(desk.record("large", content(2_000_000))))
    print("TOLD", sum(name.endswith(".part") for name in desk.staged_files()))
    subprocess.run(["mount", "-o", "remount,ro", str(desk.staging)], check=True)
    print("TOLD", told(desk.record("small", content(300_000))))
    """
)


def told_by(script: str, *arguments: str | Path, before: Sequence[str] = ()) -> list[str]:
    """What a process says of itself."""
    done = subprocess.run(
        [*before, sys.executable, "-c", script, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    told = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("TOLD ")]
    assert told, done.stderr
    return told


def test_a_full_and_a_read_only_file_system_for_real(tmp_path):
    """In a mount namespace of its own, where the machine allows one to anybody."""
    apart = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("expected: this machine grants no mount namespace")
    told = told_by(ON_A_REAL_FILE_SYSTEM, tmp_path, before=apart)
    assert told == ["acquired", "StagingFullError", "0", "StagingReadOnlyError"]


OUT_OF_DESCRIPTORS = textwrap.dedent(
    """
    import os, pathlib, resource, sys
    from tests.support.recordings import Desk, content, file_of, open_files
    from bodycam_ingest.errors import IngestError
    desk = Desk.at(pathlib.Path(sys.argv[1]))
    wanted = desk.record("A0001.mp4", content(60_000))
    acquirer = desk.acquirer()
    acquirer.staging.make_docking_directory(desk.docking_id)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))
    # Space for the recording, none for the copy.
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, used + 1))
    try:
        acquirer.acquire(desk.root_fd, wanted)
    except IngestError as error:
        print("TOLD", type(error).__name__)
    """
)


def test_out_of_file_descriptors_for_real(tmp_path):
    assert told_by(OUT_OF_DESCRIPTORS, tmp_path) == ["TooManyOpenFilesError"]
