"""A proxy that does to HTTP requests what networks and servers do on a bad day.

    with FaultProxy(("127.0.0.1", server.http_port), certificate=(cert, key)) as proxy:
        proxy.add(Fault("lost_answer", match=r"^POST .*uploadId="))
        session.create_client("s3", endpoint_url=proxy.url, …)

It ends TLS itself and speaks plain HTTP to the server, so that it sees and counts the bytes of
bodies. A signature survives that: requests are passed on as they came, with their Host.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import socket
import ssl
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Kind = Literal[
    "refuse",  # closes before anything is passed on: not done
    "drop",  # closes after `after` bytes of the request's body
    "reset",  # the same with RST
    "blackhole",  # goes silent after `after` bytes of the body, connection open
    "lost_answer",  # passes all on, waits for the answer, closes: done, reply lost
    "cut_answer",  # closes after `after` bytes of the answer's body
    "status",  # answers `status` and `code` by itself: not done
    "status_after",  # passes all on, then answers so by itself: done, answer wrong
    "flip",  # flips a bit of the request's body at `after`
    "flip_answer",  # flips a bit of the answer's body at `after`
    "none",  # passes all on
]
_CHUNK_BYTES: Final = 64 * 1024
_TIMEOUT_S: Final = 60.0


@dataclass
class Fault:
    """What happens to the next requests that match.

    Args:
        kind: what.
        match: regular expression on request line and headers.
        after: bytes of a body.
        times: how many requests; -1 for all.
        skip: how many matching requests pass before.
        status: HTTP status of an answer of its own.
        code: S3 error code of that answer; without one it has no body.
        headers: further headers of that answer.
    """

    kind: Kind
    match: str = "."
    after: int = 0
    times: int = 1
    skip: int = 0
    status: int = 503
    code: str = "SlowDown"
    headers: dict[str, str] = field(default_factory=dict)
    hits: int = 0


@dataclass(frozen=True)
class Seen:
    """One request as it came in.

    Args:
        line: method and target.
        headers: by lower-case name.
        body_sha256: hex digest of the body as far as it was read.
    """

    line: str
    headers: dict[str, str]
    body_sha256: str = ""


class _CutError(Exception):
    """The connection is to be closed now."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class _Reader:
    """Reads heads and bodies off a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def head(self) -> bytes:
        while b"\r\n\r\n" not in self._buffer:
            data = self._connection.recv(_CHUNK_BYTES)
            if not data:
                raise _CutError
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def some(self, most: int) -> bytes:
        if not self._buffer:
            self._buffer = self._connection.recv(min(most, _CHUNK_BYTES))
            if not self._buffer:
                raise _CutError
        taken, self._buffer = self._buffer[:most], self._buffer[most:]
        return taken

    def line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            data = self._connection.recv(_CHUNK_BYTES)
            if not data:
                raise _CutError
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line + b"\r\n"

    def body(self, headers: dict[str, str], give: Callable[[bytes, bool], None]) -> None:
        """Hand the body on in pieces; framing of chunks is marked as no payload."""
        if "chunked" not in headers.get("transfer-encoding", ""):
            left = int(headers.get("content-length", "0"))
            while left:
                data = self.some(left)
                left -= len(data)
                give(data, True)
            return
        while True:
            line = self.line()
            give(line, False)
            left = int(line.split(b";")[0], 16)
            if not left:
                give(self.line(), False)
                return
            while left:
                data = self.some(left)
                left -= len(data)
                give(data, True)
            give(self.line(), False)


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (li.partition(":") for li in lines)}


class FaultProxy:
    """Listens on loopback and passes requests on to a server.

    Args:
        upstream: host and port of the server, plain HTTP.
        certificate: certificate and key for TLS towards clients.
    """

    def __init__(self, upstream: tuple[str, int], certificate: tuple[Path, Path]) -> None:
        self._upstream = upstream
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*certificate)
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._open: set[socket.socket] = set()
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._threads: list[threading.Thread] = []
        self.requests: list[Seen] = []
        self.down = False

    @property
    def url(self) -> str:
        """The address for clients."""
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def add(self, fault: Fault) -> Fault:
        """Have a fault happen; the first that matches a request is taken."""
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """No faults any more, nothing seen."""
        with self._lock:
            self._faults.clear()
            self.requests.clear()
        self.down = False

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ended.set()
        # A thread that waits in accept(2) is not woken by close(2).
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            left = list(self._open)
        for connection in left:
            self._close(connection)
        for thread in self._threads:
            thread.join(timeout=_TIMEOUT_S)

    def _run(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                # Not with RST: CPython's ssl loses sight of a client's socket that is reset
                # before the handshake, and warns of it in whichever test runs next.
                self._close(connection)
            else:
                self._run(self._serve, connection)

    def _close(self, connection: socket.socket, *, reset: bool = False) -> None:
        with contextlib.suppress(OSError):
            if reset:
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            else:
                connection.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            connection.close()
        with self._lock:
            self._open.discard(connection)

    def _pick(self, head: bytes) -> Fault:
        text = head.decode("latin-1")
        with self._lock:
            for fault in self._faults:
                if not fault.times or not re.search(fault.match, text, re.MULTILINE):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1 if fault.times > 0 else 0
                fault.hits += 1
                return fault
        return Fault("none")

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(_TIMEOUT_S)
        reset = False
        client = plain
        server: socket.socket | None = None
        try:
            client = self._context.wrap_socket(plain, server_side=True)
            server = socket.create_connection(self._upstream, timeout=_TIMEOUT_S)
            with self._lock:
                self._open |= {client, server}
            requests, answers = _Reader(client), _Reader(server)
            while not self._ended.is_set():
                self._exchange(client, server, requests, answers)
        except _CutError as cut:
            reset = cut.reset
        except OSError:
            pass
        finally:
            self._close(client, reset=reset)
            if server is not None:
                self._close(server)

    def _exchange(
        self, client: socket.socket, server: socket.socket, requests: _Reader, answers: _Reader
    ) -> None:
        head = requests.head()
        headers = _headers(head)
        fault = self._pick(head)
        seen = Seen(head.split(b" HTTP/", 1)[0].decode("latin-1"), headers)
        with self._lock:
            self.requests.append(seen)
            at = len(self.requests) - 1
        if fault.kind == "refuse":
            raise _CutError
        if "100-continue" in headers.get("expect", ""):
            # Answered here, so that bodies come in and faults have bytes to count.
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?im)^expect:.*\r\n", b"", head)
        digest = hashlib.sha256()
        if fault.kind == "status":
            requests.body(headers, lambda data, _payload: digest.update(data))
            self._answer(client, seen.line, fault)
            return
        server.sendall(head)
        sender = _Sender(server, fault, self._ended)
        try:
            requests.body(headers, lambda data, payload: sender.send(digest, data, payload=payload))
        finally:
            with self._lock:
                if at < len(self.requests) and self.requests[at] is seen:
                    self.requests[at] = dataclasses.replace(seen, body_sha256=digest.hexdigest())
        self._pass_answer(client, answers, seen.line, fault)

    def _pass_answer(
        self, client: socket.socket, answers: _Reader, line: str, fault: Fault
    ) -> None:
        head = answers.head()
        headers = _headers(head)
        status = int(head.split(b" ", 2)[1])
        pieces: list[tuple[bytes, bool]] = []
        if not line.startswith("HEAD ") and status not in {204, 304}:
            answers.body(headers, lambda data, payload: pieces.append((data, payload)))
        if fault.kind == "lost_answer":
            raise _CutError
        if fault.kind == "status_after":
            self._answer(client, line, fault)
            return
        client.sendall(head)
        done = 0
        for data, payload in pieces:
            piece = data
            if payload and fault.kind == "flip_answer" and done <= fault.after < done + len(data):
                piece = _flipped(data, fault.after - done)
            if payload and fault.kind == "cut_answer" and done + len(data) >= fault.after:
                client.sendall(data[: fault.after - done])
                raise _CutError
            client.sendall(piece)
            done += len(data) if payload else 0
        if "close" in headers.get("connection", "").lower():
            raise _CutError

    def _answer(self, client: socket.socket, line: str, fault: Fault) -> None:
        body = b""
        if fault.code and not line.startswith("HEAD "):
            body = (
                f'<?xml version="1.0"?><Error><Code>{fault.code}</Code>'
                "<Message>made by the proxy</Message></Error>"
            ).encode()
        lines = [
            f"HTTP/1.1 {fault.status} Fault",
            "Content-Type: application/xml",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in fault.headers.items()),
        ]
        client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        raise _CutError


class _Sender:
    """Passes a request's body on, with the fault that meets it."""

    def __init__(self, server: socket.socket, fault: Fault, ended: threading.Event) -> None:
        self._server = server
        self._fault = fault
        self._ended = ended
        self._done = 0

    def send(self, digest: hashlib._Hash, data: bytes, *, payload: bool) -> None:
        digest.update(data)
        if not payload:
            self._server.sendall(data)
            return
        fault, end = self._fault, self._done + len(data)
        if fault.kind in {"drop", "reset", "blackhole"} and end >= fault.after:
            self._server.sendall(data[: max(0, fault.after - self._done)])
            if fault.kind == "blackhole":
                self._ended.wait(_TIMEOUT_S)
            raise _CutError(reset=fault.kind == "reset")
        if fault.kind == "flip" and self._done <= fault.after < end:
            data = _flipped(data, fault.after - self._done)
        self._server.sendall(data)
        self._done = end


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
