"""Runs commands for the tests and hands files over, through a virtio-serial port.

Both ways a message is two lengths (network order), a JSON head and a payload. An answer bears its
request's id, so that several commands can run at once: a reader, say, whose camera is pulled.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

_PORT = "/dev/virtio-ports/vm.agent"
_CHUNK_BYTES = 1 << 16
_lock = threading.Lock()


def _send(fd: int, head: dict[str, Any], payload: bytes = b"") -> None:
    text = json.dumps(head).encode()
    data = memoryview(struct.pack("!II", len(text), len(payload)) + text + payload)
    with _lock:
        while data:
            data = data[os.write(fd, data[:_CHUNK_BYTES]) :]


def _receive(fd: int, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = os.read(fd, min(count - len(data), 1 << 20))
        if not chunk:  # nobody listens on the host's side
            time.sleep(0.05)
        data += chunk
    return bytes(data)


def _run(fd: int, request: dict[str, Any], payload: bytes) -> None:
    process = subprocess.Popen(
        request["command"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    output, _ = process.communicate(payload)
    _send(fd, {"id": request["id"], "code": process.returncode}, output)


def _put(fd: int, request: dict[str, Any], payload: bytes) -> None:
    path = Path(request["path"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(payload)
    path.chmod(request["mode"])
    _send(fd, {"id": request["id"], "code": 0})


def _guarded(fd: int, request: dict[str, Any], payload: bytes) -> None:
    try:
        {"run": _run, "put": _put}[request["op"]](fd, request, payload)
    except OSError as error:
        _send(fd, {"id": request["id"], "code": 125}, str(error).encode())


def main() -> None:
    fd = os.open(_PORT, os.O_RDWR)
    _send(fd, {"id": 0, "code": 0})
    while True:
        head, payload = struct.unpack("!II", _receive(fd, 8))
        request = json.loads(_receive(fd, head))
        body = _receive(fd, payload)
        threading.Thread(target=_guarded, daemon=True, args=(fd, request, body)).start()


if __name__ == "__main__":
    main()
