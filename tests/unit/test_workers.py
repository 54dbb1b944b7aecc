from __future__ import annotations

import threading

from bodycam_ingest.errors import LedgerUnwritableError, StoreUnreachableError
from bodycam_ingest.workers import Worker, moving


def test_a_step_that_fails_is_called_again_and_stops_nobody_else(monkeypatch):
    monkeypatch.setattr("bodycam_ingest.workers._PAUSE_AFTER_FAULT_S", 0.0)
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
        moving()
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
    moving()
