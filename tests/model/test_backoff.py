"""Waits stay between their bounds, whatever was counted; windows open when they say."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.config.kinds import UploadWindow
from bodycam_ingest.errors import DelayClass
from bodycam_ingest.model.backoff import LONGEST_S, Schedule, closed_for_s
from bodycam_ingest.stores.retrying import RetryPolicy

CLASSES = st.sampled_from(list(DelayClass))
DAY_S = 24 * 3600


@given(delay_class=CLASSES, attempts=st.integers(-3, 10**9), initial_s=st.floats(0.01, 100))
def test_every_wait_lies_between_its_bounds(delay_class, attempts, initial_s) -> None:
    drawn = RetryPolicy(initial_s, 300.0).delay_s(delay_class, attempts)
    low, high = Schedule(initial_s, 300.0).delays(delay_class).bounds_s(attempts)
    assert low <= drawn <= high <= LONGEST_S


@given(delay_class=CLASSES, attempts=st.integers(1, 60))
def test_bounds_never_shrink_and_reach_their_end(delay_class, attempts) -> None:
    delays = Schedule(1.0, 300.0).delays(delay_class)
    assert delays.bounds_s(attempts)[1] <= delays.bounds_s(attempts + 1)[1]
    assert delays.bounds_s(10**6)[1] == delays.max_s


def test_docks_that_failed_together_do_not_come_back_together() -> None:
    policy = RetryPolicy(1.0, 300.0)
    drawn = [policy.delay_s(DelayClass.SHORT, 20) for _ in range(400)]
    # Full jitter: spread over all of the span, not around its end.
    assert min(drawn) < 60
    assert max(drawn) > 240
    assert 120 < sum(drawn) / len(drawn) < 180


@pytest.mark.parametrize(("asked_s", "at_least_s"), [(0.0, 0.0), (900.0, 900.0), (1e9, LONGEST_S)])
def test_a_store_that_says_when_is_not_asked_before(asked_s, at_least_s) -> None:
    drawn = RetryPolicy(1.0, 300.0).delay_s(DelayClass.SHORT, 1, asked_s)
    assert at_least_s <= drawn <= max(at_least_s, 1.0)


WINDOWS = st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda w: w[0] != w[1])


@given(
    windows=st.lists(WINDOWS.map(lambda w: UploadWindow(*w)), max_size=3),
    second=st.integers(0, DAY_S - 1),
)
def test_uploads_run_exactly_inside_of_the_windows(windows, second) -> None:
    local = dt.datetime(2026, 3, 14) + dt.timedelta(seconds=second)  # noqa: DTZ001 - local time
    wait_s = closed_for_s(windows, local)
    minute = second // 60
    assert (wait_s == 0) == (not windows or any(w.holds(minute) for w in windows))
    if wait_s:
        opens = (second + round(wait_s)) % DAY_S
        assert any(w.holds(opens // 60) for w in windows)
        before = (opens - 1) % DAY_S
        assert not any(w.holds(before // 60) for w in windows)
