"""Logging: one event a line, for people on a terminal and as JSON for the journal.

Whatever a value holds, it stays inside of its line: control characters are escaped before
anything is rendered, so that a file name on a camera cannot forge a line or drive a terminal.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO, cast

from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "json", "console"]

# Rank, and what the journal takes for a line's priority when it begins with it (sd-daemon(3)).
_LEVELS: Final[Mapping[str, tuple[int, str]]] = {
    "debug": (logging.DEBUG, "<7>"),
    "info": (logging.INFO, "<6>"),
    "warning": (logging.WARNING, "<4>"),
    "error": (logging.ERROR, "<3>"),
    "exception": (logging.ERROR, "<3>"),
    "critical": (logging.CRITICAL, "<2>"),
}
_FRAMES_MAX: Final = 50

_threshold = logging.INFO
_bound: dict[str, str] = {}


class _LineLogger:
    """Writes whole lines; two threads never mix theirs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def msg(self, text: str) -> None:
        # A journal that went away must not stop the work, and there is nobody left to tell.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(text + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = log = msg


def _nothing(*_event: Any, **_values: Any) -> None:
    """Drop an event below the level; leave structlog as it is before `configure`."""


_set_up: Callable[[], None] = _nothing


class _Lazy:
    """The logger of all modules. structlog comes with the first event: most commands log none."""

    def __getattr__(self, method: str) -> Any:
        if _LEVELS[method][0] < _threshold:
            return _nothing
        import structlog  # noqa: PLC0415 - with what it draws with, a tenth of a second

        _set_up()
        return getattr(structlog.get_logger(), method)


log: Final = cast("FilteringBoundLogger", _Lazy())


class _LibraryHandler(logging.Handler):
    """Passes what libraries log through the same lines, under one event name."""

    def emit(self, record: logging.LogRecord) -> None:
        tell = log.error if record.levelno >= logging.ERROR else log.warning
        tell(
            "library.message",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )


def configure(
    level: Level = "info",
    format: Format = "auto",  # noqa: A002 - the key's name in the configuration
    *,
    dock: str = "",
    stream: TextIO | None = None,
) -> None:
    """Set logging up for this process; can be called again.

    Into the journal each line goes with its priority and without its time: the journal has both.
    `auto` is console on a terminal and JSON elsewhere; the dock's id is bound to every line.
    """
    global _set_up  # noqa: PLW0603 - one process has one log
    set_level(level)
    _bound.clear()
    if dock:
        _bound["dock"] = dock
    out = sys.stdout if stream is None else stream
    # Once; at once where structlog is there already.
    _set_up = functools.cache(functools.partial(_configure_structlog, format, out))
    if "structlog" in sys.modules:
        _set_up()
    root = logging.getLogger()
    if not any(isinstance(handler, _LibraryHandler) for handler in root.handlers):
        root.addHandler(_LibraryHandler())
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def _configure_structlog(format: Format, out: TextIO) -> None:  # noqa: A002 - as above
    import structlog  # noqa: PLC0415 - as above

    terminal = out.isatty()
    as_json = format == "json" or (format == "auto" and not terminal)
    render: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=terminal, sort_keys=False)
    )
    if _is_journal(out):
        render = _Journal(render)
    prepare = [] if as_json else [_exception_as_text]
    line_logger = _LineLogger(out)
    structlog.configure(
        processors=[_order, *prepare, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: line_logger,
        cache_logger_on_first_use=False,
    )


def set_level(level: Level) -> None:
    """Change the level of all loggers at once, bound ones too."""
    global _threshold  # noqa: PLW0603 - one process has one level
    _threshold = _LEVELS[level][0]


def _order(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """The fixed keys first, and every value made safe; an exception becomes data."""
    level = "error" if method == "exception" else method
    moment = dt.datetime.now(tz=dt.UTC)
    ordered: EventDict = {
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": level,
        "event": escaped(event.pop("event", "")),
        **_bound,
    }
    exc_info = event.pop("exc_info", None)
    for key, value in event.items():
        ordered[escaped(key)] = escaped(value)
    error = _exception(exc_info)
    if error is not None:
        ordered["exception"] = _exception_chain(error)
    return ordered


def escaped(value: Any) -> Any:
    """A value for a log line: text without control characters, a camera's bytes, numbers as is."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, bytes):
        return printable_path(value)
    if isinstance(value, Mapping):
        return {str(escaped(str(key))): escaped(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [escaped(item) for item in value]
    text = value if isinstance(value, str) else str(value)
    return printable_path(text.encode("utf-8", "surrogateescape"))


def _exception(exc_info: Any) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if isinstance(exc_info[1], BaseException) else None
    return sys.exc_info()[1] if exc_info else None


def _exception_chain(error: BaseException) -> list[dict[str, Any]]:
    """An exception and what caused it, outermost first; no local variables: they hold secrets."""
    chain = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        frames = traceback.extract_tb(current.__traceback__)[-_FRAMES_MAX:]
        chain.append(
            {
                "type": type(current).__name__,
                "message": escaped(str(current)),
                "at": [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames],
            }
        )
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)
    return chain


def _is_journal(stream: TextIO) -> bool:
    """Whether this stream is the one that systemd connected to the journal."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


class _Journal:
    """Lines for the journal: each with its priority, which the journal takes off again."""

    def __init__(self, render: Processor) -> None:
        self._render = render

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        _, priority = _LEVELS[event["level"]]
        del event["timestamp"]
        text = str(self._render(logger, method, event))
        return "\n".join(priority + line for line in text.split("\n"))


def _exception_as_text(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    chain = event.pop("exception", [])
    lines = []
    for cause in chain:
        lines.append(f"    {cause['type']}: {cause['message']}")
        lines += [f"      at {frame}" for frame in cause["at"]]
    if lines:
        event["exception"] = "\n".join(lines)
    return event
