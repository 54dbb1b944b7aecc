"""What commands are given: the configuration, and options that several of them share."""

from __future__ import annotations

import datetime as dt
import functools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bodycam_ingest.linux import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Connection

    from bodycam_ingest.config import Config
    from bodycam_ingest.db.listings import Choice

CONFIG_PATH_DEFAULT: Final = Path("/etc/bodycam-ingest/config.toml")


_SPAN: Final = re.compile(r"(\d{1,5}) ?(min|h|d|w)", re.ASCII)
_UNIT_S: Final = {"min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2})?", re.ASCII)
_DAYS_BACK: Final = {"today": 0, "yesterday": 1}
_FORMS: Final = "2026-11-24, '2026-11-24 18:00', 18:00 (today), yesterday, or 12h, 3d (ago)"


class Context:
    """The command line's own options; commands get it with `@pass_context`."""

    def __init__(self, config_path: Path) -> None:
        self.config_path = config_path

    @functools.cached_property
    def config(self) -> Config:
        """The configuration; raises `ConfigError` where it is unreadable or has faults."""
        from bodycam_ingest.config import load  # noqa: PLC0415 - pydantic only where it is needed

        return load(self.config_path)


pass_context = click.make_pass_decorator(Context)


def where_alone(function: Callable[..., None]) -> Callable[..., None]:
    """For what a group does of its own, where no command below it was named."""

    @click.pass_context
    @functools.wraps(function)
    def run(ctx: click.Context, /, **options: Any) -> None:
        if ctx.invoked_subcommand is None:
            function(ctx.obj, **options)

    return run


def set_color(ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Have everything below this command printed with colours, without, or as the terminal is."""
    if value is not None:
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        ctx.color = {"always": True, "never": False, "auto": False if plain else None}[value]
    return value


def _set_config(ctx: click.Context, _param: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.obj = Context(config_path=value)


def common_options(command: click.Command) -> None:
    """Have a command and those below it take the program's own options too.

    Where they stand, before the command or after it, is nothing that a person should have to know.
    """
    if not any("--config" in param.opts for param in command.params):
        command.params += [
            click.Option([name], type=kind, callback=callback, expose_value=False, hidden=True)
            for name, kind, callback in (
                ("--config", click.Path(dir_okay=False, path_type=Path), _set_config),
                ("--color", click.Choice(["auto", "always", "never"]), set_color),
            )
        ]
    if isinstance(command, click.Group):
        for below in command.commands.values():
            common_options(below)


json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON value on standard output."
)


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
