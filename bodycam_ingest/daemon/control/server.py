"""The daemon's side of the control socket.

The socket lies in the state directory, so only the daemon's user, root and, where an admin wants
it, the group that may read reach it; that group may look, and change nothing. The peer's user id
(SO_PEERCRED) becomes the actor of what it asks for.

Each client has a thread and deadlines of its own, so that none waits for another. What was asked
for is done by the queues' threads, and continues when the client that asked is gone.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.daemon.control.client import SOCKET_NAME, short_address, user_name
from bodycam_ingest.daemon.control.requests import REQUEST_BYTES_MAX, JobKind, Request, parse
from bodycam_ingest.errors import (
    AbandonedError,
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
# Requests of one kind that wait, also of clients that are gone; threads that take them.
WAITING_MAX: Final = 64
_THREADS_MAX: Final = 2
_TAKE_TIMEOUT_S: Final = 5.0
ASK_WITHIN_S: Final = 10.0
_TURN_S: Final = 0.5
_READ_WITHIN_S: Final = 30.0
_WAITING_EVERY_S: Final = 2.0
_LAST_REPLIES_S: Final = 1.0
_LAST_POLL_S: Final = 0.02
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


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way to its answer.

    `done_bytes` and `begun` are written by the kind's thread and read by its client's; `reply`, the
    last line, is set once, before `answered`.
    """

    request: Request
    user: str
    begun: bool = False
    done_bytes: int = 0
    reply: bytes = b""
    answered: threading.Event = field(default_factory=threading.Event)

    def moved(self, count_bytes: int) -> None:
        """Note that so many bytes more are done."""
        self.done_bytes += count_bytes

    def finish(self, reply: bytes) -> None:
        """Give its sender the last line."""
        self.reply = reply
        self.answered.set()


@dataclass(eq=False)
class _Client:
    """One connection; `asked` once its request waits for an answer or is worked on."""

    connection: socket.socket
    asked: bool = False


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
        # A look at the dock never waits for an admin's request, nor a short request for a long one.
        self._jobs: dict[JobKind, queue.Queue[Job | None]] = {
            kind: queue.Queue(WAITING_MAX) for kind in JobKind
        }
        # In the order in which they came.
        self._clients: list[_Client] = []
        self._lock = threading.Lock()
        self._accepts = True
        self._ended = False
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        with short_address(state_dir) as address:
            self._listener.bind(address)
        # To connect is to write; what a member of the group may ask is looked at with each request.
        self._path.chmod(_MODES[group_access.file_mode(state_dir)])
        self._listener.settimeout(_TURN_S)
        self._listener.listen(CLIENTS_MAX)

    # -- what the daemon's workers call --

    def serve(self, heartbeat: Callable[[], None], *, for_s: float = math.inf) -> None:
        """Let clients in until `stop`, then give the last answers.

        Calls `heartbeat` at least every second; after `for_s` it returns, to be called again.
        """
        until_s = time.monotonic() + for_s
        while not self._stop.is_set():
            heartbeat()
            self._accept()
            if time.monotonic() >= until_s:
                return
        if self._ended:
            return
        self._ended = True
        self._listener.close()
        self._path.unlink(missing_ok=True)
        refusal = _refused(AbandonedError("the daemon is stopping; it was not done"))
        for waiting in self._jobs.values():
            with contextlib.suppress(queue.Empty):
                while True:
                    if (job := waiting.get_nowait()) is not None:
                        job.finish(refusal)
        until_s = time.monotonic() + _LAST_REPLIES_S
        while self._clients and time.monotonic() < until_s:
            heartbeat()
            time.sleep(_LAST_POLL_S)
        with self._lock:
            for client in self._clients:
                _hang_up(client)

    def work(self, kind: JobKind) -> None:
        """Carry out the next request of a kind, if one comes within a moment.

        Raises:
            HaltError: ledger or state directory are unusable; its sender was told.
            Exception: a defect; its sender was told.
        """
        try:
            job = self._jobs[kind].get(timeout=_TAKE_TIMEOUT_S)
        except queue.Empty:
            return
        if job is None:
            # `stop` wakes who waits here.
            return
        job.begun = True
        try:
            result = self._handle(job.request, job.user, job.moved)
            reply = _line({"ok": True, "result": result})
        except IngestError as error:
            job.finish(_refused(error))
            if isinstance(error, HaltError) and not isinstance(error, _NO_REASON_TO_STOP):
                raise
            return
        except Exception as error:
            explained = self._explain()
            if explained is not None:
                job.finish(_refused(explained))
                return
            job.finish(_refused(IngestError(f"a defect of the program: {error!r}")))
            raise
        job.finish(reply)

    def stop(self) -> None:
        """Have `serve` return soon."""
        self._stop.set()
        with contextlib.suppress(OSError):
            # Whoever waits in accept(2) returns; a second time there is nothing to end.
            self._listener.shutdown(socket.SHUT_RDWR)
        for waiting in self._jobs.values():
            for _ in range(_THREADS_MAX):
                with contextlib.suppress(queue.Full):
                    waiting.put_nowait(None)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except TimeoutError:
            return
        except OSError as error:
            # Out of descriptors: the next turn tries again, and not in a busy loop.
            if self._accepts and not self._stop.is_set():
                self._accepts = False
                log.warning("control.accept_failed", error=str(error))
            self._stop.wait(_TURN_S)
            return
        self._accepts = True
        client = _Client(connection)
        with self._lock:
            silent = next((one for one in self._clients if not one.asked), None)
            if len(self._clients) >= CLIENTS_MAX and silent is not None:
                # Who has not asked for anything yet waits longest of those who only hold a place.
                self._clients.remove(silent)
                _hang_up(silent)
            arguments = (client, len(self._clients) >= CLIENTS_MAX)
            threading.Thread(
                target=self._attend, args=arguments, name="control-client", daemon=True
            ).start()
            self._clients.append(client)

    # -- a client's own thread --

    def _attend(self, client: _Client, one_too_many: bool) -> None:  # noqa: FBT001 - a thread's
        try:
            with client.connection:
                self._converse(client, one_too_many=one_too_many)
        except OSError as error:
            late = isinstance(error, TimeoutError)
            if (late or client.asked) and not self._ended:
                told = "it does not read its answer" if late else str(error)
                log.warning("control.client_lost", error=told)
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._clients.remove(client)

    def _converse(self, client: _Client, *, one_too_many: bool) -> None:
        """Read the request; say that it is worked on until it is done; give the answer.

        Raises:
            OSError: the client is gone, or does not read what it is sent.
        """
        connection = client.connection
        try:
            if one_too_many:
                raise ControlError(f"{CLIENTS_MAX} commands wait for an answer")
            uid, user = peer(connection)
            request = _request(connection)
            _check_rights(uid, request)
            job = Job(request, user)
            self._put(job)
        except IngestError as error:
            _send(connection, _refused(error))
            return
        client.asked = True
        while not job.answered.wait(_WAITING_EVERY_S):
            waiting = {"begun": job.begun, "done_bytes": job.done_bytes}
            _send(connection, _line({"waiting": waiting}))
        _send(connection, job.reply)

    def _put(self, job: Job) -> None:
        try:
            self._jobs[job.request.kind].put_nowait(job)
        except queue.Full:
            raise ControlError(
                f"{WAITING_MAX} requests wait already; nothing was done", hint="Try again later."
            ) from None


def _hang_up(client: _Client) -> None:
    """End a connection, so that its thread ends."""
    with contextlib.suppress(OSError):
        client.connection.shutdown(socket.SHUT_RDWR)


def _request(connection: socket.socket) -> Request:
    until_s = time.monotonic() + ASK_WITHIN_S
    inbox = bytearray()
    while (left_s := until_s - time.monotonic()) > 0:
        connection.settimeout(left_s)
        try:
            chunk = connection.recv(_CHUNK_BYTES)
        except TimeoutError:
            break
        inbox += chunk
        line, newline, _ = inbox.partition(b"\n")
        if len(line) > REQUEST_BYTES_MAX:
            raise UsageError(f"the request is longer than {REQUEST_BYTES_MAX} bytes")
        if newline or not chunk:
            return parse(bytes(line))
    raise UsageError(f"no request came within {ASK_WITHIN_S:.0f} s")


def _send(connection: socket.socket, line: bytes) -> None:
    connection.settimeout(_READ_WITHIN_S)
    connection.sendall(line)
