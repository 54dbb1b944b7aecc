"""`verify` and the reading commands on full and read-only disks, and on copies for a court."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile

import pytest

from bodycam_ingest.db import reading
from bodycam_ingest.db.reading import open_for_reading
from bodycam_ingest.errors import DatabaseDamagedError, StateDirectoryError
from tests.support.dock import Dock as DockProcess
from tests.support.ledgers import sql
from tests.support.mounts import ext4_image, mount, mounted
from tests.support.patching import fail

READING = (["items"], ["status"], ["findings"], ["cameras"])


@contextlib.contextmanager
def read_only(directory):
    """The same directory as a read-only medium shows it."""
    with mounted(directory, "--bind", directory):
        mount("-o", "remount,bind,ro", directory)
        yield directory


def commands(root):
    """The commands on a dock directory, as processes."""
    (root / "commands").mkdir()
    process = DockProcess(root / "commands")
    text = process.config.read_text()
    for old, new in (
        ("police.example.org", "pd.example"),
        ('"state"', f'"{root}/dock/state"'),
        ('"staging"', f'"{root}/dock/staging"'),
    ):
        text = text.replace(old, new)
    process.config.write_text(text)
    return process


def grown(dock, *, leave_log):
    """More entries; where asked, as a power cut or a copy leaves them: in the log beside."""
    state, aside = dock.state, dock.state.with_name("aside")
    with dock.open() as (_, ledger):
        with ledger.transaction() as txn:
            txn.append("daemon.started", "daemon", {})
        if leave_log:
            shutil.copytree(state, aside)
    if leave_log:
        shutil.rmtree(state)
        aside.rename(state)
        (state / "bodycam.db-shm").unlink(missing_ok=True)


@pytest.mark.parametrize("leave_log", [False, True])
def test_a_read_only_copy_is_verified_and_read(dock, tmp_path, leave_log):
    grown(dock, leave_log=leave_log)
    assert (dock.state / "bodycam.db-wal").exists() is leave_log
    process = commands(tmp_path)
    before = {path: path.read_bytes() for path in dock.state.iterdir() if path.is_file()}
    with read_only(dock.state):
        done = process.run("verify", "--files")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert "entries: 284 checked" in done.stdout
        for command in READING:
            done = process.run(*command)
            # `status` tells by its code that no daemon runs, which is so.
            assert done.returncode == (81 if command == ["status"] else 0), done.stderr
            assert done.stdout or command == ["findings"]
    assert {path: path.read_bytes() for path in dock.state.iterdir() if path.is_file()} == before


def test_a_copy_taken_beside_the_daemon_holds_but_for_the_key(dock, tmp_path):
    with dock.open() as (_, ledger):
        copy = tmp_path / "copy"
        copy.mkdir(mode=0o700)
        shutil.copy2(dock.state / "checkpoint", copy / "checkpoint")
        with ledger.transaction() as txn:
            txn.append("daemon.started", "daemon", {})
        sql(dock.state, f"VACUUM INTO '{copy}/bodycam.db'")
    shutil.rmtree(dock.state)
    copy.rename(dock.state)
    report = dock.verify(files=True)
    assert (report.findings, len(report.unreachable)) == ([], 1)
    assert report.unreachable[0].startswith("the key on disk")


def test_a_copy_without_room_to_read_it_is_told(dock, tmp_path, monkeypatch):
    grown(dock, leave_log=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with read_only(dock.state):
        report = dock.verify()
    assert (report.result(), report.findings) == ("unchecked", [])
    assert any("TMPDIR" in told for told in report.unreachable)


def test_the_private_copy_is_taken_away(dock, tmp_path, monkeypatch):
    grown(dock, leave_log=True)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    with read_only(dock.state):
        engine = open_for_reading(dock.state)
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        engine.dispose()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_full_state_disk_is_not_called_broken(dock, tmp_path, kind):
    aside = dock.state.with_name("aside")
    dock.state.rename(aside)
    with contextlib.ExitStack() as undo:
        if kind == "tmpfs":
            undo.enter_context(mounted(dock.state, "-t", "tmpfs", "-o", "size=4m", "none"))
        else:
            image = ext4_image(tmp_path / "image", 16 * 1024 * 1024)
            undo.enter_context(mounted(dock.state, "-o", "loop", image))
        shutil.copytree(aside, dock.state, dirs_exist_ok=True)
        dock.state.chmod(0o700)
        with (dock.state / "filler").open("wb") as file, contextlib.suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))
        done = commands(tmp_path).run("verify")
        assert done.returncode in {0, 2}, done.stdout
        assert "FINDING" not in done.stdout
        if done.returncode:
            assert "could not be checked" in done.stdout
        (dock.state / "filler").unlink()
        assert dock.verify().result() == "holds"


@pytest.mark.parametrize(
    "code",
    ["SQLITE_IOERR_SHMSIZE", "SQLITE_CANTOPEN", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR"],
)
def test_what_the_machine_refuses_is_not_called_broken(dock, monkeypatch, code):
    error = sqlite3.OperationalError("refused")
    error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, code), code
    fail(monkeypatch, sqlite3, "connect", error)
    report = dock.verify()
    assert (report.result(), report.findings) == ("unchecked", [])


@pytest.mark.parametrize("side", ["bodycam.db-wal", "bodycam.db-shm", "checkpoint"])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(dock, side):
    (dock.state / side).unlink(missing_ok=True)
    os.mkfifo(dock.state / side)
    assert dock.verify().result() == "broken"


def test_a_pipe_in_place_of_the_database_is_damage(dock):
    (dock.state / "bodycam.db").unlink()
    os.mkfifo(dock.state / "bodycam.db")
    with pytest.raises(DatabaseDamagedError):
        open_for_reading(dock.state)


def test_another_users_directory_is_no_damage(dock, monkeypatch):
    fail(monkeypatch, reading, "_must_be_a_file", StateDirectoryError("no"))
    assert dock.verify().result() == "unchecked"
