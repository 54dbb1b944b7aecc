"""Rules for every test: a skip must be expected, and nothing is left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_EXPECTED = "expected: "
_unexpected_skips: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A skip without a reason that was thought of before is a test that silently went missing."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _note_skip(report.nodeid, report.longrepr)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A module that skips itself is the same."""
    if report.skipped:
        _note_skip(report.nodeid, report.longrepr)


def _note_skip(where: str, why: object) -> None:
    reason = str(why[2]) if isinstance(why, tuple) else str(why)
    reason = reason.removeprefix("Skipped: ")
    if not reason.startswith(_EXPECTED):
        _unexpected_skips.append(f"{where}: {reason}")


def _children() -> set[int]:
    pid = os.getpid()
    tasks = Path(f"/proc/{pid}/task")
    found: set[int] = set()
    for task in tasks.iterdir():
        try:
            found |= {int(c) for c in (task / "children").read_text(encoding="ascii").split()}
        except FileNotFoundError:
            continue
    return found


def _mounts_below(directory: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [line.split(" ")[4].encode().decode("unicode_escape") for line in lines]
    return [point for point in points if Path(point).is_relative_to(directory)]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember what ran before."""
    session.config.stash[_BEFORE] = _children()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run on unexpected skips, on child processes and mounts that are left."""
    faults = [f"unexpected skip: {skip}" for skip in _unexpected_skips]
    before: set[int] = session.config.stash[_BEFORE]
    left = _children() - before
    faults += [f"process left behind: {pid} {_command(pid)}" for pid in sorted(left)]
    factory = getattr(session.config, "_tmp_path_factory", None)
    base = getattr(factory, "_basetemp", None)
    if base is not None:
        faults += [f"mount left behind: {point}" for point in _mounts_below(base.resolve())]
    session.config.stash[_FAULTS] = faults
    if faults and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why the run failed when no test did."""
    for fault in terminalreporter.config.stash.get(_FAULTS, []):
        terminalreporter.write_line(fault, red=True)


def _command(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return "(gone)"
    return raw.replace(b"\0", b" ").decode("utf-8", "backslashreplace")


_BEFORE = pytest.StashKey[set[int]]()
_FAULTS = pytest.StashKey[list[str]]()
