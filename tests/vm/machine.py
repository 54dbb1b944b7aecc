"""A dock PC as a virtual machine: power, network cable, USB sockets, and hands inside of it.

    with Machine(image, directory) as machine:
        machine.start()
        machine.run("systemctl is-active bodycam-ingest")
        machine.power_cut()

It is emulated in software, since a test may not count on virtualisation: everything is ten to
twenty times slower than on a dock. The guest reaches the host's loopback as 10.0.2.2, no more.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import signal
import socket
import struct
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.vm.image import Image

HOST: Final = "10.0.2.2"
_SILENCE_MAX_S: Final = 120
_BOOT_TIMEOUT_S: Final = 400.0
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)


class MachineError(Exception):
    """The machine did not do what it was told."""


@dataclass(frozen=True)
class Done:
    """A command that ended.

    Args:
        code: exit code.
        output: what it printed, errors among it.
    """

    code: int
    output: str


class Job:
    """A command that runs in the machine."""

    def __init__(self) -> None:
        self._ended = threading.Event()
        self._done: Done | None = None

    def end(self, done: Done | None) -> None:
        """Take the answer; None when the machine died."""
        self._done = done
        self._ended.set()

    @property
    def ended(self) -> bool:
        """Whether it ended."""
        return self._ended.is_set()

    def wait(self, timeout_s: float = 300) -> Done:
        """Wait for its end.

        Raises:
            MachineError: it did not end in time, or the machine died.
        """
        if not self._ended.wait(timeout_s):
            raise MachineError(f"a command still runs after {timeout_s} s")
        if self._done is None:
            raise MachineError("the machine died before the command ended")
        return self._done


def _receive(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = connection.recv(min(count - len(data), 1 << 20))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


class _Agent:
    """The host's side of guest/agent.py."""

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(path))
        self._jobs: dict[int, Job] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._dead = False
        self.hello = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            while True:
                head, payload = struct.unpack("!II", _receive(self._connection, 8))
                answer = json.loads(_receive(self._connection, head))
                output = _receive(self._connection, payload).decode(errors="replace")
                self.hello.set()
                with self._lock:
                    job = self._jobs.pop(answer["id"], None)
                if job is not None:
                    job.end(Done(answer["code"], output))
        except (EOFError, OSError):
            with self._lock:
                self._dead = True
                left, self._jobs = self._jobs, {}
            for job in left.values():
                job.end(None)

    def call(self, payload: bytes = b"", **request: Any) -> Job:
        job = Job()
        with self._lock:
            if self._dead:
                job.end(None)
                return job
            number = next(self._ids)
            self._jobs[number] = job
            head = json.dumps({**request, "id": number}).encode()
            self._connection.sendall(struct.pack("!II", len(head), len(payload)) + head + payload)
        return job

    def close(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()


class _Monitor:
    """QEMU's machine protocol (QMP)."""

    def __init__(self, path: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(60)
        self._connection.connect(str(path))
        self._lines = self._connection.makefile("rb")
        self._events: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._read()
        self("qmp_capabilities")

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise MachineError("the machine is gone")
        message: dict[str, Any] = json.loads(line)
        return message

    def __call__(self, command: str, **arguments: Any) -> Any:
        text = json.dumps({"execute": command, "arguments": arguments})
        with self._lock:
            self._connection.sendall(text.encode() + b"\n")
            while True:
                message = self._read()
                if "event" in message:
                    self._events.append(message)
                elif "error" in message:
                    raise MachineError(f"{command}: {message['error']['desc']}")
                else:
                    return message["return"]

    def wait_deleted(self, device: str) -> None:
        """Until a device is off its bus."""
        with self._lock:
            while True:
                for event in self._events:
                    data = event.get("data", {})
                    if event["event"] == "DEVICE_DELETED" and data.get("device") == device:
                        self._events.remove(event)
                        return
                message = self._read()
                if "event" in message:
                    self._events.append(message)

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Machine:
    """One machine with a disk of its own on top of the image.

    Args:
        image: what its disk starts from.
        directory: an empty directory for disk, sockets and logs; a short path, for the sockets.
    """

    def __init__(self, image: Image, directory: Path) -> None:
        self.image = image
        self.directory = directory
        self._disk = directory / "disk.qcow2"
        self._process: subprocess.Popen[bytes] | None = None
        self._agent: _Agent | None = None
        self._monitor: _Monitor | None = None
        backing = ("-b", str(image.disk), "-F", "raw")
        create = ("qemu-img", "create", "-q", "-f", "qcow2", *backing, str(self._disk))
        subprocess.run(create, check=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.power_cut()

    # -- power --

    def start(self, *, wait: bool = True) -> None:
        """Switch it on; returns when it is up, or at once."""
        assert self._process is None
        for name in ("agent.sock", "qmp.sock"):
            (self.directory / name).unlink(missing_ok=True)
        with (self.directory / "qemu.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other thread forks here
            )
        until_s = time.monotonic() + 30
        while not (self.directory / "agent.sock").exists():
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise MachineError((self.directory / "qemu.log").read_text()[-500:])
            time.sleep(0.02)
        self._monitor = _Monitor(self.directory / "qmp.sock")
        self._agent = _Agent(self.directory / "agent.sock")
        if wait:
            self.wait_up()

    def wait_up(self) -> None:
        """Until every unit that starts at boot was started."""
        serial = self.directory / "serial.log"
        said = serial.stat().st_size
        if not self._comes_up(_SILENCE_MAX_S) and serial.stat().st_size == said:
            # Once in some tens of starts an emulated kernel spins before its first word.
            self.power_cut()
            self.start(wait=False)
        if not self._comes_up(_BOOT_TIMEOUT_S):
            raise MachineError("it does not come up; see serial.log")
        self.run("systemctl is-system-running --wait", timeout_s=_BOOT_TIMEOUT_S)

    def _comes_up(self, timeout_s: float) -> bool:
        assert self._agent is not None
        assert self._process is not None
        until_s = time.monotonic() + timeout_s
        while not self._agent.hello.wait(0.5):
            if self._process.poll() is not None or time.monotonic() > until_s:
                return False
        return True

    def power_cut(self) -> None:
        """The plug is pulled: nothing in the machine runs any more, no cache of it is written."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
        if self._agent is not None:
            self._agent.close()
            self._agent = None
        if self._monitor is not None:
            self._monitor.close()
            self._monitor = None

    def kill(self) -> None:
        """Like `power_cut`, from any thread; `power_cut` must follow."""
        assert self._process is not None
        self._process.kill()

    def shut_down(self, timeout_s: float = 200) -> None:
        """Switch it off in order."""
        assert self._process is not None
        self.spawn("systemctl poweroff")
        try:
            self._process.wait(timeout_s)
        finally:
            self.power_cut()

    def _command(self) -> list[str]:
        at, image = self.directory, self.image
        kernel = "root=/dev/vda console=ttyS0 quiet loglevel=4 mitigations=off nokaslr panic=-1"
        words = f"""
            -nodefaults -no-user-config -display none -no-reboot -machine q35
            -accel tcg,thread=multi,tb-size=256 -cpu qemu64 -smp 2 -m 1024
            -kernel {image.kernel} -initrd {image.initrd}
            -chardev file,id=serial,path={at}/serial.log,append=on -serial chardev:serial
            -qmp unix:{at}/qmp.sock,server=on,wait=off
            -device virtio-serial-pci
            -chardev socket,id=agent,path={at}/agent.sock,server=on,wait=off
            -device virtserialport,chardev=agent,name=vm.agent
            -drive file={self._disk},if=none,id=root,format=qcow2,cache=writeback
            -device virtio-blk-pci,drive=root,serial=root
            -netdev user,id=net,net=10.0.2.0/24
            -device virtio-net-pci,netdev=net,id=nic,romfile=
            -device virtio-rng-pci
            -device qemu-xhci,id=xhci,p2=15,p3=15
        """.split()
        return ["qemu-system-x86_64", *words, "-append", kernel]

    # -- cables --

    @property
    def monitor(self) -> _Monitor:
        assert self._monitor is not None
        return self._monitor

    def network(self, *, up: bool) -> None:
        """Put the network cable in, or pull it."""
        self.monitor("set_link", name="nic", up=up)

    # -- inside --

    def spawn(self, command: str | Sequence[str]) -> Job:
        """Start a command: a line for the shell, or words."""
        assert self._agent is not None
        words = ["sh", "-c", command] if isinstance(command, str) else list(command)
        return self._agent.call(op="run", command=words)

    def run(self, command: str | Sequence[str], timeout_s: float = 300) -> Done:
        """Run a command to its end."""
        return self.spawn(command).wait(timeout_s)

    def ok(self, command: str | Sequence[str], timeout_s: float = 300) -> str:
        """Run a command that must succeed; returns what it printed."""
        done = self.run(command, timeout_s)
        if done.code:
            raise MachineError(f"{command}: exit code {done.code}\n{done.output}")
        return done.output

    def put(self, path: str, content: bytes | str, mode: int = 0o644) -> None:
        assert self._agent is not None
        data = content.encode() if isinstance(content, str) else content
        done = self._agent.call(data, op="put", path=path, mode=mode).wait()
        assert done.code == 0, done.output
