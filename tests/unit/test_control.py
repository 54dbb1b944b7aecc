from __future__ import annotations

import json
import os
import pwd
import socket
import threading

import pytest

from bodycam_ingest import control
from bodycam_ingest.errors import UsageError


@pytest.fixture
def served(tmp_path):
    state_dir = tmp_path / ("long-name-" * 20)
    state_dir.mkdir()
    asked = []

    def handle(request, user):
        asked.append((dict(request), user))
        if request["command"] == "refuse":
            raise UsageError("no such item", hint="list them")
        return {"echo": request["command"]}

    server = control.ControlServer(state_dir, handle)
    thread = threading.Thread(target=server.serve, args=(lambda: None,))
    thread.start()
    yield state_dir, asked
    server.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_a_request_is_answered_and_its_sender_known_even_below_a_very_long_path(served):
    state_dir, asked = served
    assert control.ask(state_dir, {"command": "status"}) == {"echo": "status"}
    assert asked == [({"command": "status"}, pwd.getpwuid(os.getuid()).pw_name)]


def test_a_refusal_keeps_its_reason_and_hint(served):
    state_dir, _ = served
    with pytest.raises(UsageError) as caught:
        control.ask(state_dir, {"command": "refuse"})
    assert caught.value.message == "no such item"
    assert caught.value.hint == "list them"


@pytest.mark.parametrize("line", [b"not json\n", b"[1]\n", b"{}\n", b"\xff\xfe\n", b"\n"])
def test_nonsense_is_refused_and_the_next_request_is_still_answered(served, line):
    state_dir, _ = served
    with control._short_address(state_dir) as address, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(address)
        sock.sendall(line)
        assert json.loads(control._read_line(sock))["ok"] is False
    assert control.ask(state_dir, {"command": "status"}) == {"echo": "status"}


def test_nobody_else_may_connect(served):
    state_dir, _ = served
    assert (state_dir / control.SOCKET_NAME).stat().st_mode & 0o777 == 0o600


def test_without_a_daemon_there_is_no_answer(tmp_path):
    assert control.ask(tmp_path, {"command": "status"}) is None


def test_a_socket_left_by_a_killed_daemon_counts_as_no_daemon(tmp_path):
    with control._short_address(tmp_path) as address, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(address)
    assert (tmp_path / control.SOCKET_NAME).exists()
    assert control.ask(tmp_path, {"command": "status"}) is None
    server = control.ControlServer(tmp_path, lambda _request, _user: {})
    thread = threading.Thread(target=server.serve, args=(lambda: None,))
    thread.start()
    assert control.ask(tmp_path, {"command": "status"}) == {}
    server.stop()
    thread.join(5)
