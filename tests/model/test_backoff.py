"""Waits stay between their bounds, whatever was counted; windows open when they say."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.errors import DelayClass
from bodycam_ingest.model.backoff import (
    LONGEST_S,
    TABLE,
    Delays,
    UploadWindow,
    closed_for_s,
    delay_s,
)

CLASSES = st.sampled_from(list(DelayClass))
DAY_S = 24 * 3600


def drawn(delay_class, attempts, retry_after_s=None, *, initial_s=1.0, part=0.5):
    """The wait where the dice fall at a part of the way from the lowest to the highest."""
    return delay_s(
        delay_class,
        attempts,
        retry_after_s,
        uniform=lambda low, high: low + part * (high - low),
        short=Delays(initial_s, 300.0),
    )


@given(
    delay_class=CLASSES,
    attempts=st.integers(-3, 10**9),
    initial_s=st.floats(0.01, 100),
    part=st.floats(0, 1),
)
def test_every_wait_lies_between_its_bounds(delay_class, attempts, initial_s, part) -> None:
    wait_s = drawn(delay_class, attempts, initial_s=initial_s, part=part)
    floor_s, max_s = TABLE[delay_class].floor_s, TABLE[delay_class].max_s
    assert floor_s <= wait_s <= max_s <= LONGEST_S


@given(delay_class=CLASSES, attempts=st.integers(1, 60))
def test_the_longest_wait_doubles_with_each_failure_to_its_end(delay_class, attempts) -> None:
    delays = TABLE[delay_class]
    longest_s = drawn(delay_class, attempts, part=1)
    assert longest_s == min(delays.max_s, delays.initial_s * 2 ** (attempts - 1))
    assert drawn(delay_class, 10**6, part=1) == delays.max_s


def test_docks_that_failed_together_do_not_come_back_together() -> None:
    # Spread over all of the span, not around its end.
    waits = [drawn(DelayClass.SHORT, 20, part=part) for part in (0.0, 0.25, 1.0)]
    assert waits == [0.0, 75.0, 300.0]


@pytest.mark.parametrize(("asked_s", "at_least_s"), [(0.0, 0.0), (900.0, 900.0), (1e9, LONGEST_S)])
def test_a_store_that_says_when_is_not_asked_before(asked_s, at_least_s) -> None:
    wait_s = drawn(DelayClass.SHORT, 1, asked_s)
    assert at_least_s <= wait_s <= max(at_least_s, 1.0)


WINDOWS = st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda w: w[0] != w[1])


def holds(window, minute):
    if window.start_minute <= window.end_minute:
        return window.start_minute <= minute < window.end_minute
    return minute >= window.start_minute or minute < window.end_minute


@given(
    windows=st.lists(WINDOWS.map(lambda w: UploadWindow(*w)), max_size=3),
    second=st.integers(0, DAY_S - 1),
)
def test_uploads_run_exactly_inside_of_the_windows(windows, second) -> None:
    local = dt.datetime(2026, 3, 14) + dt.timedelta(seconds=second)  # noqa: DTZ001 - local time
    wait_s = closed_for_s(windows, local)
    minute = second // 60
    assert (wait_s == 0) == (not windows or any(holds(w, minute) for w in windows))
    if wait_s:
        opens = (second + round(wait_s)) % DAY_S
        assert any(holds(w, opens // 60) for w in windows)
        before = (opens - 1) % DAY_S
        assert not any(holds(w, before // 60) for w in windows)
