"""The `bodycam-ingest` group: finds the command, and turns every fault into words and a code."""

from __future__ import annotations

import difflib
import gc
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import shell_complete

from bodycam_ingest import __version__, log
from bodycam_ingest.cli import manual
from bodycam_ingest.cli.context import CONFIG_PATH_DEFAULT, Context, common_options, set_color
from bodycam_ingest.cli.output import fault, say
from bodycam_ingest.errors import IngestError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141
# Objects allocated, then collections of each younger generation, before one is gone through.
COLLECTED_AT: Final = (10_000, 20, 50)

COMMANDS: Final[Mapping[str, str]] = {
    name: does for section in manual.SECTIONS.values() for name, does in section.items()
}
# Any other command has a module of its own, with its name.
_HOMES: Final[Mapping[str, str]] = {
    **dict.fromkeys(["cameras", "dockings"], "cameras"),
    **dict.fromkeys(["clock", "findings", "quarantine", "retry"], "repair"),
    **dict.fromkeys(["check-config", "example-config", "init", "migrate", "run"], "setup"),
    **dict.fromkeys(["completion", "help", "man"], "manual"),
    "version": "setup",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of the manual."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command, or None for a name that is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"bodycam_ingest.cli.{_HOMES.get(cmd_name, cmd_name)}")
        found = (each for each in vars(module).values() if isinstance(each, click.Command))
        command = next(each for each in found if each.name == cmd_name)
        common_options(command)
        manual.adorn(command, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names; for a word that names none, the nearest."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            meant = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"No such command {args[0]!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """The list of commands for `--help`, from the table alone."""
        for title, commands in manual.SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done or holds; 1 broken or failed; 2 wrong usage, bad configuration, "
    "or could not be checked; others: `bodycam-ingest man`. Each command has examples: "
    "`bodycam-ingest help items`.",
)
@click.option(
    "--config",
    "config_path",
    # What is wrong with the file is told by whoever reads it, in one form.
    type=click.Path(readable=False, path_type=Path),
    default=CONFIG_PATH_DEFAULT,
    envvar="BODYCAM_INGEST_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The configuration file.",
)
@click.option(
    "--color",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    callback=set_color,
    expose_value=False,
    help="Colours for states; auto: on a terminal, unless NO_COLOR is set.",
)
@click.version_option(__version__, prog_name="bodycam-ingest")
@click.pass_context
def group(ctx: click.Context, config_path: Path) -> None:
    """Take recordings off docked body cameras, prove the copies, upload them to storage."""
    # Standard output is for results; the daemon sets its own log up when it starts.
    log.configure("warning", stream=sys.stderr)
    ctx.obj = Context(config_path=config_path)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(UsageError.exit_code)


def _as_ours(error: click.ClickException) -> UsageError:
    """What click refuses, in the form of every other fault."""
    where = getattr(error, "ctx", None)
    hint = ""
    if where is not None:
        hint = f"{where.get_usage()}; `{where.command_path} --help` says more."
    return UsageError(error.format_message(), hint=hint)


def _damage(context: Context | None) -> IngestError | None:
    """Why a command met what it cannot have: the database was changed by another hand."""
    if context is None:
        return None
    from bodycam_ingest.cli.admin import explain_damage  # noqa: PLC0415 - sqlalchemy

    return explain_damage(context)


def main() -> int:
    """Run one command; returns the exit code that docs/exit-codes.md lists."""
    # What imports make stays, and a card makes rows by the ten thousand: looking all of it through
    # every 700 objects takes a tenth of a command's time.
    gc.set_threshold(*COLLECTED_AT)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A camera's file names may not fit the terminal's encoding; that is no fault.
            reconfigure(errors="backslashreplace")
    asked = os.environ.get(manual.COMPLETION_VARIABLE)
    if asked:
        return shell_complete(group, {}, "bodycam-ingest", manual.COMPLETION_VARIABLE, asked)
    return _run(sys.argv[1:])


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    context: click.Context | None = None
    try:
        # Not group.main(): it would turn a broken pipe into 1, which says "broken or failed".
        with group.make_context("bodycam-ingest", arguments) as context:
            result = group.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return end.exit_code
    except (IngestError, click.ClickException) as error:
        wrong = error if isinstance(error, IngestError) else _as_ours(error)
        fault(wrong, as_json=as_json)
        return wrong.exit_code
    except (KeyboardInterrupt, click.Abort):
        say("Interrupted.")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone; the interpreter's last flush must not complain of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except Exception:
        damaged = _damage(context.obj if context else None)
        if damaged is None:
            raise
        fault(damaged, as_json=as_json)
        return damaged.exit_code
    return result if isinstance(result, int) else 0
