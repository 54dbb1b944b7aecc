"""`doctor` before anything is lost: what it must notice, and that it leaves nothing behind."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from pathlib import Path

import pytest

from bodycam_ingest.config import load
from bodycam_ingest.custody import entries
from bodycam_ingest.daemon import control
from bodycam_ingest.db.state_dir import initialise, open_ledger
from bodycam_ingest.doctor import dock as fitness
from bodycam_ingest.doctor import machine as checkup
from bodycam_ingest.doctor.result import Outcome
from bodycam_ingest.errors import IngestError
from bodycam_ingest.linux import clock
from bodycam_ingest.model.evidence import StoreProbe
from bodycam_ingest.stores.directory import DirectoryStore
from bodycam_ingest.stores.registry import prepare_store
from tests.support.dock import SMALL_CONFIG
from tests.support.ledgers import opened, sql, start_and_stop
from tests.support.patching import fail
from tests.support.recordings import refuse_direct_at_open

ORIGIN = "police.example.org/custody/dock-7"
HEAD, MARK, DIRECTORY = SMALL_CONFIG.partition("[[stores]]")
HEAD += "min_free_bytes = 1\n"
CONFIG = f"""{HEAD}{MARK}
name = "cloud"
type = "s3"
bucket = "evidence"
credentials = {{ source = "file", path = "keys.ini" }}
"""


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "config.toml").write_text(CONFIG, encoding="utf-8")
    for name in ("state", "cameras", "staging"):
        (tmp_path / name).mkdir(mode=0o700)
    (tmp_path / "keys.ini").touch(mode=0o600)
    return tmp_path


def named(checks):
    return {check.name: check for check in checks}


def found(machine):
    return named(checkup.directories(load(machine / "config.toml")))


def edit(machine, old, new):
    path = machine / "config.toml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


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
    edit(machine, "= 1\n", "= 9_000_000_000_000_000\n")
    assert failing(machine) == {"staging.dir.free"}


def test_a_file_system_without_o_direct_is_told_not_failed(machine, monkeypatch):
    refuse_direct_at_open(monkeypatch)
    check = found(machine)["staging.dir.direct"]
    assert (check.outcome, check.found) == (Outcome.WARN, "no O_DIRECT")
    assert list((machine / "staging").iterdir()) == []


@pytest.mark.parametrize(("state", "outcome"), [(True, "ok"), (False, "warn"), (None, "warn")])
def test_a_clock_that_nobody_keeps_is_told(monkeypatch, state, outcome):
    monkeypatch.setattr(clock, "synchronised", lambda: state)
    checks = named(checkup.machine())
    assert checks["machine.clock"].outcome == outcome


def test_a_low_limit_of_open_files_is_told(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (256, 4096))
    checks = named(checkup.machine())
    assert checks["machine.open_files"].outcome is Outcome.WARN


def test_a_mount_with_stray_bytes_in_its_name_does_not_end_the_checks(tmp_path):
    device = tmp_path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    mounts = tmp_path / "mountinfo"
    mounts.write_bytes(
        b"40 29 8:17 / /media/you/\xff ro - vfat /dev/sdb1 ro\n"
        b"41 29 " + number.encode() + b" / /x rw - ext4 /dev/sda1 rw\n"
    )
    assert checkup.file_system(tmp_path, mounts) == "ext4"


def test_every_check_that_is_not_ok_says_what_to_do(machine):
    for check in [*checkup.machine(), *found(machine).values()]:
        assert bool(check.todo) is (check.outcome is not Outcome.OK)


@pytest.fixture
def dock(tmp_path):
    """A dock after `init`, with a directory as its one store."""
    path = tmp_path / "config.toml"
    path.write_text(HEAD + MARK + DIRECTORY, encoding="utf-8")
    for name in ("cameras", "archive"):
        (tmp_path / name).mkdir()
    config = load(path)
    initialise(config.dock.state_dir, config.origin)
    prepare_store(config.stores[0])
    return config


def test_ledger_and_store_of_a_fresh_dock_are_told_of(dock):
    assert fitness.ledger(dock).found == "police.example.org/custody/dock-7, 1 entries"
    store = named(fitness.stores(dock))["stores.archive"]
    assert (store.outcome, store.found) == (Outcome.OK, "is confirmed by reading back")


@pytest.mark.parametrize(("required", "outcome"), [(True, Outcome.FAIL), (False, Outcome.WARN)])
def test_a_store_that_does_not_answer_is_told_without_ending_the_rest(dock, required, outcome):
    (dock.dock.state_dir.parent / "archive").rename(dock.dock.state_dir.parent / "elsewhere")
    store = dock.stores[0].model_copy(update={"required": required})
    config = dock.model_copy(update={"stores": (store,)})
    check = named(fitness.stores(config))["stores.archive"]
    assert check.outcome is outcome
    assert check.todo


def test_a_store_that_proves_nothing_is_no_store(dock, monkeypatch):
    nothing = StoreProbe(
        verifies_checksum=False, verifies_payload=False, returns_checksum=True, reads_back=False
    )
    monkeypatch.setattr(DirectoryStore, "probe", lambda _self: nothing)
    check = named(fitness.stores(dock))["stores.archive"]
    assert check.outcome is Outcome.FAIL


# -- what the daemon would refuse ----------------------------------------------------------------


def _older_database(state):
    path = state / "bodycam.db"
    old = path.read_bytes()
    start_and_stop(state, ORIGIN)
    path.write_bytes(old)
    for side in ("-wal", "-shm"):
        path.with_name(path.name + side).unlink(missing_ok=True)


@pytest.mark.parametrize(
    "harm",
    [
        lambda state: shutil.rmtree(state / "keys"),
        lambda state: (state / "keys/log.key").chmod(0o644),
        lambda state: (state / "keys/log.key").write_bytes(b"x"),
        lambda state: (state / "checkpoint").unlink(),
        lambda state: (state / "checkpoint").write_bytes(b"\xff"),
        lambda state: (state / "lock").unlink(),
        lambda state: state.chmod(0o755),
        _older_database,
        lambda state: sql(state, "DELETE FROM ledger_log"),
        lambda state: sql(state, "UPDATE ledger_head SET size = 'many'"),
        lambda state: sql(state, "DELETE FROM alembic_version"),
        lambda state: sql(state, "UPDATE alembic_version SET version_num = '0000'"),
        lambda state: sql(state, "UPDATE alembic_version SET version_num = '9999'"),
        lambda state: sql(state, "DROP TABLE ledger_head"),
        lambda state: (state / "bodycam.db").unlink(),
        lambda state: (state / "bodycam.db").write_bytes(b"x" * 8192),
    ],
)
def test_what_the_daemon_refuses_is_never_called_fit(dock, harm):
    state = dock.dock.state_dir
    harm(state)
    with pytest.raises(IngestError) as refused:
        open_ledger(state, dock.origin)
    check = fitness.ledger(dock)
    assert (check.outcome, check.found) == (Outcome.FAIL, refused.value.message)
    assert check.todo == refused.value.hint != ""


def test_a_ledger_is_examined_beside_the_daemon(dock):
    with opened(dock.dock.state_dir, dock.origin) as (_, ledger):
        with ledger.transaction() as txn:
            txn.append("daemon.started", "daemon", {})
        assert fitness.ledger(dock).found.endswith("2 entries")


def test_another_disk_in_an_archives_place_fails(dock):
    pinned = entries.store_pinned("archive", identity="directory:OTHER")
    with opened(dock.dock.state_dir, dock.origin) as (_, ledger), ledger.transaction() as txn:
        txn.add(pinned)
    check = named(fitness.stores(dock))["stores.archive"]
    assert check.outcome is Outcome.FAIL
    assert "directory:OTHER at first contact" in check.found


def test_an_archives_room_is_told(dock):
    assert "free" in named(fitness.stores(dock))["stores.archive.free"].found


@pytest.mark.parametrize(
    ("properties", "path", "writable"),
    [
        ({"ProtectSystem": "strict"}, "/srv/evidence", False),
        ({"ProtectSystem": "strict", "ReadWritePaths": "/a /srv"}, "/srv/evidence", True),
        ({"ProtectSystem": "strict", "ReadWritePaths": "-/srv/evidence"}, "/srv/evidence", True),
        ({"ProtectSystem": "strict", "StateDirectory": "b b/s"}, "/var/lib/b/archive", True),
        ({"ProtectSystem": "strict", "StateDirectory": "b"}, "/var/lib/bc", False),
        ({"ProtectSystem": "full"}, "/srv/evidence", True),
        ({"ProtectSystem": "full"}, "/usr/evidence", False),
        ({"ProtectSystem": "no"}, "/srv/evidence", True),
        ({}, "/srv/evidence", True),
    ],
)
def test_the_sandbox_of_the_service_is_looked_at(properties, path, writable):
    assert fitness.writable_in(properties, Path(path)) is writable


def test_an_archive_that_the_service_may_not_write_fails(dock, monkeypatch):
    monkeypatch.setattr(fitness, "_sandbox", lambda: {"ProtectSystem": "strict"})
    check = named(fitness.stores(dock))["stores.archive.sandbox"]
    assert check.outcome is Outcome.FAIL
    assert f"ReadWritePaths={dock.stores[0].path}" in check.todo


def test_keys_that_only_the_service_has_are_no_fault(machine, monkeypatch):
    edit(machine, '{ source = "file", path = "keys.ini" }', '{ source = "environment" }')
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    config = load(machine / "config.toml")
    (check,) = fitness.stores(config)
    assert (check.outcome, "only the service has them" in check.found) == (Outcome.WARN, True)
    told = {"store": "cloud", "identity": "s3:x", "last_error": None}
    monkeypatch.setattr(control, "ask", lambda *_: {"stores": [told]})
    (check,) = fitness.stores(config)
    assert (check.outcome, check.found) == (Outcome.OK, "the running daemon reaches it")
    told.update(last_error="store_credentials", last_message="no such key")
    (check,) = fitness.stores(config)
    assert (check.outcome, "no such key" in check.found) == (Outcome.FAIL, True)


def test_a_mount_root_that_is_missing_is_called_missing(machine):
    (machine / "cameras").rmdir()
    assert found(machine)["cameras.mount_roots"].found.endswith("no such directory")


def test_a_file_system_that_nobody_names_is_not_called_good(machine, monkeypatch):
    monkeypatch.setattr(checkup, "file_system", lambda _path: "unknown")
    assert found(machine)["dock.state_dir.file_system"].outcome is Outcome.WARN


def test_a_full_staging_disk_is_not_told_as_one_without_o_direct(machine, monkeypatch):
    fail(monkeypatch, os, "write", errno.ENOSPC)
    checks = found(machine)
    assert "No space" in checks["staging.dir"].found
    assert "staging.dir.direct" not in checks
