from __future__ import annotations

import threading
import time

import pytest

from bodycam_ingest.errors import AbandonedError
from bodycam_ingest.staging.pump import DEPTH, HUGE_PAGE_BYTES, BufferPool, Pump
from tests.support.recordings import PAGE_BYTES, content
from tests.support.threads import together


class Tape:
    """Gives bytes as a file does, in any buffer."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def fill(self, buffer: memoryview, length: int) -> int:
        piece = self.data[self.at : self.at + length]
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


class Ear:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard = bytearray()

    def take(self, buffer: memoryview, length: int) -> None:
        self.heard += buffer[:length]


def ignore(_count: int) -> None:
    pass


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, 4097, 100_000])
@pytest.mark.parametrize("ears", [1, 3])
def test_every_sink_hears_every_byte_in_order(size_bytes, ears):
    data, pool = content(size_bytes), BufferPool(buffer_bytes=PAGE_BYTES, count_max=3)
    listening = [Ear() for _ in range(ears)]

    count = Pump(pool).run(Tape(data).fill, size_bytes, [ear.take for ear in listening], ignore)

    assert count == size_bytes
    assert all(ear.heard == data for ear in listening)
    assert pool.in_use == 0


@pytest.mark.parametrize(
    ("there", "asked"),
    [(200_000, 4096), (200_000, 100_000), (10_000, 50_000)],
    ids=["grown", "grown by much", "ends early"],
)
def test_a_source_is_read_no_further_than_asked_and_its_early_end_is_told(there, asked):
    ear = Ear()

    count = Pump(BufferPool(buffer_bytes=PAGE_BYTES)).run(
        Tape(content(there)).fill, asked, [ear.take], ignore
    )

    assert count == len(ear.heard) == min(there, asked)


class FirstError(Exception):
    pass


@pytest.mark.parametrize("which", ["source", "first sink", "second sink", "progress"])
@pytest.mark.parametrize("good", [0, 1, 10])
def test_the_first_fault_ends_all_threads_and_gives_all_buffers_back(which, good):
    pool = BufferPool(buffer_bytes=PAGE_BYTES, count_max=4)
    threads, calls = threading.active_count(), [0]

    def failing(*_):
        calls[0] += 1
        if calls[0] > good:
            raise FirstError
        return PAGE_BYTES

    tape, ear = Tape(content(100_000)), Ear()
    fill = failing if which == "source" else tape.fill
    sinks = [
        failing if which == "first sink" else ear.take,
        failing if which == "second sink" else ear.take,
    ]

    with pytest.raises(FirstError):
        Pump(pool).run(fill, 100_000, sinks, failing if which == "progress" else ignore)

    assert threading.active_count() == threads
    assert pool.in_use == 0


def test_a_slow_sink_holds_no_more_than_its_share_of_buffers():
    pool = BufferPool(buffer_bytes=PAGE_BYTES, count_max=100)
    ear = Ear()

    def slow(buffer: memoryview, length: int) -> None:
        time.sleep(0.001)
        ear.take(buffer, length)

    Pump(pool).run(Tape(content(100_000)).fill, 100_000, [slow, ear.take], ignore)

    assert pool.in_use_max <= DEPTH


def test_many_pumps_share_few_buffers_and_all_come_to_the_end():
    """Memory is bounded by the pool, not by the number of cameras, and nobody waits for ever."""
    pool = BufferPool(buffer_bytes=PAGE_BYTES, count_max=3)
    data = content(200_000)
    listening = [[Ear(), Ear(), Ear()] for _ in range(12)]

    def one(ears: list[Ear]) -> None:
        Pump(pool).run(Tape(data).fill, len(data), [ear.take for ear in ears], ignore)

    together(one, listening)

    assert all(ear.heard == data for ears in listening for ear in ears)
    assert pool.in_use_max <= pool.made <= pool.count_max == 3
    assert pool.in_use == 0


def test_waiting_for_a_buffer_ends_with_the_daemon():
    pool = BufferPool(buffer_bytes=PAGE_BYTES, count_max=1)
    held = pool.acquire()
    abandon = threading.Event()
    timer = threading.Timer(0.05, abandon.set)
    timer.start()

    with pytest.raises(AbandonedError):
        Pump(pool, abandon).run(Tape(b"x" * 9000).fill, 9000, [Ear().take], ignore)

    timer.join()
    pool.release(held)
    assert pool.in_use == 0


def test_a_buffer_given_back_is_had_by_who_waits():
    pool = BufferPool(buffer_bytes=PAGE_BYTES, count_max=1)
    held = pool.acquire()
    got: list[memoryview] = []
    waiting = threading.Thread(target=lambda: got.append(pool.acquire()))
    waiting.start()
    assert not got
    pool.release(held)
    waiting.join(timeout=30)
    assert len(got) == 1
    pool.release(got[0])


@pytest.mark.parametrize("buffer_bytes", [4096, 65536, HUGE_PAGE_BYTES, 2 * HUGE_PAGE_BYTES])
def test_buffers_are_aligned_and_their_own(buffer_bytes):
    pool = BufferPool(buffer_bytes=buffer_bytes, count_max=5)
    taken = [pool.acquire() for _ in range(5)]
    for number, buffer in enumerate(taken):
        assert len(buffer) == buffer_bytes
        buffer[:] = bytes([number]) * buffer_bytes
    assert [bytes([buffer[0], buffer[-1]]) for buffer in taken] == [
        bytes([number, number]) for number in range(5)
    ]
    assert pool.made == 5


@pytest.mark.parametrize("buffer_bytes", [0, 100, 4096 * 3, HUGE_PAGE_BYTES + 4096])
def test_sizes_that_do_not_fit_huge_pages_are_refused(buffer_bytes):
    with pytest.raises(ValueError):
        BufferPool(buffer_bytes=buffer_bytes)


def test_a_pool_of_none_is_refused():
    with pytest.raises(ValueError):
        BufferPool(count_max=0)
