"""When a worker asks the database again."""

from __future__ import annotations

import pytest

from bodycam_ingest.db.commit_watch import BUSY_POLL_S, LONGEST_S, QUIET_POLL_S, CommitWatch


class World:
    """A clock and a count of commits."""

    def __init__(self):
        self.now_s = 100.0
        self.commits = 0


@pytest.fixture
def world():
    return World()


def news_of(world, **settings):
    return CommitWatch(lambda: world.commits, now_s=lambda: world.now_s, **settings)


def test_a_worker_looks_at_the_start_and_then_after_each_commit(world):
    commits = news_of(world)
    assert commits.due()
    commits.looked()
    assert not commits.due()
    world.commits += 1
    assert commits.due()
    commits.looked()
    assert not commits.due()


def test_a_commit_between_the_question_and_the_look_is_not_passed_over(world):
    commits = news_of(world)
    assert commits.due()
    world.commits += 1
    commits.looked()
    assert commits.due()


@pytest.mark.parametrize(
    ("wait_s", "slept_s", "due"),
    [
        (None, 0.9 * LONGEST_S, False),
        (None, LONGEST_S, True),
        (3600.0, 0.9 * LONGEST_S, False),
        (3600.0, LONGEST_S, True),
        (0.5, 0.4, False),
        (0.5, 0.5, True),
        (0.0, 0.0, True),
    ],
)
def test_without_one_it_looks_when_something_is_due_and_never_much_later(
    world, wait_s, slept_s, due
):
    commits = news_of(world)
    assert commits.due()
    commits.looked(wait_s)
    world.now_s += slept_s
    assert commits.due() is due


def test_it_is_asked_seldom_where_nothing_was_committed_for_long(world):
    commits = news_of(world)
    assert commits.due()
    assert commits.poll_s() == BUSY_POLL_S
    assert commits.poll_s(0.1) == 0.1
    world.now_s += 61
    assert commits.poll_s() == QUIET_POLL_S
    world.commits += 1
    assert commits.due()
    assert commits.poll_s() == BUSY_POLL_S


def test_for_a_while_after_a_commit_time_alone_may_bring_something(world):
    commits = news_of(world, settles_s=1.0)
    assert commits.due()
    commits.looked()
    world.now_s += 0.9
    assert commits.due()
    commits.looked()
    world.now_s += 0.2
    assert not commits.due()
