"""Rules for every test: a skip must be expected, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from bodycam_ingest import log
from tests.support import prefork

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.dockbench import Bench
    from tests.support.seaweedfs import SeaweedServer

# How long an example takes says how busy the machine is, nothing of the code.
settings.register_profile(
    "any machine", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

_TERMINAL = ("COLUMNS", "LINES", "TERM", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "TZ", "LANGUAGE")
_EXPECTED = "expected: "
_unexpected_skips: list[str] = []


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A command that ran in this process set a level, and a stream that ends with its test."""
    before = log._set_up
    yield
    log.set_level("info")
    if log._set_up is not before:
        log._set_up = before
        structlog.reset_defaults()


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
    """Remember what ran before; give the tests a temporary directory that can be looked into."""
    stash = session.config.stash
    stash[_BEFORE] = _children()
    stash[_FAULTS] = []
    outer = tempfile.gettempdir()
    # pytest's own directories stay where they were; what a test or its processes forget shows here.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", outer)
    stash[_TEMPORARY] = Path(tempfile.mkdtemp(prefix="bodycam-tests-", dir=outer))
    # The daemon and the commands that tests start are compiled once, not at each start; and what
    # the person who runs the tests likes on a terminal is none of their business.
    for name in ("PYTHONDONTWRITEBYTECODE", *_TERMINAL):
        os.environ.pop(name, None)
    os.environ["TMPDIR"] = tempfile.tempdir = str(stash[_TEMPORARY])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run on unexpected skips, and on processes, mounts and files that are left."""
    prefork.close_shared()
    config = session.config
    faults = config.stash[_FAULTS]
    faults += [f"unexpected skip: {skip}" for skip in dict.fromkeys(_unexpected_skips)]
    if not hasattr(config.option, "numprocesses") or not config.option.numprocesses:
        # The processes of a run on several cores are the workers themselves; each looks at its own.
        before: set[int] = config.stash[_BEFORE]
        left = _children() - before
        faults += [f"process left behind: {pid} {_command(pid)}" for pid in sorted(left)]
    factory = getattr(config, "_tmp_path_factory", None)
    base = getattr(factory, "_basetemp", None)
    if base is not None:
        faults += [f"mount left behind: {point}" for point in _mounts_below(base.resolve())]
    directory = config.stash[_TEMPORARY]
    faults += [f"file left behind: {path.name}" for path in directory.iterdir()]
    shutil.rmtree(directory)
    output = getattr(config, "workeroutput", None)
    if output is not None:
        output["faults"] = faults
    elif faults and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """With xdist: what a worker found when it ended is the run's."""
    node.config.stash[_FAULTS] += getattr(node, "workeroutput", {}).get("faults", [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say why the run failed when no test did."""
    faults: list[str] = terminalreporter.config.stash.get(_FAULTS, [])
    for fault in dict.fromkeys(faults):
        terminalreporter.write_line(fault, red=True)


_LAST = ("stores", "crash", "system", "vm")
_OF_A_KIND = ("crash", "system", "vm")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by folder and server. What fails fastest comes first, what is slow not last."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> str:
        return item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""

    for item in items:
        if place(item) in _OF_A_KIND:
            item.add_marker(place(item))
        if "seaweed" in getattr(item, "fixturenames", ()):
            item.add_marker("server")
    items.sort(key=lambda item: _LAST.index(place(item)) if place(item) in _LAST else -1)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """A real S3 server, one for all tests of a process."""
    from tests.support.seaweedfs import SeaweedServer  # noqa: PLC0415 - few tests need it

    directory = tmp_path_factory.mktemp("seaweed")
    with SeaweedServer(directory) as server:
        yield server
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def _new_dock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Made once: a new database takes longer than most of what is tried on it.
    from tests.support.dockbench import Bench  # noqa: PLC0415 - not in a virtual machine's tests

    directory = tmp_path_factory.mktemp("new-dock")
    Bench(directory).close()
    return directory


@pytest.fixture
def bench(tmp_path: Path, _new_dock: Path) -> Iterator[Bench]:
    """A new dock with a camera that was docked once."""
    from tests.support.dockbench import Bench  # noqa: PLC0415 - the same

    shutil.copytree(_new_dock, tmp_path, dirs_exist_ok=True)
    made = Bench(tmp_path, create=False)
    yield made
    made.close()


def _command(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return "(gone)"
    return raw.replace(b"\0", b" ").decode("utf-8", "backslashreplace")


_BEFORE = pytest.StashKey[set[int]]()
_FAULTS = pytest.StashKey[list[str]]()
_TEMPORARY = pytest.StashKey[Path]()
