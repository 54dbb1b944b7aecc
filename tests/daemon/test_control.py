from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bodycam_ingest.daemon.control import (
    AssignRequest,
    JobKind,
    QuarantineRequest,
    ReinstateRequest,
    RetryRequest,
    StatusRequest,
    ask,
    client,
    parse,
    server,
)
from bodycam_ingest.daemon.control.client import SOCKET_NAME, short_address
from bodycam_ingest.daemon.control.server import ControlServer
from bodycam_ingest.errors import (
    AbandonedError,
    ControlError,
    IngestError,
    LedgerEntryError,
    LedgerUnwritableError,
    UnknownSubjectError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ITEM = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


class House:
    """A server with its threads, and a handler that can be told what to do."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.asked: list[tuple[Any, str]] = []
        self.raises: Exception | None = None
        self.raised: list[Exception] = []
        self.long_begun, self.long_may_end = threading.Event(), threading.Event()
        self.server = ControlServer(state_dir, self.handle)
        self.ending = threading.Event()
        queues = (JobKind.LOOK, JobKind.LOOK, JobKind.ADMIN, JobKind.LONG)
        self.threads = [threading.Thread(target=self.server.serve, args=(lambda: None,))]
        self.threads += [threading.Thread(target=self.work, args=(kind,)) for kind in queues]
        for thread in self.threads:
            thread.start()

    def handle(self, request, user, progress):
        self.asked.append((request, user))
        if self.raises is not None:
            raise self.raises
        if isinstance(request, ReinstateRequest):
            self.long_begun.set()
            progress(1000)
            assert self.long_may_end.wait(60)
        return {"echo": request.command}

    def work(self, kind):
        while not self.ending.is_set():
            try:
                self.server.work(kind)
            except Exception as error:  # noqa: BLE001 - the daemon's workers take it from here
                self.raised.append(error)

    def end(self):
        # First, so that nobody whom `stop` wakes waits for another request.
        self.ending.set()
        self.server.stop()
        self.long_may_end.set()
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with short_address(self.state_dir) as address, socket.socket(socket.AF_UNIX) as sock:
            sock.connect(address)
            sock.settimeout(30)
            yield sock

    def say(self, line: bytes) -> dict[str, Any]:
        """What comes back for a line, as it is."""
        with self.connection() as sock, sock.makefile("rb") as answers:
            with contextlib.suppress(OSError):
                # Refused in the middle of it: the answer is there all the same.
                sock.sendall(line)
            return last(answers)


def last(answers) -> dict[str, Any]:
    for line in answers:
        reply: dict[str, Any] = json.loads(line)
        if "ok" in reply:
            return reply
    raise AssertionError("the connection ended without an answer")


@pytest.fixture
def house(tmp_path):
    state_dir = tmp_path / ("long-name-" * 20)
    state_dir.mkdir()
    made = House(state_dir)
    yield made
    made.end()


def test_a_request_is_answered_and_its_sender_known_even_below_a_very_long_path(house):
    assert ask(house.state_dir, StatusRequest()) == {"echo": "status"}
    assert house.asked == [(StatusRequest(), pwd.getpwuid(os.getuid()).pw_name)]


def test_a_refusal_keeps_its_class_reason_and_hint(house):
    house.raises = UnknownSubjectError("no such item", hint="list them")
    with pytest.raises(UnknownSubjectError) as caught:
        ask(house.state_dir, RetryRequest(item=ITEM))
    assert (caught.value.message, caught.value.hint) == ("no such item", "list them")
    assert house.raised == []


NONSENSE = [
    b"not json\n",
    b"[1]\n",
    b"{}\n",
    b"null\n",
    b"\xff\xfe\n",
    b"\n",
    b'{"command": "nonsense"}\n',
    b'{"command": ["retry"]}\n',
    b'{"command": "status", "more": 1}\n',
    b'{"command": "retry", "store": 5}\n',
    b'{"command": "retry", "item": ["a", "b"]}\n',
    b'{"command": "retry", "item": ""}\n',
    b'{"command": "quarantine", "item": "x", "reason": 5}\n',
    b'{"command": "quarantine", "item": "x", "reason": "  "}\n',
    b'{"command": "quarantine", "item": "x"}\n',
    b'{"command": "reinstate", "item": ' + str(2**70).encode() + b"}\n",
    b'{"command": "assign", "camera": "x", "officer": null}\n',
    b'{"command": "assign", "camera": "x", "officer": "\\ud800"}\n',
    b'{"command": "assign", "camera": "x", "officer": "' + b"o" * 300 + b'"}\n',
    b"[" * 60_000 + b"\n",
    b'{"command":' * 5_000 + b"\n",
    b"x" * 70_000 + b"\n",
    b'{"command": "status", "x": "' + b"y" * 5_000_000 + b'"}\n',
]


@pytest.mark.parametrize("line", NONSENSE, ids=lambda line: line[:40].decode("latin-1"))
def test_nonsense_is_refused_as_usage_and_reaches_nobody(house, line):
    reply = house.say(line)
    assert (reply["ok"], reply["code"], reply["exit_code"]) == (False, "usage", 2)
    assert len(json.dumps(reply)) < 2000
    assert ask(house.state_dir, StatusRequest()) == {"echo": "status"}
    assert [request for request, _ in house.asked] == [StatusRequest()]


def test_the_command_line_is_held_to_the_same_rules():
    with pytest.raises(UsageError, match="reason"):
        QuarantineRequest(item=ITEM, reason=" ")
    with pytest.raises(UsageError, match="officer"):
        AssignRequest(camera="CAM1", officer="not \udcff Unicode")
    request = AssignRequest(camera="CAM1", officer=" Jürgen ")
    assert parse(request.line()) == request


def test_a_request_may_end_with_the_sender_s_side_of_the_connection(house):
    with house.connection() as sock, sock.makefile("rb") as answers:
        sock.sendall(b'{"command": "status"}')
        sock.shutdown(socket.SHUT_WR)
        assert last(answers)["result"] == {"echo": "status"}


def test_a_hundred_silent_clients_hold_up_nobody(house):
    with contextlib.ExitStack() as held:
        for _ in range(100):
            held.enter_context(house.connection())
        assert ask(house.state_dir, StatusRequest()) == {"echo": "status"}
        assert ask(house.state_dir, RetryRequest()) == {"echo": "retry"}


def test_who_takes_too_long_to_ask_is_told_so(house, monkeypatch):
    monkeypatch.setattr(server, "ASK_WITHIN_S", 0.3)
    with house.connection() as sock, sock.makefile("rb") as answers:
        # A byte now and then does not buy more time.
        stop = threading.Event()

        def dribble():
            with contextlib.suppress(OSError):
                while not stop.wait(0.1):
                    sock.sendall(b"x")

        thread = threading.Thread(target=dribble)
        thread.start()
        reply = last(answers)
        stop.set()
        thread.join(10)
    assert reply["code"] == "usage"
    assert "within" in reply["message"]


def test_who_does_not_read_an_answer_is_given_up(house, monkeypatch):
    monkeypatch.setattr(server, "_READ_WITHIN_S", 0.3)
    house.handle = None
    big = {"rows": ["x" * 1000] * 5000}
    monkeypatch.setattr(house.server, "_handle", lambda _request, _user, _progress: big)
    with house.connection() as sock:
        sock.sendall(b'{"command": "status"}\n')
        until_s = time.monotonic() + 30
        while not house.server._clients and time.monotonic() < until_s:
            time.sleep(0.01)
        while house.server._clients and time.monotonic() < until_s:
            time.sleep(0.05)
        assert not house.server._clients
    assert ask(house.state_dir, StatusRequest()) == big


@pytest.mark.long
def test_a_long_request_is_waited_for_and_holds_up_neither_looks_nor_short_requests(
    house, monkeypatch
):
    # The client's patience is for silence: the daemon says that it is at it.
    monkeypatch.setattr(client, "_SILENCE_MAX_S", 1.5)
    monkeypatch.setattr(server, "_WAITING_EVERY_S", 0.1)
    heard: list[dict[str, Any]] = []
    results: list[Any] = []
    asking = threading.Thread(
        target=lambda: results.append(
            ask(house.state_dir, ReinstateRequest(item=ITEM), lambda w: heard.append(dict(w)))
        )
    )
    asking.start()
    assert house.long_begun.wait(30)
    assert ask(house.state_dir, StatusRequest()) == {"echo": "status"}
    assert ask(house.state_dir, RetryRequest()) == {"echo": "retry"}
    time.sleep(2.5)
    house.long_may_end.set()
    asking.join(30)
    assert results == [{"echo": "reinstate"}]
    assert heard[-1] == {"begun": True, "done_bytes": 1000}


def test_what_was_asked_for_is_done_although_the_client_is_gone(house):
    with house.connection() as sock:
        sock.sendall(ReinstateRequest(item=ITEM).line())
        assert house.long_begun.wait(30)
    house.long_may_end.set()
    assert ask(house.state_dir, ReinstateRequest(item="B")) == {"echo": "reinstate"}
    assert len(house.asked) == 2


def test_a_daemon_that_ends_refuses_what_it_has_not_begun(house):
    refused: list[IngestError] = []

    def second():
        try:
            ask(house.state_dir, ReinstateRequest(item="B"))
        except IngestError as error:
            refused.append(error)

    with house.connection() as sock:
        sock.sendall(ReinstateRequest(item="A").line())
        assert house.long_begun.wait(30)
        thread = threading.Thread(target=second)
        thread.start()
        until_s = time.monotonic() + 30
        while not house.server._jobs[JobKind.LONG].qsize() and time.monotonic() < until_s:
            time.sleep(0.01)
        house.server.stop()
        thread.join(30)
    assert [type(error) for error in refused] == [AbandonedError]
    assert [request.item for request, _ in house.asked] == ["A"]


@contextlib.contextmanager
def answering_once(state_dir, line: bytes):
    """A server of something else, which says this to one client and ends the connection."""
    with short_address(state_dir) as address, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(line)

        thread = threading.Thread(target=answer)
        thread.start()
        yield
        thread.join(10)


def test_a_daemon_that_dies_meanwhile_is_not_told_as_a_failure_of_the_request(tmp_path):
    with answering_once(tmp_path, b""), pytest.raises(ControlError) as caught:
        ask(tmp_path, RetryRequest())
    assert "not known" in caught.value.hint


@pytest.mark.parametrize("line", [b"nonsense\n", b"[]\n", b"{}\n", b"[" * 100_000 + b"\n"])
def test_an_answer_in_other_words_is_a_typed_fault(tmp_path, line):
    with answering_once(tmp_path, line), pytest.raises(ControlError):
        ask(tmp_path, RetryRequest())


def test_a_defect_is_told_to_its_sender_and_handed_to_the_worker(house):
    house.raises = ZeroDivisionError("a defect")
    with pytest.raises(IngestError, match="a defect of the program") as caught:
        ask(house.state_dir, RetryRequest())
    assert caught.value.exit_code == 1
    house.raises = None
    assert ask(house.state_dir, RetryRequest()) == {"echo": "retry"}
    assert [type(error) for error in house.raised] == [ZeroDivisionError]


def test_an_unusable_ledger_halts_and_an_impossible_entry_does_not(house):
    house.raises = LedgerUnwritableError("full")
    with pytest.raises(LedgerUnwritableError):
        ask(house.state_dir, RetryRequest())
    house.raises = LedgerEntryError("too long")
    with pytest.raises(LedgerEntryError):
        ask(house.state_dir, RetryRequest())
    assert [type(error) for error in house.raised] == [LedgerUnwritableError]


def test_nobody_else_may_connect(house):
    assert (house.state_dir / SOCKET_NAME).stat().st_mode & 0o777 == 0o600


def test_without_a_daemon_there_is_no_answer(tmp_path):
    assert ask(tmp_path, StatusRequest()) is None
    assert ask(tmp_path / "nowhere", StatusRequest()) is None


def test_a_socket_left_by_a_killed_daemon_counts_as_no_daemon(tmp_path):
    with short_address(tmp_path) as address, socket.socket(socket.AF_UNIX) as sock:
        sock.bind(address)
    assert (tmp_path / SOCKET_NAME).exists()
    assert ask(tmp_path, StatusRequest()) is None
    house = House(tmp_path)
    assert ask(tmp_path, StatusRequest()) == {"echo": "status"}
    house.end()
    assert not (tmp_path / SOCKET_NAME).exists()


# -- whatever comes, there is one answer, and the next request is answered --

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
_WORDS = st.sampled_from(
    ["status", "retry", "quarantine", "requeue", "reinstate", "assign", "close-finding"]
)
_FIELDS = st.sampled_from(["item", "store", "reason", "camera", "officer", "finding", "command"])
_REQUESTS = st.builds(
    lambda word, rest: json.dumps({"command": word, **rest}).encode() + b"\n",
    _WORDS,
    st.dictionaries(_FIELDS, _JSON, max_size=4),
)
_LINES = st.binary(max_size=200).map(lambda raw: raw.replace(b"\n", b"") + b"\n") | _REQUESTS


@pytest.mark.long
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(line=_LINES)
def test_any_line_gets_one_answer_and_only_typed_requests_are_handled(house, line):
    house.long_may_end.set()
    house.asked.clear()
    reply = house.say(line)
    for request, _ in house.asked:
        for name in ("item", "store", "reason", "camera", "officer", "finding"):
            value = getattr(request, name, None)
            assert value is None or (isinstance(value, str) and value)
    assert reply["ok"] is bool(house.asked)
    assert reply["ok"] or reply["code"] == "usage"
    assert house.raised == []
    assert ask(house.state_dir, StatusRequest()) == {"echo": "status"}
