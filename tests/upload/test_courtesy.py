"""Uploads make room while something is copied, and go on all the same."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, cast

import pytest

from bodycam_ingest.acquire.acquirer import Activity
from bodycam_ingest.errors import AbandonedError
from bodycam_ingest.upload.connections import AttendedStore, Courtesy, Throttle
from tests.support.memory_store import MemoryStore
from tests.support.sending import Bytes, Journal, object_of, some_bytes
from tests.support.threads import together

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Time that passes only where it is waited for."""

    def __init__(self):
        self.now_s = 1000.0

    def monotonic(self):
        return self.now_s


class Waiting:
    """An event of the process's end; waiting for it lets time pass."""

    def __init__(self, clock, ends_after_s=1e9):
        self.clock, self.ends_s = clock, clock.now_s + ends_after_s

    def wait(self, timeout_s):
        self.clock.now_s += timeout_s
        return self.clock.now_s >= self.ends_s


@pytest.fixture
def passing(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock.monotonic)
    return clock


def courtesy(stop: object, copying: Callable[[], bool]) -> Courtesy:
    return Courtesy(cast("threading.Event", stop), copying)


def nobody():
    """Who is not watched."""


def test_nothing_is_paid_while_nothing_is_copied(passing):
    courtesy(Waiting(passing), lambda: False).pay(5.0, nobody)
    assert passing.now_s == 1000.0


def test_nine_times_what_was_spent_is_waited_for_and_seen_to_be(passing):
    beats = []
    courtesy(Waiting(passing), lambda: True).pay(0.5, lambda: beats.append(passing.now_s))
    assert passing.now_s == pytest.approx(1004.5)
    assert len(beats) >= 4


def test_what_hangs_is_not_waited_for_as_if_it_had_worked(passing):
    courtesy(Waiting(passing), lambda: True).pay(120.0, nobody)
    assert passing.now_s <= 1010.0


def test_the_wait_ends_with_the_copying_and_leaves_no_debt(passing):
    copying = True
    made = courtesy(Waiting(passing), lambda: copying)

    def ended():
        nonlocal copying
        copying = passing.now_s < 1001.0

    made.pay(1.0, ended)
    assert passing.now_s == pytest.approx(1001.0, abs=0.2)
    copying, before_s = True, passing.now_s
    made.pay(0.01, nobody)
    assert passing.now_s - before_s == pytest.approx(0.09)


def test_a_wait_ends_with_the_process(passing):
    with pytest.raises(AbandonedError):
        courtesy(Waiting(passing, ends_after_s=0.5), lambda: True).pay(1.0, nobody)
    assert passing.now_s < 1001.0


def test_all_uploads_together_have_one_share():
    copying = threading.Event()
    copying.set()
    courtesy = Courtesy(threading.Event(), copying.is_set)
    began_s = time.monotonic()
    together(lambda spent_s: courtesy.pay(spent_s, nobody), [0.01] * 5)
    assert time.monotonic() - began_s >= 5 * 0.09


class Spending(MemoryStore):
    """Takes a second of one clock or the other for each call, after its last piece."""

    def __init__(self, clock, *, on_disk):
        super().__init__("spending")
        self.on_disk = on_disk
        self.clock = clock

    def _call(self, name, key, do):
        self.clock["disk" if self.on_disk else "processor"] += 1.0
        self.clock["line"] += 100.0
        return super()._call(name, key, do)


@pytest.mark.parametrize("on_disk", [False, True])
def test_what_is_paid_is_what_the_work_took_of_this_machine(monkeypatch, on_disk):
    clock = {"disk": 0.0, "processor": 0.0, "line": 0.0}
    monkeypatch.setattr(time, "monotonic", lambda: clock["disk"])
    monkeypatch.setattr(time, "thread_time", lambda: clock["processor"])
    paid = []

    class Paid:
        def pay(self, spent_s, moving):
            del moving
            paid.append(spent_s)

    store = AttendedStore(
        Spending(clock, on_disk=on_disk),
        lambda: Throttle(lambda: 0, threading.Event()),
        nobody,
        cast("Courtesy", Paid()),
    )
    data = some_bytes(10)
    obj = object_of(data)
    stored = store.send(obj, Bytes(data), Journal())
    assert sum(paid) == pytest.approx(max(clock["disk"], clock["processor"]))
    store.confirm(obj, stored)
    assert sum(paid) == pytest.approx(max(clock["disk"], clock["processor"]))


def test_copying_lasts_from_the_first_to_a_moment_after_the_last(passing):
    copying = Activity()
    assert not copying.is_on()
    with copying.busy():
        assert copying.is_on()
        with copying.busy():
            pass
        passing.now_s += 100.0
        assert copying.is_on()
    passing.now_s += 0.4
    assert copying.is_on()
    passing.now_s += 0.2
    assert not copying.is_on()
