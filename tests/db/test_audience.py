"""Who may read the state directory: one group, where an admin wants it, and never a key."""

from __future__ import annotations

import contextlib
import grp
import os
import stat
import threading
import time

import pytest

from bodycam_ingest.daemon.control import JobKind, RetryRequest, StatusRequest, ask, server
from bodycam_ingest.daemon.control.place import SOCKET_NAME
from bodycam_ingest.daemon.control.server import ControlServer
from bodycam_ingest.db.reading import STATE_FILE
from bodycam_ingest.db.state_dir import check_directory, initialise, open_ledger
from bodycam_ingest.errors import ControlError, IngestError, StateDirectoryError
from bodycam_ingest.linux import group_access

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
        engine, ledger = open_ledger(state, ORIGIN)
        with ledger.transaction() as txn:
            txn.append("daemon.started", "daemon", {})
        ledger.close()
        engine.dispose()
    finally:
        os.umask(before)
    assert mode(state / STATE_FILE) == file
    assert mode(state / "keys") == 0o700
    assert {mode(path) for path in (state / "keys").iterdir()} == {0o600}


@contextlib.contextmanager
def answering(state):
    made = ControlServer(state, lambda request, _user, _progress: {"did": request.command})
    ends = threading.Event()

    def work(kind):
        while not ends.is_set():
            with contextlib.suppress(IngestError):
                made.work(kind)

    threads = [threading.Thread(target=made.serve, args=(lambda: None,))]
    threads += [threading.Thread(target=work, args=(kind,)) for kind in JobKind]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        made.stop()
        threads[0].join(10)
        ends.set()
        for thread in threads:
            thread.join(10)
        time.sleep(0)


def test_the_group_reaches_the_socket_where_it_may_read(state):
    for given, socket in ((0o700, 0o600), (0o2750, 0o660)):
        state.chmod(given)
        with answering(state):
            assert mode(state / SOCKET_NAME) == socket


def test_who_is_neither_root_nor_the_daemons_user_may_look_and_change_nothing(state, monkeypatch):
    monkeypatch.setattr(server, "peer", lambda _connection: (12345, "auditor"))
    state.chmod(0o2750)
    with answering(state):
        assert ask(state, StatusRequest(command="status")) == {"did": "status"}
        with pytest.raises((ControlError, IngestError), match="only root and the daemon's user"):
            ask(state, RetryRequest(command="retry"))
