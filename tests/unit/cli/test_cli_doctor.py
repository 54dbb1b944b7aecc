"""`doctor` before anything is lost: what it must notice, and that it leaves nothing behind."""

from __future__ import annotations

import os
import resource

import pytest

from bodycam_ingest import clock
from bodycam_ingest.cli import checkup
from bodycam_ingest.cli.checkup import Outcome
from bodycam_ingest.config import load

CONFIG = """
[dock]
id = "dock-7"
agency = "police.example.org"
state_dir = "state"
[cameras]
mount_roots = ["cameras"]
[staging]
dir = "staging"
min_free_bytes = 1
[[stores]]
name = "cloud"
type = "s3"
bucket = "evidence"
credentials = { source = "file", path = "keys.ini" }
"""


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    for name in ("state", "cameras", "staging"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "keys.ini").touch(mode=0o600)
    return tmp_path


def found(machine, change=None):
    config = load(machine / "config.toml")
    return {check.name: check for check in checkup.directories(config)}


def failing(machine):
    return {n for n, check in found(machine).items() if check.outcome is Outcome.FAIL}


def test_a_fit_machine_has_no_failing_check_and_nothing_is_left(machine):
    assert failing(machine) == set()
    assert list((machine / "staging").iterdir()) == []


@pytest.mark.parametrize(
    ("harm", "name"),
    [
        (lambda m: (m / "state").chmod(0o755), "dock.state_dir"),
        (lambda m: (m / "state").rmdir(), "dock.state_dir"),
        (lambda m: (m / "staging").rmdir(), "staging.dir"),
        (lambda m: (m / "cameras").rmdir(), "cameras.mount_roots"),
        (lambda m: (m / "keys.ini").unlink(), "stores.cloud.credentials"),
    ],
)
def test_what_would_stop_the_daemon_fails_and_says_what_to_do(machine, harm, name):
    harm(machine)
    assert failing(machine) == {name}
    assert found(machine)[name].todo


def test_keys_that_others_can_read_are_noticed(machine):
    (machine / "keys.ini").chmod(0o644)
    assert found(machine)["stores.cloud.credentials"].outcome is not Outcome.OK


@pytest.mark.skipif(os.geteuid() == 0, reason="expected: root writes everywhere")
def test_staging_that_cannot_be_written_fails(machine):
    (machine / "staging").chmod(0o500)
    assert failing(machine) == {"staging.dir"}


def test_too_little_room_fails_before_the_first_recording_does(machine):
    path = machine / "config.toml"
    text = path.read_text(encoding="utf-8").replace("= 1\n", "= 9_000_000_000_000_000\n")
    path.write_text(text, encoding="utf-8")
    assert failing(machine) == {"staging.dir.free"}


def test_a_file_system_without_o_direct_is_told_not_failed(machine, monkeypatch):
    real = os.open

    def refuse(path, flags, *rest, **more):
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    check = found(machine)["staging.dir.direct"]
    assert (check.outcome, check.found) == (Outcome.WARN, "no O_DIRECT")
    assert list((machine / "staging").iterdir()) == []


@pytest.mark.parametrize(("state", "outcome"), [(True, "ok"), (False, "warn"), (None, "warn")])
def test_a_clock_that_nobody_keeps_is_told(monkeypatch, state, outcome):
    monkeypatch.setattr(clock, "synchronised", lambda: state)
    checks = {check.name: check for check in checkup.machine()}
    assert checks["machine.clock"].outcome == outcome


def test_a_low_limit_of_open_files_is_told(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 4096))
    checks = {check.name: check for check in checkup.machine()}
    assert checks["machine.open_files"].outcome is Outcome.WARN


def test_every_check_that_is_not_ok_says_what_to_do(machine):
    for check in [*checkup.machine(), *found(machine).values()]:
        assert bool(check.todo) is (check.outcome is not Outcome.OK)
