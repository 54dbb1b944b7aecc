"""The buffers that evidence passes through: few, aligned, on huge pages, shared by everybody.

O_DIRECT hands a buffer to the disk as it lies in memory. On 4 KiB pages 1 MiB is 256 segments,
more than most disks take in one request; on a huge page it is one. One pool for the whole process
bounds the memory, however many cameras are docked.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import threading
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import AbandonedError

if TYPE_CHECKING:
    from collections.abc import Iterator

HUGE_PAGE_BYTES: Final = 2 * 1024 * 1024
PAGE_BYTES: Final = 4096
BUFFER_BYTES_DEFAULT: Final = 2 * 1024 * 1024
BUFFER_COUNT_DEFAULT: Final = 16
_LOOK_AGAIN_S: Final = 0.2


class BufferPool:
    """A bounded number of equal buffers, 4 KiB-aligned for O_DIRECT.

    A buffer is taken for one read and given back when everyone has seen it. Nobody may wait for
    a second buffer while only he can give back the first: then the pool can never lock up.

    Args:
        buffer_bytes: size of each; divides 2 MiB or is a multiple of it.
        count_max: how many there are at most; memory is used only as they are first needed.

    Raises:
        ValueError: `buffer_bytes` does not fit huge pages, or `count_max` is below 1.
    """

    def __init__(
        self,
        *,
        buffer_bytes: int = BUFFER_BYTES_DEFAULT,
        count_max: int = BUFFER_COUNT_DEFAULT,
    ) -> None:
        small = (
            PAGE_BYTES <= buffer_bytes <= HUGE_PAGE_BYTES and HUGE_PAGE_BYTES % buffer_bytes == 0
        )
        if not small and (buffer_bytes <= 0 or buffer_bytes % HUGE_PAGE_BYTES):
            raise ValueError(f"buffers of {buffer_bytes} bytes do not fit huge pages")
        if count_max < 1:
            raise ValueError(f"a pool of {count_max} buffers is none")
        self.buffer_bytes: Final = buffer_bytes
        self.count_max: Final = count_max
        self.made = 0
        self.in_use = 0
        self.in_use_max = 0
        self._free: list[memoryview] = []
        self._changed = threading.Condition()

    def take(self, abandon: threading.Event | None = None) -> memoryview:
        """A buffer; waits until one is free.

        Args:
            abandon: set when the caller shall give up.

        Raises:
            AbandonedError: `abandon` was set while waiting.
        """
        with self._changed:
            while not self._free and self.made >= self.count_max:
                if abandon is not None and abandon.is_set():
                    raise AbandonedError("stopped while waiting for a buffer")
                self._changed.wait(_LOOK_AGAIN_S)
            if not self._free:
                self._grow()
            self.in_use += 1
            self.in_use_max = max(self.in_use_max, self.in_use)
            return self._free.pop()

    def give(self, buffer: memoryview) -> None:
        """Give back what `take` gave."""
        with self._changed:
            self.in_use -= 1
            self._free.append(buffer)
            self._changed.notify()

    @contextlib.contextmanager
    def lend(self, abandon: threading.Event | None = None) -> Iterator[memoryview]:
        """One buffer for the length of a `with` block; arguments as `take`."""
        buffer = self.take(abandon)
        try:
            yield buffer
        finally:
            self.give(buffer)

    def _grow(self) -> None:
        wanted = max(HUGE_PAGE_BYTES, self.buffer_bytes)
        # One huge page more than wanted is mapped, never touched, to find an aligned start.
        area = mmap.mmap(-1, wanted + HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        start = -ctypes.addressof(ctypes.c_char.from_buffer(area)) % HUGE_PAGE_BYTES
        # A kernel without transparent huge pages is slower, not wrong.
        with contextlib.suppress(OSError):
            area.madvise(mmap.MADV_HUGEPAGE)
        view = memoryview(area)
        count = min(wanted // self.buffer_bytes, self.count_max - self.made)
        for index in range(count):
            low = start + index * self.buffer_bytes
            self._free.append(view[low : low + self.buffer_bytes])
        self.made += count
