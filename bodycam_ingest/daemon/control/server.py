"""The daemon's side of the control socket.

The socket lies in the state directory, so only the daemon's user, root and, where an admin wants
it, the group that may read reach it; that group may look, and change nothing. The peer's user id
(SO_PEERCRED) becomes the actor of what it asks for.

One thread moves bytes and never waits for a client: each has its own deadlines and buffers. What
was asked for is done by the queues' threads, and continues when the client that asked is gone.
"""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import selectors
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.daemon.control.client import SOCKET_NAME, short_address, user_name
from bodycam_ingest.daemon.control.jobs import Job, JobKind, JobQueues
from bodycam_ingest.daemon.control.requests import REQUEST_BYTES_MAX, Request, parse
from bodycam_ingest.errors import (
    ControlError,
    DatabaseDamagedError,
    HaltError,
    IllegalTransitionError,
    IngestError,
    LedgerEntryError,
    UsageError,
)
from bodycam_ingest.linux import group_access
from bodycam_ingest.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


CLIENTS_MAX: Final = 64
ASK_WITHIN_S: Final = 10.0
_TURN_S: Final = 0.5
_READ_WITHIN_S: Final = 30.0
_WAITING_EVERY_S: Final = 2.0
_LAST_REPLIES_S: Final = 1.0
_CHUNK_BYTES: Final = 64 * 1024
# The socket's mode by that of the files beside it.
_MODES: Final = {0o600: 0o600, 0o640: 0o660}


# An entry or a step that cannot be is the request's fault. Damage that a request met may be one
# odd value; what it means for the dock is found out by the dock's own work.
_NO_REASON_TO_STOP: Final = (DatabaseDamagedError, IllegalTransitionError, LedgerEntryError)


def peer(connection: socket.socket) -> tuple[int, str]:
    """User id and account that connected, as the kernel knows them (SO_PEERCRED, unix(7))."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return uid, user_name(uid)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _refused(error: IngestError) -> bytes:
    return _line(
        {
            "ok": False,
            "code": error.code,
            "exit_code": error.exit_code,
            "message": error.message,
            "hint": error.hint,
        }
    )


def _check_rights(uid: int, request: Request) -> None:
    """Let everybody who could connect look, and root and the daemon's user do the rest."""
    if request.kind is not JobKind.LOOK and uid not in {0, os.geteuid()}:
        raise UsageError(
            f"only root and the daemon's user may ask for `{request.command}`",
            hint="Run the command as that user: sudo -u bodycam-ingest bodycam-ingest …",
        )


def _after_s(seconds: float) -> float:
    return time.monotonic() + seconds


class _Client:
    """One connection; only the socket's thread touches it."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.uid, self.user = peer(connection)
        self.inbox = bytearray()
        self.outbox = bytearray()
        self.job: Job | None = None
        self.last_line = False
        self.watched = 0
        # For the request while there is none, then for the client to read what it is sent.
        self.until_s = _after_s(ASK_WITHIN_S)
        self.told_s = time.monotonic()

    def say(self, line: bytes, *, last: bool) -> None:
        if not self.outbox:
            self.until_s = _after_s(_READ_WITHIN_S)
        self.outbox += line
        self.last_line = last
        self.told_s = time.monotonic()

    def due(self, now_s: float) -> bool:
        """It wants to hear that its request is still worked on."""
        return not self.outbox and now_s - self.told_s >= _WAITING_EVERY_S

    def overdue(self, now_s: float) -> bool:
        """It keeps us waiting: for its request, or for its reading of what it is sent."""
        return (self.job is None or bool(self.outbox)) and now_s > self.until_s


class ControlServer:
    """Answers commands while the daemon runs.

    Args:
        state_dir: where the socket is made; a left-over one is replaced, since only the holder of
            the ledger's lock gets here.
        handle: gives the result of a request; its `IngestError` becomes a refusal. It says how many
            bytes are done while it takes long.
        explain: asked why another exception came, before it counts as a defect.
    """

    def __init__(
        self,
        state_dir: Path,
        handle: Callable[[Request, str, Callable[[int], None]], Mapping[str, Any]],
        explain: Callable[[], IngestError | None] = lambda: None,
    ) -> None:
        self._explain = explain
        self._handle = handle
        self._path = state_dir / SOCKET_NAME
        self._stop = threading.Event()
        self._jobs = JobQueues(self._answered)
        self._replies: collections.deque[Job] = collections.deque()
        self._clients: dict[socket.socket, _Client] = {}
        self._accepts = True
        self._ended = False
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        )
        with short_address(state_dir) as address:
            self._listener.bind(address)
        # To connect is to write; what a member of the group may ask is looked at with each request.
        self._path.chmod(_MODES[group_access.file_mode(state_dir)])
        self._listener.listen(CLIENTS_MAX)
        self._rung, self._bell = socket.socketpair()
        self._rung.setblocking(False)
        self._bell.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._rung, selectors.EVENT_READ)

    # -- what the daemon's workers call --

    def serve(self, heartbeat: Callable[[], None], *, for_s: float = math.inf) -> None:
        """Move bytes until `stop`, then give the last answers.

        Calls `heartbeat` at least every second; after `for_s` it returns, to be called again.
        """
        until_s = _after_s(for_s)
        while not self._stop.is_set():
            heartbeat()
            self._turn()
            if time.monotonic() >= until_s:
                return
        if self._ended:
            return
        self._ended = True
        self._close_listener()
        self._jobs.clear(_refused)
        until_s = _after_s(_LAST_REPLIES_S)
        while self._clients and time.monotonic() < until_s:
            heartbeat()
            self._turn()
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()
        self._rung.close()
        self._bell.close()

    def work(self, kind: JobKind) -> None:
        """Carry out the next request of a kind, if one comes within a moment.

        Raises:
            HaltError: ledger or state directory are unusable; its sender was told.
            Exception: a defect; its sender was told.
        """
        job = self._jobs.take(kind)
        if job is None:
            return
        job.begun = True
        try:
            result = self._handle(job.request, job.user, job.moved)
            reply = _line({"ok": True, "result": result})
        except IngestError as error:
            self._jobs.finish(job, _refused(error))
            if isinstance(error, HaltError) and not isinstance(error, _NO_REASON_TO_STOP):
                raise
            return
        except Exception as error:
            explained = self._explain()
            if explained is not None:
                self._jobs.finish(job, _refused(explained))
                return
            self._jobs.finish(job, _refused(IngestError(f"a defect of the program: {error!r}")))
            raise
        self._jobs.finish(job, reply)

    def stop(self) -> None:
        """Have `serve` return soon."""
        self._stop.set()
        self._ring()
        self._jobs.wake()

    # -- the socket's thread --

    def _turn(self) -> None:
        for key, events in self._selector.select(_TURN_S):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._rung:
                self._hand_out()
            elif (client := self._clients.get(key.fileobj)) is not None:  # type: ignore[call-overload] # only sockets are registered
                self._move(client, events)
        self._look_at_clocks()

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Out of descriptors: the next turn tries again, and not in a busy loop.
            if self._accepts:
                self._accepts = False
                log.warning("control.accept_failed", error=str(error))
            self._stop.wait(_TURN_S)
            return
        self._accepts = True
        connection.setblocking(False)
        if len(self._clients) >= CLIENTS_MAX:
            self._make_room()
        client = _Client(connection)
        self._clients[connection] = client
        self._settle(client)
        if len(self._clients) > CLIENTS_MAX:
            self._refuse(client, ControlError(f"{CLIENTS_MAX} commands wait for an answer"))

    def _make_room(self) -> None:
        # Who has not asked for anything yet waits longest of those who only hold a place.
        silent = [c for c in self._clients.values() if c.job is None and not c.outbox]
        if silent:
            self._drop(min(silent, key=lambda client: client.until_s))

    def _move(self, client: _Client, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                self._read(client)
            if events & selectors.EVENT_WRITE and client.outbox:
                sent = client.connection.send(client.outbox)
                del client.outbox[:sent]
        except BlockingIOError:
            return
        except OSError as error:
            if client.job is not None:
                log.warning("control.client_lost", error=str(error))
            self._drop(client)
            return
        self._settle(client)

    def _read(self, client: _Client) -> None:
        chunk = client.connection.recv(_CHUNK_BYTES)
        client.inbox += chunk
        line, newline, _ = client.inbox.partition(b"\n")
        try:
            if len(line) > REQUEST_BYTES_MAX:
                raise UsageError(f"the request is longer than {REQUEST_BYTES_MAX} bytes")
            if newline or not chunk:
                request = parse(bytes(line))
                _check_rights(client.uid, request)
                client.job = Job(request, client.user)
                self._jobs.put(client.job)
                client.inbox.clear()
                client.told_s = time.monotonic()
        except IngestError as error:
            client.job = None
            self._refuse(client, error)

    def _refuse(self, client: _Client, error: IngestError) -> None:
        client.inbox.clear()
        client.say(_refused(error), last=True)
        self._settle(client)

    def _settle(self, client: _Client) -> None:
        """Have the selector wait for what this client needs next, or end with it."""
        if client.connection not in self._clients:
            return
        if client.last_line and not client.outbox:
            self._drop(client)
        elif client.outbox:
            self._watch(client, selectors.EVENT_WRITE)
        else:
            # Whoever has asked is not listened to: it may have ended its side, and still read.
            self._watch(client, 0 if client.job is not None else selectors.EVENT_READ)

    def _watch(self, client: _Client, events: int) -> None:
        if events == client.watched:
            return
        if client.watched:
            self._selector.unregister(client.connection)
        if events:
            self._selector.register(client.connection, events)
        client.watched = events

    def _look_at_clocks(self) -> None:
        now_s = time.monotonic()
        for client in list(self._clients.values()):
            if client.overdue(now_s):
                if client.outbox:
                    log.warning("control.client_lost", error="it does not read its answer")
                    self._drop(client)
                else:
                    self._refuse(client, UsageError(f"no request came within {ASK_WITHIN_S:.0f} s"))
            elif client.job is not None and client.due(now_s):
                told = {"begun": client.job.begun, "done_bytes": client.job.done_bytes}
                client.say(_line({"waiting": told}), last=False)
                self._settle(client)

    def _hand_out(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._rung.recv(_CHUNK_BYTES)
        while self._replies:
            job = self._replies.popleft()
            for client in self._clients.values():
                if client.job is job and job.reply is not None:
                    client.say(job.reply, last=True)
                    self._settle(client)
                    break

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.connection, None)
        self._watch(client, 0)
        client.connection.close()

    def _close_listener(self) -> None:
        self._selector.unregister(self._listener)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    # -- any thread --

    def _answered(self, job: Job) -> None:
        self._replies.append(job)
        self._ring()

    def _ring(self) -> None:
        # A full bell has been rung already, and a closed one calls nobody any more.
        with contextlib.suppress(OSError):
            self._bell.send(b"!")
