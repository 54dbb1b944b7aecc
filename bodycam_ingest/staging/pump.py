"""Moves a file's bytes from one reader to several sinks at once, by reference, in shared buffers.

The caller's thread reads; each sink has a thread. Reading from a device, hashing and writing all
let go of the interpreter's lock, so they run beside one another.

O_DIRECT hands a buffer to the disk as it lies in memory. On 4 KiB pages 1 MiB is 256 segments,
more than most disks take in one request; on a huge page it is one. One pool for the whole process
bounds the memory, however many cameras are docked.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from bodycam_ingest.errors import AbandonedError

if TYPE_CHECKING:
    from collections.abc import Sequence

Sink: TypeAlias = Callable[[memoryview, int], None]
Fill: TypeAlias = Callable[[memoryview, int], int]
# Called with the bytes read since the last call.
Progress: TypeAlias = Callable[[int], None]

HUGE_PAGE_BYTES: Final = 2 * 1024 * 1024
BUFFER_BYTES_DEFAULT: Final = 2 * 1024 * 1024
# Buffers that one run fills before the slowest sink has seen the first.
DEPTH: Final = 4
_PAGE_BYTES: Final = 4096
_LOOK_AGAIN_S: Final = 0.2


def ignore(_count: int) -> None:
    """A progress callback that does nothing."""


def check_abandoned(abandon: threading.Event | None) -> None:
    """Raise `AbandonedError` once the event is set."""
    if abandon is not None and abandon.is_set():
        raise AbandonedError("stopped between two buffers")


class BufferPool:
    """Up to `count_max` equal buffers, 4 KiB-aligned for O_DIRECT, shared by all threads.

    A buffer is acquired for one read and released when every sink has seen it. Nobody may wait for
    a second buffer while only he can release the first: then the pool can never lock up. Memory is
    used only as buffers are first needed; the size of each divides 2 MiB or is a multiple of it.

    Raises:
        ValueError: `buffer_bytes` does not fit huge pages, or `count_max` is below 1.
    """

    def __init__(self, *, buffer_bytes: int = BUFFER_BYTES_DEFAULT, count_max: int = 16) -> None:
        small = (
            _PAGE_BYTES <= buffer_bytes <= HUGE_PAGE_BYTES and HUGE_PAGE_BYTES % buffer_bytes == 0
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

    def acquire(self, abandon: threading.Event | None = None) -> memoryview:
        """A buffer; waits until one is free.

        Raises:
            AbandonedError: `abandon` was set while waiting.
        """
        with self._changed:
            while not self._free and self.made >= self.count_max:
                check_abandoned(abandon)
                self._changed.wait(_LOOK_AGAIN_S)
            if not self._free:
                self._grow()
            self.in_use += 1
            self.in_use_max = max(self.in_use_max, self.in_use)
            return self._free.pop()

    def release(self, buffer: memoryview) -> None:
        """Release what `acquire` returned."""
        with self._changed:
            self.in_use -= 1
            self._free.append(buffer)
            self._changed.notify()

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


class Pump:
    """Runs bytes through sinks; several threads may use one. With `abandon` set, it stops."""

    def __init__(self, pool: BufferPool, abandon: threading.Event | None = None) -> None:
        self._pool = pool
        self._abandon = abandon

    def run(self, fill: Fill, size_bytes: int, sinks: Sequence[Sink], progress: Progress) -> int:
        """Read `size_bytes` and hand every buffer to every sink, in order.

        Args:
            fill: `fill(buffer, length)` reads `length` bytes into an aligned buffer and returns
                how many it got, fewer only at the end; it may write behind `length` too.
            size_bytes: how much to read.
            sinks: each gets `(buffer, length)`; only one of them may touch what lies behind
                `length`, none what lies before it.
            progress: called after each buffer.

        Returns:
            Bytes read: fewer than `size_bytes` when the source ended before.

        Raises:
            AbandonedError: the abandon event was set.
            Exception: the first fault of `fill` or of a sink; all threads have ended.
        """
        if size_bytes > self._pool.buffer_bytes:
            return _Run(self._pool, self._abandon, sinks).run(fill, size_bytes, progress)
        # For a buffer or less, starting threads would cost more than they save.
        if not size_bytes:
            return 0
        check_abandoned(self._abandon)
        buffer = self._pool.acquire(self._abandon)
        try:
            length = fill(buffer, size_bytes)
            for sink in sinks:
                sink(buffer, length)
        finally:
            self._pool.release(buffer)
        progress(length)
        return length


@dataclass(slots=True)
class _Load:
    """One filled buffer on its way through the sinks."""

    buffer: memoryview
    waiting: int
    length: int = 0


class _Run:
    """One pass: its threads, its first fault."""

    def __init__(
        self, pool: BufferPool, abandon: threading.Event | None, sinks: Sequence[Sink]
    ) -> None:
        self._pool = pool
        self._abandon = abandon
        self._sinks = sinks
        self._lock = threading.Lock()
        self._fault: BaseException | None = None
        self._slots = threading.Semaphore(DEPTH)
        self._queues: list[queue.SimpleQueue[_Load | None]] = [queue.SimpleQueue() for _ in sinks]

    def run(self, fill: Fill, size_bytes: int, progress: Progress) -> int:
        started: list[threading.Thread] = []
        done = 0
        try:
            for sink, loads in zip(self._sinks, self._queues, strict=True):
                started.append(self._start(sink, loads))
            done = self._read(fill, size_bytes, progress)
        except BaseException as error:  # noqa: BLE001 - raised below, when all threads have ended
            self._fail(error)
        finally:
            for loads in self._queues:
                loads.put(None)
            for thread in started:
                thread.join()
        if self._fault is not None:
            raise self._fault
        return done

    def _start(self, sink: Sink, loads: queue.SimpleQueue[_Load | None]) -> threading.Thread:
        thread = threading.Thread(target=self._serve, args=(sink, loads), name="pump", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, "no thread could be started") from error
        return thread

    def _read(self, fill: Fill, size_bytes: int, progress: Progress) -> int:
        done = 0
        while done < size_bytes and self._fault is None:
            check_abandoned(self._abandon)
            self._slots.acquire()
            try:
                load = _Load(self._pool.acquire(self._abandon), len(self._sinks))
            except BaseException:
                self._slots.release()
                raise
            try:
                load.length = fill(load.buffer, min(len(load.buffer), size_bytes - done))
            except BaseException:
                self._release(load)
                raise
            if not load.length:
                self._release(load)
                break
            done += load.length
            for loads in self._queues:
                loads.put(load)
            progress(load.length)
        return done

    def _serve(self, sink: Sink, loads: queue.SimpleQueue[_Load | None]) -> None:
        while (load := loads.get()) is not None:
            try:
                if self._fault is None:
                    sink(load.buffer, load.length)
            except BaseException as error:  # noqa: BLE001 - raised by `run` in the caller's thread
                self._fail(error)
            finally:
                with self._lock:
                    load.waiting -= 1
                    last = not load.waiting
                if last:
                    self._release(load)

    def _release(self, load: _Load) -> None:
        self._pool.release(load.buffer)
        self._slots.release()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._fault = self._fault or error
