"""The command's side of the control socket."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import socket
import struct
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.errors import ControlError, IngestError, all_error_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from bodycam_ingest.daemon.control.requests import Request


_CHUNK_BYTES: Final = 64 * 1024
_REPLY_BYTES_MAX: Final = 64 * 1024 * 1024
# A daemon that works on a request says so every few seconds.
_SILENCE_MAX_S: Final = 30.0
_PATIENCE: Final = struct.pack("ll", int(_SILENCE_MAX_S), 0)
_UNKNOWN_OUTCOME: Final = (
    "Whether it was done is not known: the ledger says it (`bodycam-ingest items ITEM`)."
)


def _unheard(_waiting: Mapping[str, Any]) -> None:
    pass


def ask(
    state_dir: Path,
    request: Request,
    waiting: Callable[[Mapping[str, Any]], None] = _unheard,
) -> dict[str, Any] | None:
    """Ask the running daemon, however long that takes it; None where none runs.

    `waiting` is called every few seconds while the daemon works on it, with `begun` (false while it
    waits its turn) and `done_bytes`.

    Raises:
        IngestError: it refused, by the same class as without a daemon.
        ControlError: it did not answer.
    """
    sent = False
    try:
        with short_address(state_dir) as address, socket.socket(socket.AF_UNIX) as connection:
            # connect(2) waits for a place in the daemon's queue, as long as it may send; without
            # blocking it would fail at once where others are about to be served.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
            connection.connect(address)
            connection.settimeout(_SILENCE_MAX_S)
            connection.sendall(request.line())
            sent = True
            return _reply(connection, waiting)
    except PermissionError as error:
        raise ControlError(
            f"{state_dir}: {error.strerror}", hint="Run this as the daemon's user or as root."
        ) from error
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        hint = _UNKNOWN_OUTCOME if sent else ""
        raise ControlError(f"the daemon did not answer: {error}", hint=hint) from error


def _reply(
    connection: socket.socket, waiting: Callable[[Mapping[str, Any]], None]
) -> dict[str, Any]:
    buffer = bytearray()
    while True:
        line = _line(connection, buffer)
        try:
            reply = json.loads(line)
            if "waiting" in reply:
                waiting(reply["waiting"])
                continue
            if reply["ok"]:
                result: dict[str, Any] = reply["result"]
                return result
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ControlError(
                f"the daemon answered in words that this version does not know: {error!r}",
                hint="Restart the daemon: another version of it is running.",
            ) from error
        raise _refusal(reply)


def _line(connection: socket.socket, buffer: bytearray) -> bytes:
    end = buffer.find(b"\n")
    while end < 0:
        read_to = len(buffer)
        chunk = connection.recv(_CHUNK_BYTES)
        if not chunk or read_to > _REPLY_BYTES_MAX:
            raise ControlError(
                "the daemon ended the connection before it answered", hint=_UNKNOWN_OUTCOME
            )
        buffer += chunk
        end = buffer.find(b"\n", read_to)
    line = bytes(buffer[:end])
    del buffer[: end + 1]
    return line


def _refusal(reply: Mapping[str, Any]) -> IngestError:
    """The daemon's fault as it would have been met here: same class, same exit code."""
    kinds = {kind.code: kind for kind in all_error_classes()}
    kind = kinds.get(str(reply.get("code")), ControlError)
    return kind(str(reply.get("message")), hint=str(reply.get("hint") or ""))


SOCKET_NAME: Final = "control.sock"


@contextlib.contextmanager
def short_address(state_dir: Path) -> Iterator[str]:
    """The socket's address: a name for it that is never too long.

    A socket address holds 107 bytes; a state directory's path may be longer.
    """
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
