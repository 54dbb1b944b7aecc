"""What a check of `doctor` says."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Outcome(enum.StrEnum):
    """What a check found."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding of the doctor; a fail means that the daemon would not start or not work.

    Args:
        name: what was looked at, dotted.
        found: what is there.
        todo: what to do about it; empty when ok.
    """

    name: str
    outcome: Outcome
    found: str
    todo: str = ""


def ok(name: str, found: str) -> Check:
    """A check that found what it should."""
    return Check(name, Outcome.OK, found)


def warn(name: str, found: str, todo: str) -> Check:
    """A check that found what should be looked at."""
    return Check(name, Outcome.WARN, found, todo)


def fail(name: str, found: str, todo: str) -> Check:
    """A check that found what keeps the daemon from working."""
    return Check(name, Outcome.FAIL, found, todo)


def judge(name: str, found: str, *, good: bool, bad: Outcome, todo: str) -> Check:
    """A check that is ok, or else as bad as is said."""
    return ok(name, found) if good else Check(name, bad, found, todo)
