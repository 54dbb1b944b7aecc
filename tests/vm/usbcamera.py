"""A body camera on USB, as a script: mass storage (bulk-only) over the usbredir protocol.

QEMU's own USB disks always show one vendor and have no faults. This one shows any identity, drops
off the bus at a byte, fails at a sector, or stops answering, and notes every write that arrives:

    camera = UsbCamera(card, serial="X81A0042")
    camera.plug(machine, port=3)
    camera.at_byte(5_000_000, camera.drop)
    camera.pull()

Follows "USB Mass Storage Class, Bulk-Only Transport 1.0" and the usbredir protocol 0.7.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Final

from tests.vm.scsi import Disk, SenseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.vm.machine import Machine

VENDOR_ID: Final = 0x2FB7
_HELLO, _CONNECT, _RESET, _INTERFACES, _ENDPOINTS = 0, 1, 3, 4, 5
_SET_CONFIGURATION, _GET_CONFIGURATION, _CONFIGURATION = 6, 7, 8
_SET_ALT, _GET_ALT, _ALT, _CONTROL, _BULK = 9, 10, 11, 100, 101
_OK, _STALL = 0, 4
_CAPABILITIES: Final = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6  # version, packet size, ids and lengths
_HIGH_SPEED: Final = 2
_PACKET_BYTES: Final = 512
_TO_CAMERA, _FROM_CAMERA = 0x01, 0x81
_CBW: Final = 0x43425355
_CSW: Final = 0x53425355


class UsbCamera:
    """One camera with one card.

    Args:
        card: the card's image.
        serial: the serial number that USB tells.
        vendor_id: the USB vendor.
        product: its name.
    """

    def __init__(
        self, card: Path, serial: str, *, vendor_id: int = VENDOR_ID, product: str = "BodyCam 3"
    ) -> None:
        self.serial = serial
        self.disk = Disk(card, product)
        self.hangs = False
        self.bytes_read = 0
        self.gone = threading.Event()
        self._vendor_id = vendor_id
        self._strings = ["", "Acme", product, serial]
        self._name = f"camera-{serial}"
        self._traps: list[tuple[Callable[[], bool], Callable[[], None]]] = []
        self._machine: Machine | None = None
        self._connection: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._clear()

    def _clear(self) -> None:
        self._ids64 = False
        self._command: bytes | None = None
        self._tag = self._wanted = 0
        self._inward = False
        self._out = b""
        self._data = b""
        self._status: bytes | None = None
        self._is_read = False

    # -- hands --

    def plug(self, machine: Machine, port: int) -> None:
        """Put it into a socket of the machine, 1 to 15."""
        self._clear()
        self.gone.clear()
        self.disk.open()
        self._machine = machine
        path = machine.directory / f"{self.serial}.sock"
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            address = {"type": "unix", "data": {"path": str(path)}}
            backend = {"type": "socket", "data": {"addr": address, "server": False}}
            machine.monitor("chardev-add", id=self._name, backend=backend)
            self._connection, _ = listener.accept()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        device = {"driver": "usb-redir", "id": self._name, "bus": "xhci.0", "chardev": self._name}
        machine.monitor("device_add", **device, port=str(port))

    def drop(self) -> None:
        """Off the bus, now; from any thread."""
        self.gone.set()
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_RDWR)

    def pull(self) -> None:
        """Pull it; also tidies up after `drop`."""
        self.drop()
        assert self._machine is not None
        self._machine.monitor("device_del", id=self._name)
        self._machine.monitor.wait_deleted(self._name)
        self.lost()

    def lost(self) -> None:
        """The machine it hung on is off."""
        self.drop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self.disk.close()
        self._traps.clear()
        self.hangs = False

    def at_byte(self, count: int, act: Callable[[], None]) -> None:
        """Act when so many more bytes were read off the card."""
        end = self.bytes_read + count
        self._traps.append((lambda: self.bytes_read >= end, act))

    def at_sector(self, sector: int, act: Callable[[], None]) -> None:
        """Act when this sector is read, before the host gets it."""
        self.disk.touched.discard(sector)
        self._traps.append((lambda: sector in self.disk.touched, act))

    def _spring(self) -> None:
        for trap in [trap for trap in self._traps if trap[0]()]:
            self._traps.remove(trap)
            trap[1]()

    # -- usbredir --

    def _receive(self, count: int) -> bytes:
        assert self._connection is not None
        data = bytearray()
        while len(data) < count:
            chunk = self._connection.recv(count - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)

    def _send(self, kind: int, number: int, body: bytes) -> None:
        assert self._connection is not None
        head = struct.pack("<IIQ" if self._ids64 else "<III", kind, len(body), number)
        self._connection.sendall(head + body)

    def _serve(self) -> None:
        try:
            self._send(_HELLO, 0, b"usbcamera".ljust(64, b"\0") + struct.pack("<I", _CAPABILITIES))
            while True:
                kind, length = struct.unpack("<II", self._receive(8))
                form = "<Q" if self._ids64 else "<I"
                (number,) = struct.unpack(form, self._receive(struct.calcsize(form)))
                self._packet(kind, number, self._receive(length))
        except (EOFError, OSError):
            self.gone.set()

    def _packet(self, kind: int, number: int, body: bytes) -> None:
        if kind == _HELLO:
            self._ids64 = True
            self._introduce()
        elif kind in {_CONTROL, _BULK} and self.hangs:
            return
        elif kind == _SET_CONFIGURATION:
            self._send(_CONFIGURATION, number, bytes([_OK, body[0]]))
        elif kind == _GET_CONFIGURATION:
            self._send(_CONFIGURATION, number, bytes([_OK, 1]))
        elif kind in {_SET_ALT, _GET_ALT}:
            setting = body[1] if kind == _SET_ALT else 0
            self._send(_ALT, number, bytes([_OK, body[0], setting]))
        elif kind == _RESET:
            self._command, self._data, self._status = None, b"", None
        elif kind == _CONTROL:
            self._control(number, body)
        elif kind == _BULK:
            self._bulk(number, body)

    def _introduce(self) -> None:
        def padded(value: int) -> bytes:
            return bytes([value]).ljust(32, b"\0")

        one_interface = struct.pack("<I", 1) + padded(0) + padded(8) + padded(6) + padded(0x50)
        self._send(_INTERFACES, 0, one_interface)
        types, sizes = [255] * 32, [0] * 32
        for at, kind, size in ((0, 0, 64), (16, 0, 64), (1, 2, 512), (17, 2, 512)):
            types[at], sizes[at] = kind, size
        self._send(_ENDPOINTS, 0, bytes(types) + bytes(64) + struct.pack("<32H", *sizes))
        identity = (_HIGH_SPEED, 0, 0, 0, self._vendor_id, 0x0101, 0x0100)
        self._send(_CONNECT, 0, struct.pack("<BBBBHHH", *identity))

    # -- USB --

    def _control(self, number: int, body: bytes) -> None:
        endpoint, request, kind, _, value, index, length = struct.unpack_from("<BBBBHHH", body)
        data: bytes | None = b""
        if kind == 0x80 and request == 6:
            data = self._descriptor(value >> 8, value & 255)
        elif kind == 0xA1 and request == 0xFE:  # one unit
            data = b"\0"
        elif kind == 0x21 and request == 0xFF:  # bulk-only reset
            self._command, self._data, self._status = None, b"", None
        elif kind & 0x80:
            data = b"\0\0" if request == 0 else None
        status, answer = (_STALL, b"") if data is None else (_OK, data[:length])
        told = len(answer) if kind & 0x80 else length
        head = (endpoint, request, kind, status, value, index, told)
        self._send(_CONTROL, number, struct.pack("<BBBBHHH", *head) + answer)

    def _descriptor(self, kind: int, index: int) -> bytes | None:
        if kind == 1:
            ids = (self._vendor_id, 0x0101, 0x0100, 1, 2, 3, 1)
            return struct.pack("<BBHBBBBHHHBBBB", 18, 1, 0x0200, 0, 0, 0, 64, *ids)
        if kind == 2:
            return (
                struct.pack("<BBHBBBBB", 9, 2, 32, 1, 1, 0, 0xC0, 50)
                + struct.pack("<BBBBBBBBB", 9, 4, 0, 0, 2, 8, 6, 0x50, 0)
                + struct.pack("<BBBBHB", 7, 5, _FROM_CAMERA, 2, _PACKET_BYTES, 0)
                + struct.pack("<BBBBHB", 7, 5, _TO_CAMERA, 2, _PACKET_BYTES, 0)
            )
        if kind == 3 and index == 0:
            return b"\x04\x03\x09\x04"
        if kind == 3 and index < len(self._strings):
            text = self._strings[index].encode("utf-16-le")
            return bytes([len(text) + 2, 3]) + text
        if kind == 6:
            return struct.pack("<BBHBBBBBB", 10, 6, 0x0200, 0, 0, 0, 64, 1, 0)
        return None

    def _answer(
        self, number: int, endpoint: int, status: int, count: int, data: bytes = b""
    ) -> None:
        head = struct.pack("<BBHIH", endpoint, status, count & 0xFFFF, 0, count >> 16)
        self._send(_BULK, number, head + data)

    def _bulk(self, number: int, body: bytes) -> None:
        endpoint, _, low, _, high = struct.unpack_from("<BBHIH", body)
        count = low | high << 16
        if endpoint == _TO_CAMERA:
            status = _OK if self._take(body[10:]) else _STALL
            self._answer(number, endpoint, status, count if status == _OK else 0)
        elif self._data:
            out, self._data = self._data[:count], self._data[count:]
            if self._is_read:
                self.bytes_read += len(out)
                self._spring()
                if self.gone.is_set():
                    raise EOFError
            self._answer(number, endpoint, _OK, len(out), out)
        elif self._status is not None:
            status_block, self._status, self._command = self._status, None, None
            self._answer(number, endpoint, _OK, len(status_block), status_block)
        else:
            self._answer(number, endpoint, _STALL, 0)

    def _take(self, data: bytes) -> bool:
        """A command, or what belongs to it; false for neither."""
        if self._command is not None:
            self._out += data
            if len(self._out) >= self._wanted:
                self._obey()
            return True
        mark, self._tag, self._wanted, flags, _, length = struct.unpack_from("<IIIBBB", data)
        if mark != _CBW:
            return False
        self._command, self._out = data[15 : 15 + length], b""
        self._inward = bool(flags & 0x80) or not self._wanted
        if self._inward:
            self._obey()
        return True

    def _obey(self) -> None:
        assert self._command is not None
        self._is_read = False
        try:
            reply = self.disk.command(self._command, self._out)
        except SenseError as error:
            self.disk.sense = error.sense
            self._data, failed = b"", 1
        else:
            self._data, self._is_read, failed = reply.data[: self._wanted], reply.is_read, 0
        done = len(self._data) if self._inward else self._wanted
        self._status = struct.pack("<IIIB", _CSW, self._tag, self._wanted - done, failed)
