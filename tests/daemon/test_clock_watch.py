"""The clock is not trusted: what a step may never do, and who may vouch for it."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.custody import entries
from bodycam_ingest.daemon.admin import AdminCommands
from bodycam_ingest.daemon.clock_watch import GAP_MAX_MS, STEP_MS, ClockWatch, judge, stepped_ms
from bodycam_ingest.daemon.control import ConfirmClockRequest
from bodycam_ingest.db import dock_time, store_health
from bodycam_ingest.db.dock_time import NTP, PERSON, Known, Word
from bodycam_ingest.errors import IllegalTransitionError
from bodycam_ingest.linux import clock
from bodycam_ingest.linux.clock import Reading, parse_rfc3339, rfc3339
from bodycam_ingest.staging.copies import open_copies
from tests.support.ledgers import open_findings

START = dt.datetime(2026, 3, 14, 9, 26, 53, 589000, tzinfo=dt.UTC)
DAY_MS = 24 * 3_600_000
YEAR_MS = 365 * DAY_MS


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


@given(
    st.integers(-10 * YEAR_MS, 10 * YEAR_MS),
    st.integers(0, YEAR_MS),
    st.sampled_from([True, False, None]),
)
def test_no_step_makes_anything_older_within_a_boot(step, passed, synchronised):
    before = Known(reading(0, 0), 1000)
    found = judge(before, Word(NTP), reading(passed + step, passed), synchronised=synchronised)
    assert found.known.dock_ms == 1000 + passed


@given(st.integers(-10 * YEAR_MS, 10 * YEAR_MS))
def test_a_reboot_makes_things_older_by_days_at_most(gap):
    before = Known(reading(0, 10**9), 1000)
    found = judge(before, Word(NTP), reading(gap, 5, "b"), synchronised=False)
    assert found.known.dock_ms == 1000 + min(max(0, gap), GAP_MAX_MS)


SAME = reading(1000, 1000)
FORWARD = reading(1000 + YEAR_MS, 1000)
BACK = reading(1000 - YEAR_MS, 1000)
REBOOT = reading(3_600_000, 5, "b")
YEAR_OFF = reading(YEAR_MS, 5, "b")
DEAD_BATTERY = reading(-YEAR_MS, 5, "b")


@pytest.mark.parametrize(
    ("word", "now", "synchronised", "vouched", "doubt"),
    [
        (Word(), SAME, True, NTP, ""),
        (Word(), SAME, False, "", "unsynchronised"),
        (Word(), SAME, None, "", "unsynchronised"),
        (Word(NTP), SAME, False, "", "unsynchronised"),
        # Forward: nobody vouches, whatever the kernel said in that moment.
        (Word(NTP), FORWARD, True, "", "stepped_forward"),
        (Word(PERSON), FORWARD, False, "", "stepped_forward"),
        (Word("", "stepped_forward"), SAME, False, "", "stepped_forward"),
        (Word("", "stepped_forward"), SAME, True, NTP, ""),
        # Back: nothing can go too early.
        (Word(NTP), BACK, True, NTP, ""),
        (Word(PERSON), BACK, False, PERSON, ""),
        # A person's word outlives what is plausible, and no more.
        (Word(PERSON), SAME, False, PERSON, ""),
        (Word(PERSON), SAME, None, PERSON, ""),
        (Word(PERSON), REBOOT, False, PERSON, ""),
        (Word(PERSON), YEAR_OFF, False, "", "ran_ahead_while_off"),
        (Word(PERSON), DEAD_BATTERY, False, "", "unsynchronised"),
        (Word(NTP), REBOOT, False, "", "unsynchronised"),
        (Word(NTP), YEAR_OFF, False, "", "ran_ahead_while_off"),
        (Word(NTP), YEAR_OFF, True, NTP, ""),
        (Word("", "stepped_forward"), REBOOT, False, "", "stepped_forward"),
    ],
)
def test_who_vouches_for_the_clock(word, now, synchronised, vouched, doubt):
    found = judge(Known(reading(0, 0), 0), word, now, synchronised=synchronised).word
    assert (found.vouched, found.doubt) == (vouched, doubt)


class Hands:
    """Clocks that a test sets."""

    def __init__(self, monkeypatch) -> None:
        self.wall_ms = 1_773_480_413_589
        self.boot = "a"
        self.boot_ms = 1000
        self.synchronised: bool | None = False
        monkeypatch.setattr(time, "time_ns", lambda: self.wall_ms * 1_000_000)
        monkeypatch.setattr(clock, "boot_ms", lambda: self.boot_ms)
        monkeypatch.setattr(clock, "boot_id", lambda: self.boot)
        monkeypatch.setattr(clock, "synchronised", lambda: self.synchronised)

    def pass_time(self, ms: int) -> None:
        self.wall_ms += ms
        self.boot_ms += ms


@pytest.fixture
def hands(monkeypatch):
    return Hands(monkeypatch)


def watch(bench) -> ClockWatch:
    return ClockWatch(bench.engine, bench.ledger)


def word(bench) -> Word:
    with bench.engine.connect() as conn:
        return dock_time.word(conn)


def steps(bench) -> list[int]:
    return [e["step_ms"] for e in bench.entries("clock.checked") if "step_ms" in e]


def told(bench) -> list[str]:
    return [row.code for row in open_findings(bench.engine)]


def confirm(bench) -> None:
    copies = open_copies(bench.directory / "staging")
    admin = AdminCommands(bench.engine, bench.ledger, copies, [])
    admin.execute(ConfirmClockRequest(reason="compared with the radio clock"), "admin")


def test_a_step_forward_is_told_outlives_restarts_and_ends_by_ntp(bench, hands):
    hands.synchronised = True
    watching = watch(bench)
    assert word(bench).vouched == NTP
    hands.wall_ms += YEAR_MS
    hands.synchronised = False
    assert watching.tick() == YEAR_MS
    assert told(bench) == ["clock_in_doubt"]
    bench.reopen()
    watching = watch(bench)
    for _ in range(10):
        hands.pass_time(60_000)
        watching.tick()
    assert word(bench).doubt == "stepped_forward"
    assert steps(bench) == [YEAR_MS]
    hands.synchronised = True
    watching.tick()
    assert word(bench).vouched == NTP
    assert told(bench) == []


def test_a_step_while_the_daemon_was_down_is_seen_at_its_start(bench, hands):
    hands.synchronised = True
    watch(bench)
    bench.reopen()
    hands.wall_ms += YEAR_MS
    hands.synchronised = False
    watch(bench)
    assert word(bench).doubt == "stepped_forward"
    assert told(bench) == ["clock_in_doubt"]


def test_a_clock_that_ran_ahead_while_the_dock_was_off_is_in_doubt(bench, hands):
    hands.synchronised = True
    watch(bench)
    bench.reopen()
    hands.boot, hands.boot_ms, hands.synchronised = "b", 5, False
    hands.wall_ms += YEAR_MS
    watch(bench)
    assert word(bench).doubt == "ran_ahead_while_off"
    assert told(bench) == ["clock_in_doubt"]


@pytest.mark.parametrize("running", [True, False])
def test_a_person_ends_the_doubt_and_stands_in_the_ledger(bench, hands, running):
    watching = watch(bench)
    hands.wall_ms += YEAR_MS
    if running:
        watching.tick()
    confirm(bench)
    watching = watching if running else watch(bench)
    for _ in range(5):
        hands.pass_time(60_000)
        assert watching.tick() == 0
    assert word(bench).vouched == PERSON
    assert told(bench) == []
    (entry,) = bench.entries("clock.confirmed")
    assert entry == {
        "reason": "compared with the radio clock",
        "doubt": "stepped_forward",
        "ntp_synchronised": False,
    }
    assert steps(bench) == [YEAR_MS]
    hands.wall_ms += DAY_MS
    watching.tick()
    assert word(bench).doubt == "stepped_forward"


def test_a_person_who_confirms_before_the_step_was_seen_is_believed(bench, hands):
    watching = watch(bench)
    hands.wall_ms += YEAR_MS
    confirm(bench)
    watching.tick()
    hands.pass_time(1000)
    watching.tick()
    assert word(bench).vouched == PERSON
    assert steps(bench) == [YEAR_MS]


def test_a_person_may_confirm_while_no_daemon_runs_after_weeks_off(bench, hands):
    watch(bench)
    bench.reopen()
    hands.boot, hands.boot_ms = "b", 5
    hands.wall_ms += 40 * DAY_MS
    confirm(bench)
    hands.pass_time(60_000)
    watch(bench)
    assert word(bench).vouched == PERSON


def test_an_unsynchronised_clock_that_holds_up_nothing_is_no_finding(bench, hands):
    watching = watch(bench)
    commits = bench.ledger.commits
    for _ in range(20):
        hands.pass_time(500)
        watching.tick()
    assert told(bench) == []
    assert bench.ledger.commits == commits


def test_a_step_back_undoes_waits(bench, hands):
    watching = watch(bench)
    with bench.ledger.transaction() as txn:
        store_health.pause(
            txn,
            store_health.StoreHealth("a"),
            rfc3339(START),
            until_ms=hands.wall_ms + 300_000,
            attempts=3,
            error="store_unreachable",
            message="",
        )
    hands.wall_ms -= 2 * 3_600_000
    watching.tick()
    row = bench.store_row("a")
    assert (row.paused_until_ms, row.attempts) == (0, 3)


def test_dock_time_goes_on_over_restarts_and_reboots(bench, hands):
    watching = watch(bench)
    hands.pass_time(DAY_MS)
    watching.tick()
    bench.reopen()
    hands.pass_time(DAY_MS)
    watch(bench)
    bench.reopen()
    hands.boot, hands.boot_ms = "b", 5
    hands.wall_ms += DAY_MS
    watch(bench)
    hands.pass_time(1000)
    assert dock_ms(bench) == 3 * DAY_MS + 1000


def other_entry(bench) -> None:
    """What any part of the program, or a command, may record meanwhile."""
    with bench.ledger.transaction() as txn:
        txn.append("daemon.stopped", "daemon", {"abandoned": []})


def reboot(bench, hands) -> None:
    bench.reopen()
    hands.boot, hands.boot_ms = "b", 5


def dock_ms(bench) -> int:
    with bench.engine.connect() as conn:
        return dock_time.now_ms(conn)


def test_a_step_is_found_whatever_was_recorded_after_it(bench, hands):
    watching = watch(bench)
    hands.wall_ms += YEAR_MS
    other_entry(bench)
    assert watching.tick() == YEAR_MS
    assert steps(bench) == [YEAR_MS]


def test_small_steps_add_up(bench, hands):
    watching = watch(bench)
    for _ in range(4):
        hands.wall_ms += STEP_MS - 1
        watching.tick()
    assert sum(steps(bench)) == 4 * (STEP_MS - 1)


def test_a_step_right_before_the_power_went_is_a_clock_that_ran_ahead(bench, hands):
    watch(bench)
    hands.wall_ms += YEAR_MS
    other_entry(bench)
    reboot(bench, hands)
    watch(bench)
    assert word(bench).doubt == "ran_ahead_while_off"


def test_a_command_in_the_new_boot_hides_no_clock_that_ran_ahead(bench, hands):
    watch(bench)
    reboot(bench, hands)
    hands.wall_ms += YEAR_MS
    other_entry(bench)
    hands.pass_time(DAY_MS)
    assert dock_ms(bench) == 0
    watch(bench)
    assert word(bench).doubt == "ran_ahead_while_off"
    assert dock_ms(bench) == GAP_MAX_MS


def test_what_was_recorded_has_passed_and_what_was_not_has_not(bench, hands):
    watch(bench)
    hands.pass_time(2 * DAY_MS)
    other_entry(bench)
    hands.pass_time(DAY_MS)
    reboot(bench, hands)
    hands.wall_ms -= YEAR_MS
    watch(bench)
    assert dock_ms(bench) == 2 * DAY_MS


@pytest.mark.parametrize("more_ms", [-1, 1001])
def test_an_entry_that_moves_dock_time_otherwise_than_time_passed_is_refused(bench, hands, more_ms):
    watch(bench)
    hands.pass_time(1000)
    draft = entries.clock_checked(
        dock_ms=more_ms, vouched=NTP, doubt="", since="", step_ms=0, ntp_synchronised=True
    )
    with pytest.raises(IllegalTransitionError), bench.ledger.transaction() as txn:
        txn.add(draft)


def test_a_changed_row_of_the_clock_decides_nothing(bench, hands):
    watch(bench)
    hands.pass_time(1000)
    with bench.ledger.transaction() as txn:
        txn.conn.exec_driver_sql("UPDATE dock_clock SET dock_ms = 9000000000, vouched = 'person'")
    assert dock_ms(bench) == 1000
    assert word(bench).doubt == "unsynchronised"
