from __future__ import annotations

import contextvars
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import structlog

from bodycam_ingest.daemon import workers
from bodycam_ingest.daemon.workers import Worker, heartbeat
from bodycam_ingest.errors import LedgerUnwritableError, StoreUnreachableError


def test_a_step_that_fails_is_called_again_and_stops_nobody_else(monkeypatch):
    monkeypatch.setattr("bodycam_ingest.daemon.workers._FIRST_PAUSE_S", 0.0)
    calls = []
    done = threading.Event()

    def step():
        calls.append(1)
        if len(calls) == 1:
            raise StoreUnreachableError("no link")
        if len(calls) == 2:
            raise ValueError("a defect")
        done.set()
        return 60.0

    halted: list[object] = []
    worker = Worker("test", step, halted.append, silence_max_s=30)
    worker.start()
    assert done.wait(10)
    worker.stop()
    assert worker.join(5)
    assert halted == []


def test_an_unwritable_ledger_halts_the_process():
    halted: list[object] = []
    error = LedgerUnwritableError("disk full")

    def step():
        raise error

    worker = Worker("test", step, halted.append, silence_max_s=30)
    worker.start()
    assert worker.join(5)
    assert halted == [error]


def test_a_step_that_hangs_and_a_thread_that_died_are_both_seen():
    release = threading.Event()
    begun = threading.Event()

    def step():
        begun.set()
        release.wait(10)
        return 0.0

    worker = Worker("hangs", step, lambda _: None, silence_max_s=0.0)
    worker.start()
    assert begun.wait(5)
    stall = worker.stall()
    assert stall is not None
    assert stall.alive
    worker.stop()
    release.set()
    assert worker.join(5)
    dead = worker.stall()
    assert dead is not None
    assert not dead.alive


def test_a_long_step_that_says_it_moves_is_not_called_stalled():
    moved, go_on = threading.Event(), threading.Event()

    def step():
        # As an upload of hours does at each part that it sends.
        worker._moved_s -= 1000
        heartbeat()
        moved.set()
        go_on.wait(10)
        return 60.0

    worker = Worker("test", step, lambda _error: None, silence_max_s=30)
    worker.start()
    assert moved.wait(10)
    assert worker.stall() is None
    go_on.set()
    worker.stop()
    assert worker.join(5)
    heartbeat()


class Told:
    def __init__(self, *, fails: Exception | None = None) -> None:
        self.words: list[str] = []
        self.fails = fails

    def troubled(self, worker: str, error: Exception) -> None:
        self.words.append(f"{worker} troubled: {error}")
        if self.fails is not None:
            raise self.fails

    def healed(self, worker: str) -> None:
        self.words.append(f"{worker} healed")


class Clock:
    """The monotonic clock of a worker whose waits take no time."""

    def __init__(self, monkeypatch) -> None:
        self.now_s = 1000.0
        self.waits: list[float] = []
        monkeypatch.setattr("bodycam_ingest.daemon.workers.time.monotonic", lambda: self.now_s)

    def worker(self, step, told, halt=lambda _error: None) -> Worker:
        made = Worker("test", step, halt, silence_max_s=30, witness=told)
        for event in (made._wake, made._retry):
            event.wait = self.wait  # type: ignore[assignment]
        return made

    def wait(self, timeout_s: float) -> bool:
        self.waits.append(timeout_s)
        self.now_s += timeout_s
        return False


def test_what_a_step_hands_to_other_threads_is_seen_to_move_too():
    told: list[object] = []

    def handed_over():
        worker._moved_s -= 1000
        heartbeat()
        told.append(worker.stall())

    def step():
        with ThreadPoolExecutor(1) as threads:
            threads.submit(contextvars.copy_context().run, handed_over).result()
        worker.stop()
        return 60.0

    worker = Worker("test", step, lambda _error: None, silence_max_s=30)
    worker.start()
    assert worker.join(60)
    assert told == [None]


def test_a_crash_loop_waits_longer_each_time_and_is_told_once(monkeypatch):
    clock, told = Clock(monkeypatch), Told()
    begun: list[float] = []

    def step():
        begun.append(clock.now_s)
        if len(begun) <= 12:
            raise ValueError("a defect")
        if len(begun) == 60:
            worker.stop()
        return 5.0

    worker = clock.worker(step, told)
    with structlog.testing.capture_logs() as logs:
        worker._run()
    gaps = [round(after - before) for before, after in itertools.pairwise(begun[:13])]
    assert gaps == [5, 10, 20, 40, 80, 160, 300, 300, 300, 300, 300, 300]
    # It was seen to move all the while.
    assert max(clock.waits) <= 5
    assert [line["event"] for line in logs] == ["worker.crashed", "worker.recovered"]
    assert logs[1]["faults"] == 12
    assert told.words == ["test troubled: a defect", "test healed"]


def test_a_worker_that_fails_now_and_then_is_not_told_each_time(monkeypatch):
    clock, told = Clock(monkeypatch), Told()
    count = 0

    def step():
        nonlocal count
        count += 1
        if count == 41:
            worker.stop()
        if count % 2:
            raise StoreUnreachableError("no link")
        return 0.0

    worker = clock.worker(step, told)
    with structlog.testing.capture_logs() as logs:
        worker._run()
    assert [line["event"] for line in logs] == ["worker.fault"]
    assert told.words == ["test troubled: no link"]


def test_a_trouble_that_cannot_be_recorded_is_logged_and_does_not_end_the_thread(monkeypatch):
    clock, told = Clock(monkeypatch), Told(fails=KeyError("no row"))
    halted: list[object] = []
    count = 0

    def step():
        nonlocal count
        count += 1
        if count == 3:
            worker.stop()
        raise ValueError("a defect")

    worker = clock.worker(step, told, halted.append)
    with structlog.testing.capture_logs() as logs:
        worker._run()
    assert count == 3
    assert halted == []
    assert [line["event"] for line in logs][:2] == ["worker.crashed", "worker.trouble_not_recorded"]


def test_a_ledger_that_cannot_take_the_trouble_halts(monkeypatch):
    error = LedgerUnwritableError("full")
    clock, told = Clock(monkeypatch), Told(fails=error)
    halted: list[object] = []

    def step():
        raise ValueError("a defect")

    clock.worker(step, told, halted.append)._run()
    assert halted == [error]


def test_a_person_s_retry_ends_the_pause_and_a_stop_does_too(monkeypatch):
    monkeypatch.setattr(workers, "_FIRST_PAUSE_S", 600.0)
    monkeypatch.setattr(workers, "_LONGEST_PAUSE_S", 600.0)
    begun = threading.Semaphore(0)

    def step():
        begun.release()
        raise ValueError("a defect")

    worker = Worker("test", step, lambda _error: None, silence_max_s=30)
    worker.start()
    assert begun.acquire(timeout=10)
    worker.wake()
    assert not begun.acquire(timeout=0.3)
    worker.retry()
    assert begun.acquire(timeout=10)
    worker.stop()
    assert worker.join(5)
