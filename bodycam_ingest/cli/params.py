"""Options that several commands share, and how a person's words become what a query takes."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any, Final

import click

from bodycam_ingest.linux import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from bodycam_ingest.cli.context import Context
    from bodycam_ingest.db.listings import Choice

_SPAN: Final = re.compile(r"(\d{1,5}) ?(min|h|d|w)", re.ASCII)
_UNIT_S: Final = {"min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2})?", re.ASCII)
_DAYS_BACK: Final = {"today": 0, "yesterday": 1}
_FORMS: Final = "2026-11-24, '2026-11-24 18:00', 18:00 (today), yesterday, or 12h, 3d (ago)"


class Moment(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """A time as people write it: local unless it says otherwise; becomes RFC 3339 in UTC.

    With `end` a day alone means its end; else its beginning.
    """

    name = "time"

    def __init__(self, *, end: bool = False) -> None:
        self._end = end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The moment, or click's own refusal with the forms that are known."""
        try:
            return clock.rfc3339(self._moment(str(value).strip()))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; known forms: {_FORMS}", param, ctx)

    def _moment(self, text: str) -> dt.datetime:
        now = dt.datetime.now().astimezone()
        span = _SPAN.fullmatch(text)
        if span:
            return now - dt.timedelta(seconds=int(span[1]) * _UNIT_S[span[2]])
        if text.lower() in _DAYS_BACK:
            text = (now - dt.timedelta(days=_DAYS_BACK[text.lower()])).date().isoformat()
        elif _CLOCK.fullmatch(text):
            text = f"{now.date().isoformat()} {text.zfill(5)}"
        found = dt.datetime.fromisoformat(text)
        if self._end and len(text) <= len("2026-11-24"):
            found += dt.timedelta(days=1)
        # A time without an offset is local, with the offset that held then.
        return found.astimezone()


def _or_empty(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str:
    return value or ""


def during(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options `--since` and `--until`; `what` is as in "Only dockings that began"."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        since = click.option(
            "--since", type=Moment(), callback=_or_empty, help=f"{what} then or later: {_FORMS}."
        )
        until = click.option(
            "--until",
            type=Moment(end=True),
            callback=_or_empty,
            help=f"{what} before; a day alone is taken whole.",
        )
        return since(until(command))

    return add


def chosen(context: Context, conn: Connection, wanted: Mapping[str, Any]) -> Choice:
    """What a list is to show; the words of each option are replaced by what they name.

    Raises:
        UnknownSubjectError: one names nothing.
        UsageError: one names several things.
    """
    from bodycam_ingest.db import lookup  # noqa: PLC0415 - sqlalchemy
    from bodycam_ingest.db.listings import Choice  # noqa: PLC0415 - the same

    def store(conn: Connection, text: str) -> str:
        return lookup.store(conn, text, [one.name for one in context.config.stores])

    finders: Mapping[str, Callable[[Connection, str], str]] = {
        "camera": lookup.camera_serial,
        "docking": lookup.docking_id,
        "bay": lookup.bay,
        "store": store,
        "not_in": store,
    }
    given = {name: value for name, value in wanted.items() if value}
    for name in given.keys() & finders.keys():
        given[name] = finders[name](conn, given[name])
    return Choice(**given)


limit_option = click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="At most so many, from the end of the list; 0 for all.",
)
