"""What the journal and the terminal show, above all when a camera's names want to be shown too."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import warnings

import pytest

from bodycam_ingest import log
from tests.support.threads import together

HOSTILE = (
    "a.mp4\n2026-01-01T00:00:00.000Z info     item.confirmed item_id=X\x1b[2K\x1b[1A\u2028\x9b"
)


class _Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _restore():
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    with warnings.catch_warnings():
        yield
        logging.captureWarnings(capture=False)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


@pytest.fixture
def stream():
    """What is no terminal, and logged to."""
    made = _Stream(terminal=False)
    log.configure(stream=made)
    return made


def _fail(message):
    raise ValueError(message)


def lines(stream: io.StringIO) -> list[str]:
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [HOSTILE, HOSTILE.encode(), {"path": HOSTILE}, [HOSTILE], {HOSTILE: 1}, "\udcff\n", b"\xff\n"],
    ids=["text", "bytes", "dict", "list", "key", "surrogate", "not-utf8"],
)
@pytest.mark.parametrize("terminal", [True, False])
def test_a_hostile_value_stays_inside_of_its_line(log_format, value, terminal):
    stream = _Stream(terminal=terminal)
    log.configure(format=log_format, stream=stream)
    log.log.info("item.discovered", path=value)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    own = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert all(c.isprintable() for c in own.rstrip("\n"))


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_hostile_exception_cannot_forge_a_line(log_format, stream):
    log.configure(format=log_format, stream=stream)
    try:
        _fail(HOSTILE)
    except ValueError as error:
        log.log.warning("scan.failed", exc_info=error)
        log.log.exception("scan.failed")
    first, *others = stream.getvalue().removesuffix("\n").split("\n")
    assert "scan.failed" in first
    assert all(line.startswith("    ") or "scan.failed" in line for line in others)
    assert all(c.isprintable() for line in (first, *others) for c in line)


def test_a_json_line_has_the_keys_that_the_journal_is_searched_by(stream):
    log.configure(dock="dock-7", stream=stream)
    log.log.warning("item.waiting", docking_id="D", size_bytes=7, ok=None)
    line = json.loads(stream.getvalue())
    assert list(line)[:4] == ["timestamp", "level", "event", "dock"]
    assert line["level"] == "warning"
    assert line["event"] == "item.waiting"
    assert line["dock"] == "dock-7"
    assert (line["docking_id"], line["size_bytes"], line["ok"]) == ("D", 7, None)
    assert len(line["timestamp"]) == len("2026-03-14T09:26:53.589Z")
    assert line["timestamp"].endswith("Z")


def test_auto_is_console_on_a_terminal_alone():
    terminal, pipe = _Stream(terminal=True), _Stream(terminal=False)
    log.configure(stream=terminal)
    log.log.info("a.b", name="two words")
    log.configure(stream=pipe)
    log.log.info("a.b", name="two words")
    assert "two words" in terminal.getvalue()
    assert "\x1b[32m" in terminal.getvalue()
    assert json.loads(pipe.getvalue())["name"] == "two words"


def test_the_level_changes_for_loggers_that_exist_already(stream):
    log.configure(level="warning", stream=stream)
    logger = log.log
    logger.info("a.dropped")
    log.set_level("debug")
    logger.debug("a.kept")
    log.set_level("error")
    logger.warning("b.dropped")
    logger.critical("b.kept")
    assert [json.loads(line)["event"] for line in lines(stream)] == ["a.kept", "b.kept"]


def test_exceptions_are_data_with_their_cause_and_without_variables(stream):

    def fail(secret):
        raise OSError(5, f"Input/output error of {len(secret)}")

    try:
        try:
            fail("hunter2")
        except OSError as error:
            raise RuntimeError("outer") from error
    except RuntimeError as error:
        log.log.warning("thread.died", exc_info=error)
    told = json.loads(stream.getvalue())["exception"]
    assert [cause["type"] for cause in told] == ["RuntimeError", "OSError"]
    assert "fail" in told[1]["at"][-1]
    assert "hunter2" not in stream.getvalue()


def test_libraries_warnings_come_through_and_their_chatter_does_not(stream):
    log.configure(level="debug", stream=stream)
    logging.getLogger("botocore.credentials").info("Found credentials")
    logging.getLogger("urllib3.pool").warning("retry %s", "a\nb")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old call", DeprecationWarning, stacklevel=1)
    first, second = (json.loads(line) for line in lines(stream))
    assert first["event"] == "library.message"
    assert first["logger"] == "urllib3.pool"
    assert first["message"] == "retry a\\nb"
    assert "old call" in second["message"]


def test_configuring_twice_writes_each_line_once(stream):
    log.configure(stream=stream)
    logging.getLogger("x").warning("once")
    assert len(lines(stream)) == 1


def test_lines_of_threads_do_not_mix(stream):

    def work(number):
        for _ in range(200):
            log.log.info("a.b", number=number, filler="y" * 300)

    together(work, range(4))
    assert len([json.loads(line) for line in lines(stream)]) == 800


def test_a_closed_journal_does_not_stop_the_work(stream):
    stream.close()
    log.log.info("a.b")


def journal(monkeypatch, tmp_path):
    stream = (tmp_path / "journal").open("w+", encoding="utf-8")
    status = os.fstat(stream.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    return stream


def told(stream):
    stream.seek(0)
    return stream.read().splitlines()


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2), ("exception", 3)],
)
def test_the_journal_gets_each_line_with_its_priority_and_no_second_time(
    monkeypatch, tmp_path, level, priority
):
    with journal(monkeypatch, tmp_path) as stream:
        log.configure("debug", stream=stream)
        getattr(log.log, level)("a.b")
        (line,) = told(stream)
    assert line.startswith(f"<{priority}>{{")
    assert "timestamp" not in json.loads(line[3:])


def test_every_line_of_a_traceback_has_its_priority_in_the_journal(monkeypatch, tmp_path):
    with journal(monkeypatch, tmp_path) as stream:
        log.configure(format="console", stream=stream)
        log.log.error("a.b", exc_info=ValueError("c"))
        lines_told = told(stream)
    assert len(lines_told) > 1
    assert all(line.startswith("<3>") for line in lines_told)
    assert "error" in lines_told[0]
    assert lines_told[1] == "<3>    ValueError: c"


def test_what_goes_elsewhere_than_to_the_journal_has_its_time(monkeypatch, tmp_path):
    # The shell that a service starts has the variable too, whatever its output was turned to.
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    with (tmp_path / "file").open("w+", encoding="utf-8") as stream:
        log.configure(stream=stream)
        log.log.info("a.b")
        (line,) = told(stream)
    assert "timestamp" in json.loads(line)
