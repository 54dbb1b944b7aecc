"""Who may read the state directory: one group, where an admin wants it, and never a key."""

from __future__ import annotations

import contextlib
import grp
import os
import stat

import pytest

from bodycam_ingest.daemon.control import RetryRequest, StatusRequest, ask, server
from bodycam_ingest.daemon.control.client import SOCKET_NAME
from bodycam_ingest.db.reading import STATE_FILE
from bodycam_ingest.db.state_dir import check_directory, initialise
from bodycam_ingest.errors import ControlError, IngestError, StateDirectoryError
from bodycam_ingest.linux import group_access
from tests.daemon.test_control import House
from tests.support.ledgers import start_and_stop

ORIGIN = "police.example.org/custody/dock-1"


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state directory; our own group is the one that may read."""
    monkeypatch.setattr(group_access, "GROUP", grp.getgrgid(os.getgid()).gr_name)
    initialise(tmp_path / "state", ORIGIN)
    return tmp_path / "state"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("given", [0o700, 0o750, 0o2750, 0o740])
def test_the_group_may_read(state, given):
    state.chmod(given)
    check_directory(state)


@pytest.mark.parametrize("given", [0o770, 0o720, 0o751, 0o755, 0o701, 0o757])
def test_the_group_may_not_write_and_nobody_else_may_anything(state, given):
    state.chmod(given)
    with pytest.raises(StateDirectoryError, match="open to others"):
        check_directory(state)


@pytest.mark.parametrize("name", ["no-such-group-here", "nogroup"])
def test_another_group_may_nothing(state, monkeypatch, name):
    monkeypatch.setattr(group_access, "GROUP", name)
    state.chmod(0o2750)
    with pytest.raises(StateDirectoryError, match="open to others"):
        check_directory(state)


@pytest.mark.parametrize(("given", "file"), [(0o2750, 0o640), (0o700, 0o600)])
def test_the_signed_head_is_readable_where_the_directory_is_and_keys_never_are(state, given, file):
    before = os.umask(0o077)
    try:
        state.chmod(given)
        start_and_stop(state, ORIGIN)
    finally:
        os.umask(before)
    assert mode(state / STATE_FILE) == file
    assert mode(state / "keys") == 0o700
    assert {mode(path) for path in (state / "keys").iterdir()} == {0o600}


@contextlib.contextmanager
def answering(state):
    house = House(state)
    try:
        yield
    finally:
        house.end()


def test_the_group_reaches_the_socket_where_it_may_read(state):
    for given, socket in ((0o700, 0o600), (0o2750, 0o660)):
        state.chmod(given)
        with answering(state):
            assert mode(state / SOCKET_NAME) == socket


def test_who_is_neither_root_nor_the_daemons_user_may_look_and_change_nothing(state, monkeypatch):
    monkeypatch.setattr(server, "peer", lambda _connection: (12345, "auditor"))
    state.chmod(0o2750)
    with answering(state):
        assert ask(state, StatusRequest(command="status")) == {"echo": "status"}
        with pytest.raises((ControlError, IngestError), match="only root and the daemon's user"):
            ask(state, RetryRequest(command="retry"))
