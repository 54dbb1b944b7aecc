"""The daemon's control socket: one JSON object a line, both ways, on a Unix socket.

The socket lies in the state directory (0700), so only the daemon's user and root reach it. The
peer's user id (SO_PEERCRED) becomes the actor of what it asks for.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Final

import structlog

from bodycam_ingest.errors import ControlError, IngestError, all_error_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

log = structlog.get_logger(__name__)

SOCKET_NAME: Final = "control.sock"
_LINE_BYTES_MAX: Final = 64 * 1024 * 1024
_CLIENT_TIMEOUT_S: Final = 30.0
_ACCEPT_TIMEOUT_S: Final = 0.5


@contextlib.contextmanager
def _short_address(state_dir: Path) -> Iterator[str]:
    # A socket address holds 107 bytes; a state directory's path may be longer.
    fd = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


def user_name(uid: int) -> str:
    """The account's name, or the number where there is no account."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _read_line(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        return stream.readline(_LINE_BYTES_MAX)


class ControlServer:
    """Answers commands while the daemon runs.

    Args:
        state_dir: where the socket is made; a left-over one is replaced, since only the holder of
            the ledger's lock gets here.
        handle: `handle(request, user)` gives the reply; its `IngestError` becomes a refusal.
    """

    def __init__(
        self, state_dir: Path, handle: Callable[[Mapping[str, Any], str], Mapping[str, Any]]
    ) -> None:
        self._handle = handle
        self._path = state_dir / SOCKET_NAME
        self._stop = threading.Event()
        self._path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with _short_address(state_dir) as address:
            self._listener.bind(address)
        self._path.chmod(0o600)
        self._listener.listen(16)
        self._listener.settimeout(_ACCEPT_TIMEOUT_S)

    def serve(self, beat: Callable[[], None]) -> None:
        """Answer until `stop`; calls `beat` at least every second."""
        while not self._stop.is_set():
            beat()
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            with connection:
                self._answer(connection)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Have `serve` return soon."""
        self._stop.set()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(_CLIENT_TIMEOUT_S)
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _pid, uid, _gid = struct.unpack("3i", raw)
        reply: dict[str, Any]
        try:
            request = json.loads(_read_line(connection))
            reply = {"ok": True, "result": self._handle(request, user_name(uid))}
        except IngestError as error:
            reply = {
                "ok": False,
                "code": error.code,
                "exit_code": error.exit_code,
                "message": error.message,
                "hint": error.hint,
            }
        except (ValueError, KeyError, TypeError) as error:
            reply = {
                "ok": False,
                "code": ControlError.code,
                "exit_code": ControlError.exit_code,
                "message": f"the request was not understood: {error!r}",
                "hint": ControlError.default_hint,
            }
        except OSError as error:
            log.warning("control.client_lost", error=str(error))
            return
        try:
            connection.sendall(json.dumps(reply).encode() + b"\n")
        except OSError as error:
            log.warning("control.client_lost", error=str(error))


def _refusal(reply: Mapping[str, Any]) -> IngestError:
    """The daemon's fault as it would have been met here: same class, same exit code."""
    kinds = {kind.code: kind for kind in all_error_classes()}
    kind = kinds.get(str(reply.get("code")), ControlError)
    return kind(str(reply.get("message")), hint=str(reply.get("hint") or ""))


def ask(state_dir: Path, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """Ask the running daemon.

    Args:
        state_dir: the daemon's state directory.
        request: at least `{"command": …}`.

    Returns:
        The daemon's result; None when no daemon runs on this state directory.

    Raises:
        IngestError: it refused, by the same class as without a daemon.
        ControlError: it did not answer.
    """
    try:
        with _short_address(state_dir) as address, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_CLIENT_TIMEOUT_S)
            connection.connect(address)
            connection.sendall(json.dumps(dict(request)).encode() + b"\n")
            line = _read_line(connection)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise ControlError(f"the daemon did not answer: {error}") from error
    if not line:
        raise ControlError("the daemon closed the connection without an answer")
    reply = json.loads(line)
    if not reply["ok"]:
        raise _refusal(reply)
    result: dict[str, Any] = reply["result"]
    return result
