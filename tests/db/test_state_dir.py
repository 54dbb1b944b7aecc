"""A state directory is whole or not there, is nobody else's, and is never made twice."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import textwrap

import pytest

from bodycam_ingest.db.reading import open_for_reading
from bodycam_ingest.db.state_dir import initialise, open_ledger
from bodycam_ingest.errors import (
    AlreadyInitialisedError,
    AlreadyRunningError,
    KeyUnreadableError,
    NotInitialisedError,
    SchemaUnknownError,
    StateDirectoryError,
)
from tests.support.killing import killed
from tests.support.ledgers import ORIGIN, opened, sql, start_and_stop


@pytest.fixture
def state(tmp_path):
    initialise(tmp_path / "state", ORIGIN)
    return tmp_path / "state"


def tree(path):
    return {
        str(p.relative_to(path)): (p.stat().st_mode, p.read_bytes() if p.is_file() else None)
        for p in path.rglob("*")
    }


def refused(state, error, match=None, origin=ORIGIN):
    """Opening is refused, and nothing was changed, made or left locked by trying."""
    before = tree(state) if state.exists() else None
    with pytest.raises(error, match=match):
        open_ledger(state, origin)
    after = (
        {k: v for k, v in tree(state).items() if "-wal" not in k and "-shm" not in k}
        if state.exists()
        else None
    )
    assert after == before


def test_everything_is_the_users_alone(state):
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    modes = {name: stat.S_IMODE(mode) for name, (mode, _) in tree(state).items()}
    assert modes == {
        "bodycam.db": 0o600,
        "checkpoint": 0o600,
        "keys": 0o700,
        "keys/log.key": 0o600,
        "lock": 0o600,
    }
    start_and_stop(state)


def test_an_open_umask_opens_nothing(tmp_path):
    old = os.umask(0)
    try:
        initialise(tmp_path / "state", ORIGIN)
    finally:
        os.umask(old)
    assert not any(mode & 0o077 for mode, _ in tree(tmp_path / "state").values())


def test_an_existing_one_is_never_touched(state):
    before = tree(state)
    with pytest.raises(AlreadyInitialisedError):
        initialise(state, "pd.example/custody/dock-2")
    assert tree(state) == before
    start_and_stop(state)


@pytest.mark.parametrize("name", ["bodycam.db", "keys", "something"])
def test_a_place_that_is_not_empty_is_never_touched(tmp_path, name):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / name).write_bytes(b"x")
    with pytest.raises(AlreadyInitialisedError):
        initialise(tmp_path / "state", ORIGIN)
    assert tree(tmp_path / "state").keys() == {name}


def test_a_file_in_its_place_is_never_touched(tmp_path):
    (tmp_path / "state").write_bytes(b"x")
    with pytest.raises(AlreadyInitialisedError):
        initialise(tmp_path / "state", ORIGIN)
    assert (tmp_path / "state").read_bytes() == b"x"


def test_an_empty_directory_is_taken(tmp_path):
    (tmp_path / "state").mkdir(mode=0o755)
    initialise(tmp_path / "state", ORIGIN)
    start_and_stop(tmp_path / "state")


def test_a_place_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateDirectoryError):
        initialise(tmp_path / "file" / "state", ORIGIN)


# -- an init that was cut off --------------------------------------------------------------------

WORK = """
from bodycam_ingest.db import state_dir

if moment == "database":
    state_dir.create_schema = lambda conn: kill("database")
if moment == "genesis":
    state_dir.Txn.write = lambda txn, signer: kill("genesis")
state_dir.initialise(state, "pd.example/custody/dock-1")
"""


@pytest.mark.process
@pytest.mark.parametrize("moment", ["database", "genesis", "before:init.rename"])
def test_cut_off_before_it_was_whole(tmp_path, moment):
    state = tmp_path / "state"
    killed(moment, WORK, state)
    with pytest.raises(NotInitialisedError):
        open_ledger(state, ORIGIN)
    initialise(state, ORIGIN)
    start_and_stop(state)
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.process
def test_cut_off_when_it_was_whole(tmp_path):
    state = tmp_path / "state"
    killed("after:init.rename", WORK, state)
    with pytest.raises(AlreadyInitialisedError):
        initialise(state, ORIGIN)
    start_and_stop(state)


# -- opening -------------------------------------------------------------------------------------


def test_nothing_there(tmp_path):
    with pytest.raises(NotInitialisedError):
        open_ledger(tmp_path / "state", ORIGIN)
    with pytest.raises(NotInitialisedError):
        open_for_reading(tmp_path / "state")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["bodycam.db", "checkpoint", "lock", "keys"])
def test_a_piece_is_missing(state, name):
    path = state / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    refused(state, NotInitialisedError, name)


def test_the_key_is_missing(state):
    (state / "keys/log.key").unlink()
    refused(state, KeyUnreadableError, "No such file")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_the_key_is_open_to_others(state, mode):
    (state / "keys/log.key").chmod(mode)
    refused(state, KeyUnreadableError, "open to others")


@pytest.mark.parametrize(
    "content", [b"", b"x", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"]
)
def test_the_key_is_none(state, content):
    (state / "keys/log.key").write_bytes(content)
    refused(state, KeyUnreadableError, "no private key")


def test_the_key_is_of_another_kind(state):
    made = subprocess.run([sys.executable, "-c", RSA], capture_output=True, check=True, timeout=60)
    (state / "keys/log.key").write_bytes(made.stdout)
    refused(state, KeyUnreadableError, "Ed25519")


RSA = textwrap.dedent(
    """
    import sys
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import *
    key = generate_private_key(SECP256R1())
    sys.stdout.buffer.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    """
)


def test_the_key_is_another_ledgers(state, tmp_path):
    initialise(tmp_path / "other", ORIGIN)
    shutil.copy2(tmp_path / "other/keys/log.key", state / "keys/log.key")
    refused(state, KeyUnreadableError, "not the one")


def test_the_key_is_a_link(state, tmp_path):
    (state / "keys/log.key").rename(tmp_path / "elsewhere")
    (state / "keys/log.key").symlink_to(tmp_path / "elsewhere")
    refused(state, KeyUnreadableError)


def test_the_directory_is_open_to_others(state):
    state.chmod(0o750)
    refused(state, StateDirectoryError, "open to others")


def test_the_directory_is_another_users(state, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    refused(state, StateDirectoryError, "belongs to")


def test_the_configuration_names_another_ledger(state):
    refused(state, StateDirectoryError, "dock-1", origin="pd.example/custody/dock-2")


@pytest.mark.parametrize("version", ["9999", ""])
def test_a_schema_that_this_program_does_not_know(state, version):
    sql(state, f"UPDATE alembic_version SET version_num = '{version}'")
    refused(state, SchemaUnknownError)
    with pytest.raises(SchemaUnknownError):
        open_for_reading(state)


def test_a_second_process_is_refused(state):
    with opened(state):
        with pytest.raises(AlreadyRunningError):
            open_ledger(state, ORIGIN)
        open_for_reading(state).dispose()
    start_and_stop(state)


def test_a_refused_opening_lets_the_lock_go(state):
    (state / "keys/log.key").chmod(0o644)
    with pytest.raises(KeyUnreadableError):
        open_ledger(state, ORIGIN)
    (state / "keys/log.key").chmod(0o600)
    start_and_stop(state)


def test_a_reader_cannot_write_and_leaves_nothing(state):
    before = tree(state)
    engine = open_for_reading(state)
    with engine.connect() as conn, pytest.raises(StateDirectoryError):
        conn.exec_driver_sql("DELETE FROM ledger_head")
    engine.dispose()
    assert {k: v for k, v in tree(state).items() if not k.endswith(("-wal", "-shm"))} == before
