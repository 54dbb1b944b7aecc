from __future__ import annotations

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.clock import Reading, parse_rfc3339, rfc3339
from bodycam_ingest.clockwatch import STEP_MS, stepped_ms

START = dt.datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=dt.UTC)


def reading(wall_ms: int, boot_ms: int, boot: str = "a") -> Reading:
    return Reading(START + dt.timedelta(milliseconds=wall_ms), boot_ms, boot)


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**9))
def test_only_a_step_is_a_step_however_long_nobody_looked(step, passed):
    found = stepped_ms(reading(0, 0), reading(passed + step, passed))
    assert found == (step if abs(step) >= STEP_MS else 0)


def test_another_boot_tells_nothing():
    assert stepped_ms(reading(0, 0, "a"), reading(10**7, 0, "b")) == 0
    assert stepped_ms(None, reading(0, 0)) == 0


@given(st.integers(0, 4_102_444_800_000))
def test_times_survive_being_written(milliseconds):
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=milliseconds)
    assert parse_rfc3339(rfc3339(moment)) == moment
    assert len(rfc3339(moment)) == 24
