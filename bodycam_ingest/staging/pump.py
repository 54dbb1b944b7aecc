"""Moves a file's bytes from one reader to several takers at once, by reference, in few buffers.

The caller's thread reads; each taker has a thread. Reading from a device, hashing and writing all
let go of the interpreter's lock, so they run beside one another.
"""

from __future__ import annotations

import errno
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from bodycam_ingest.errors import AbandonedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bodycam_ingest.staging.buffers import BufferPool

Sink: TypeAlias = Callable[[memoryview, int], None]
Fill: TypeAlias = Callable[[memoryview, int], int]

DEPTH: Final = 4


class _Load:
    """One filled buffer on its way through the sinks."""

    __slots__ = ("buffer", "length", "waiting")

    def __init__(self, buffer: memoryview, length: int, sinks: int) -> None:
        self.buffer = buffer
        self.length = length
        self.waiting = sinks


class Pump:
    """Runs bytes through sinks; one object serves one thread at a time per `run`.

    Args:
        pool: where buffers come from.
        abandon: when set, `run` stops at the next buffer.
    """

    def __init__(self, pool: BufferPool, abandon: threading.Event | None = None) -> None:
        self._pool = pool
        self._abandon = abandon

    def run(
        self,
        fill: Fill,
        size_bytes: int,
        sinks: Sequence[Sink],
        progress: Callable[[int], None],
    ) -> int:
        """Read `size_bytes` and hand every buffer to every sink, in order.

        Args:
            fill: `fill(buffer, length)` reads `length` bytes into an aligned buffer and returns
                how many it got, fewer only at the end; it may write behind `length` too.
            size_bytes: how much to read.
            sinks: each gets `(buffer, length)`; only one of them may touch what lies behind
                `length`, none what lies before it.
            progress: called after each buffer with the bytes read since the last call.

        Returns:
            Bytes read: fewer than `size_bytes` when the source ended before.

        Raises:
            AbandonedError: the abandon event was set.
            ValueError: there is no sink.
            Exception: the first fault of `fill` or of a sink; all threads have ended.
        """
        if not sinks:
            raise ValueError("bytes that nobody takes need not be read")
        if size_bytes <= self._pool.buffer_bytes:
            return self._run_inline(fill, size_bytes, sinks, progress)
        return _Run(self._pool, self._abandon, sinks).run(fill, size_bytes, progress)

    def _run_inline(
        self,
        fill: Fill,
        size_bytes: int,
        sinks: Sequence[Sink],
        progress: Callable[[int], None],
    ) -> int:
        # For a buffer or less, starting threads would cost more than they save.
        if not size_bytes:
            return 0
        check_abandoned(self._abandon)
        with self._pool.lend(self._abandon) as buffer:
            length = fill(buffer, size_bytes)
            for sink in sinks:
                sink(buffer, length)
        progress(length)
        return length


def check_abandoned(abandon: threading.Event | None) -> None:
    """Raise `AbandonedError` once the event is set."""
    if abandon is not None and abandon.is_set():
        raise AbandonedError("stopped between two buffers")


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, "no thread could be started") from error


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
        self._room = threading.Semaphore(DEPTH)
        self._lines: list[queue.SimpleQueue[_Load | None]] = [queue.SimpleQueue() for _ in sinks]

    def run(self, fill: Fill, size_bytes: int, progress: Callable[[int], None]) -> int:
        threads = [
            threading.Thread(target=self._serve, args=pair, name=f"pump-{index}", daemon=True)
            for index, pair in enumerate(zip(self._sinks, self._lines, strict=True))
        ]
        started: list[threading.Thread] = []
        done = 0
        try:
            for thread in threads:
                _start(thread)
                started.append(thread)
            done = self._read(fill, size_bytes, progress)
        except BaseException as error:  # noqa: BLE001 - raised below, when all threads have ended
            self._fail(error)
        finally:
            for line in self._lines:
                line.put(None)
            for thread in started:
                thread.join()
        if self._fault is not None:
            raise self._fault
        return done

    def _read(self, fill: Fill, size_bytes: int, progress: Callable[[int], None]) -> int:
        done = 0
        while done < size_bytes and self._fault is None:
            check_abandoned(self._abandon)
            self._room.acquire()
            try:
                buffer = self._pool.take(self._abandon)
            except BaseException:
                self._room.release()
                raise
            load = _Load(buffer, 0, len(self._sinks))
            try:
                load.length = fill(buffer, min(len(buffer), size_bytes - done))
            except BaseException:
                self._give(load)
                raise
            if not load.length:
                self._give(load)
                break
            done += load.length
            for line in self._lines:
                line.put(load)
            progress(load.length)
        return done

    def _serve(self, sink: Sink, line: queue.SimpleQueue[_Load | None]) -> None:
        while (load := line.get()) is not None:
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
                    self._give(load)

    def _give(self, load: _Load) -> None:
        self._pool.give(load.buffer)
        self._room.release()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._fault is None:
                self._fault = error
