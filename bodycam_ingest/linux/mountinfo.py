"""What is mounted where (proc_pid_mountinfo(5)), and word at once when that changes.

Reading the text is pure: it is fetched elsewhere. Paths are bytes, as the kernel shows them.
"""

from __future__ import annotations

import os
import re
import select
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2})")
# Before the optional fields; and after the lone hyphen that ends them.
_FIXED: Final = 6
_TRAILING: Final = 3


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted file system, in the words of proc_pid_mountinfo(5).

    The number is used again after it was unmounted. `device` is as `st_dev` of its files, `root`
    what of the file system is mounted (`/` is all of it); `options` are of this mount,
    `super_options` of the file system.
    """

    mount_id: int
    device: int
    root: bytes
    mount_path: bytes
    options: frozenset[str]
    fs_type: str
    source: bytes
    super_options: frozenset[str]

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written through this mount."""
        return "ro" in self.options or "ro" in self.super_options


def parse(text: bytes) -> Iterator[Mount]:
    """The mounts of a mountinfo file, in its order; where paths repeat, the last lies on top.

    A line of another form is skipped: the kernel may add kinds of lines, and one of them must not
    hide the others.
    """
    for line in text.split(b"\n"):
        mount = _mount(line.split(b" "))
        if mount is not None:
            yield mount


def _mount(fields: list[bytes]) -> Mount | None:
    try:
        hyphen = fields.index(b"-", _FIXED)
        major, minor = fields[2].split(b":")
        device = os.makedev(int(major), int(minor))
        mount_id = int(fields[0])
    except (ValueError, OverflowError):
        return None
    trailing = fields[hyphen + 1 :]
    if len(trailing) < _TRAILING:
        return None
    return Mount(
        mount_id=mount_id,
        device=device,
        root=_unescaped(fields[3]),
        mount_path=_unescaped(fields[4]),
        options=_options(fields[5]),
        fs_type=trailing[0].decode("ascii", "backslashreplace"),
        source=_unescaped(trailing[1]),
        super_options=_options(trailing[2]),
    )


def _unescaped(field: bytes) -> bytes:
    return _ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field)


def _options(field: bytes) -> frozenset[str]:
    return frozenset(_unescaped(field).decode("utf-8", "backslashreplace").split(","))


class MountWatch:
    """Calls `wake` after each change of what is mounted, from a thread of its own."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._stopping, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, name="mount-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; to be called once, after `start`."""
        os.close(self._stop)
        self._thread.join()
        os.close(self._stopping)

    def _run(self) -> None:
        with open("/proc/self/mountinfo", "rb") as mounts:  # noqa: PTH123 - its descriptor is polled
            # Changes show as an error and as exceptional data (proc_pid_mounts(5)).
            poller = select.poll()
            poller.register(mounts, select.POLLERR | select.POLLPRI)
            poller.register(self._stopping, select.POLLHUP)
            while self._stopping not in dict(poller.poll()):
                self._wake()
