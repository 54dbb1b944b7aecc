"""When a worker asks the database again."""

from __future__ import annotations

import pytest

from bodycam_ingest.db.commit_watch import LONGEST_S, CommitWatch


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


def test_what_is_committed_right_after_a_look_is_gathered_for_a_moment(world):
    commits = news_of(world, gather_s=0.25)
    assert commits.due()
    commits.looked()
    assert commits.wait_s() == pytest.approx(LONGEST_S)
    world.commits += 1
    assert not commits.due()
    assert commits.wait_s() == pytest.approx(0.25)
    world.now_s += 0.25
    assert commits.wait_s() == 0
    assert commits.due()


def test_work_that_is_due_at_once_waits_for_nothing(world):
    commits = news_of(world, gather_s=0.25)
    assert commits.due()
    world.commits += 1
    commits.looked(0.0)
    assert commits.wait_s() == 0
    assert commits.due()


def test_for_a_while_after_a_commit_time_alone_may_bring_something(world):
    commits = news_of(world, settles_s=1.0)
    assert commits.due()
    commits.looked()
    world.now_s += 0.9
    assert commits.due()
    commits.looked()
    world.now_s += 0.2
    assert not commits.due()
