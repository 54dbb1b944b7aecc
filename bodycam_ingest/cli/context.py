"""What every command is given: where the configuration is, and the parts it names."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from bodycam_ingest.config import Config

CONFIG_PATH_DEFAULT: Final = Path("/etc/bodycam-ingest/config.toml")


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
