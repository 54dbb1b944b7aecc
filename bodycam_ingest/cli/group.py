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
from bodycam_ingest.cli.completion import VARIABLE
from bodycam_ingest.cli.context import CONFIG_PATH_DEFAULT, Context, common_options, set_color
from bodycam_ingest.cli.output import fault, say
from bodycam_ingest.errors import IngestError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

EXIT_INTERRUPTED: Final = 130
EXIT_BROKEN_PIPE: Final = 141

# Name -> what it does, in one line. The module has the name of the command, with underscores.
COMMANDS: Final[Mapping[str, str]] = {
    "init": "Make state directory, keys and ledger; never over an existing one.",
    "run": "Run the daemon.",
    "demo": "Show the whole way with simulated cameras, in a temporary directory.",
    "ingest": "Take one mounted directory in, once: for rescue work.",
    "status": "Show cameras, bays, queue, stores and alarms.",
    "check": "Say in one line how the dock stands, for a monitoring system.",
    "items": "List items, or one item with its whole history.",
    "dockings": "List dockings: which camera, when, and what was new on it.",
    "cameras": "List known cameras and their last docking.",
    "verify": "Check ledger, staged files and stored objects; changes nothing.",
    "retry": "Make items due now.",
    "stores": "List stores, retire one, or queue what one never got.",
    "quarantine": "Set an item apart, with a reason.",
    "findings": "List open findings, or close one with a reason.",
    "clock": "Show who vouches for the dock's clock, or confirm it.",
    "migrate": "Bring the database to this version's schema, on a copy.",
    "doctor": "Check whether this machine is fit to run the daemon.",
    "check-config": "Check the configuration and report every fault.",
    "example-config": "Print an example of the configuration, with every key.",
    "help": "Show what a command does and takes.",
    "man": "Print the manual page, for man(1).",
    "completion": "Print the completion script of bash, zsh or fish.",
    "version": "Show the versions of the program and of what it stands on.",
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names, in the order of a first day with the product."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command, or None for a name that is not in the table."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"bodycam_ingest.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
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
        for title, names in manual.sections(COMMANDS).items():
            with formatter.section(title):
                formatter.write_dl([(name, COMMANDS[name]) for name in names])


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
    # What imports make stays: looking it through every 700 objects takes a tenth of the time.
    gc.set_threshold(50_000, 50, 100)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # A camera's file names may not fit the terminal's encoding; that is no fault.
            reconfigure(errors="backslashreplace")
    asked = os.environ.get(VARIABLE)
    if asked:
        return shell_complete(group, {}, "bodycam-ingest", VARIABLE, asked)
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
