"""Which command is for what, and an example of each; `help`, `man` and `completion`."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import get_completion_class

from bodycam_ingest import __version__, errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The shell sets it when it asks for completions; `main` answers.
COMPLETION_VARIABLE: Final = "_BODYCAM_INGEST_COMPLETE"

# Title -> command -> what it does, in the order of how often a person needs them.
SECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "Look": {
        "status": "Show cameras, bays, queue, stores and alarms.",
        "items": "List items, or one item with its whole history.",
        "dockings": "List dockings: which camera, when, and what was new on it.",
        "cameras": "List known cameras and their last docking.",
        "findings": "List open findings, or close one with a reason.",
        "verify": "Check ledger, staged files and stored objects; changes nothing.",
        "doctor": "Check whether this machine is fit to run the daemon.",
        "check": "Say in one line how the dock stands, for a monitoring system.",
    },
    "Act": {
        "retry": "Make items due now.",
        "quarantine": "Set an item apart, with a reason.",
        "ingest": "Take one mounted directory in, once: for rescue work.",
        "stores": "List stores, retire one, or queue what one never got.",
        "clock": "Show who vouches for the dock's clock, or confirm it.",
    },
    "Set up": {
        "check-config": "Check the configuration and report every fault.",
        "example-config": "Print an example of the configuration, with every key.",
        "init": "Make state directory, keys and ledger; never over an existing one.",
        "migrate": "Bring the database to this version's schema, on a copy.",
        "run": "Run the daemon.",
        "demo": "Show the whole way with simulated cameras, in a temporary directory.",
    },
    "Help": {
        "help": "Show what a command does and takes.",
        "man": "Print the manual page, for man(1).",
        "completion": "Print the completion script of bash, zsh or fish.",
        "version": "Show the versions of the program and of what it stands on.",
    },
}

# Command -> (what is typed after `bodycam-ingest`, what it does).
EXAMPLES: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "status": (("status", "how the dock stands now"), ("status --json", "for a script")),
    "check": (("check", "one line and a code for a monitoring system"),),
    "items": (
        (
            "items --since yesterday --not-in archive",
            "what the archive has not been proven to have",
        ),
        ("items --camera X60A1001 --sort size", "one camera's recordings, the largest last"),
        ("items 01m878bj", "the whole history of one recording"),
    ),
    "dockings": (
        ("dockings --since 18:00", "which cameras were docked tonight"),
        ("dockings --since 3d --incomplete", "which left before all of it was copied"),
    ),
    "cameras": (
        ("cameras", "every camera that was ever docked"),
        ("cameras assign X60A1001 'P. Smith'", "who carries it from now on"),
    ),
    "cameras assign": (("cameras assign X60A1001 'P. Smith'", "who carries it from now on"),),
    "findings": (
        ("findings", "what is open"),
        ("findings --all --since 7d", "what there was in a week"),
        ("findings close 01m879mw --reason 'card replaced'", "after looking into it"),
    ),
    "findings close": (("findings close 01m879mw --reason 'card replaced'", "after looking"),),
    "verify": (
        ("verify", "the ledger and every state, in seconds"),
        ("verify --files --stores", "every copy and every stored object too"),
    ),
    "doctor": (("doctor", "before the first start, and when something is odd"),),
    "retry": (
        ("retry", "try everything that waits now"),
        ("retry 01m878bj --store archive", "one recording, one store"),
    ),
    "quarantine": (
        ("quarantine", "what is quarantined"),
        ("quarantine add 01m878bj --reason 'wrong camera'", "set one apart"),
    ),
    "quarantine add": (("quarantine add 01m878bj --reason 'wrong camera'", "set one apart"),),
    "quarantine requeue": (
        ("quarantine requeue 01m878bj --reason 'copy damaged'", "read it from its camera again"),
    ),
    "quarantine reinstate": (("quarantine reinstate 01m878bj", "its copy still has its digest"),),
    "ingest": (("ingest /media/card --camera X60A1001", "a card whose camera is broken"),),
    "stores": (("stores list", "what each store has, and what it waits for"),),
    "stores list": (("stores list", "what each store has, and what it waits for"),),
    "stores retire": (("stores retire cloud --reason 'contract ended'", "it will not come back"),),
    "stores backfill": (("stores backfill cloud", "send it what staging still has"),),
    "clock confirm": (("clock confirm --reason 'compared with the radio clock'", "it is right"),),
    "clock": (("clock", "what the dock knows of its clock"),),
    "check-config": (("check-config", "after each change of the configuration"),),
    "example-config": (("example-config > config.toml", "a configuration to begin with"),),
    "init": (("init", "once, before the first start"),),
    "migrate": (("migrate", "after an upgrade, with the daemon stopped"),),
    "run": (("run", "in the foreground; systemd does it on a dock"),),
    "demo": (("demo --dir /tmp/demo", "into a directory of your choice"),),
    "help": (("help quarantine add", "what a command takes"),),
    "man": (("man | man -l -", "read the manual without installing it"),),
    "completion": (
        ("completion bash > /etc/bash_completion.d/bodycam-ingest", "for every user of bash"),
    ),
    "version": (("version", "what to say in a report"),),
}

_FILES = (
    ("/etc/bodycam-ingest/config.toml", "The configuration; another one by --config."),
    ("/var/lib/bodycam-ingest", "Ledger, keys, staging: as the configuration names them."),
)
_ENVIRONMENT = (
    ("BODYCAM_INGEST_CONFIG", "The configuration file, where --config does not name one."),
    ("NO_COLOR", "Anything but empty: no colours."),
)


def adorn(command: click.Command, path: str) -> None:
    """Give a command, of these words after `bodycam-ingest`, and those below it their examples."""
    examples = EXAMPLES.get(path)
    if examples and not command.epilog:
        # Click folds paragraphs, except those that begin with \b.
        lines = [f"  bodycam-ingest {typed}\n      {does}" for typed, does in examples]
        command.epilog = "\n".join(["\b", "Examples:", *lines])
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            adorn(below, f"{path} {name}")


@click.command("help")
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def show_help(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show what a command does and takes."""
    root = ctx.find_root()
    names = root.help_option_names
    about = click.Context(root.command, info_name=root.info_name, help_option_names=names)
    found = root.command
    for word in words:
        if not isinstance(found, click.Group):
            raise click.UsageError(f"`{about.command_path}` has no command {word!r}.", about)
        _, below, _ = found.resolve_command(about, [word])
        if below is None:
            raise click.UsageError(f"No such command {word!r}.", about)
        found, about = below, click.Context(below, info_name=word, parent=about)
    click.echo(found.get_help(about))


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    Put it where the shell looks for such scripts: /etc/bash_completion.d/bodycam-ingest,
    /usr/local/share/zsh/site-functions/_bodycam-ingest, or
    /etc/fish/completions/bodycam-ingest.fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click knows these three
    click.echo(kind(ctx.find_root().command, {}, "bodycam-ingest", COMPLETION_VARIABLE).source())


@click.command("man")
@click.pass_context
def manual_page(ctx: click.Context) -> None:
    """Print the manual page, for man(1).

    `bodycam-ingest man > /usr/local/share/man/man1/bodycam-ingest.1` installs it.
    """
    root = ctx.find_root().command
    assert isinstance(root, click.Group)  # as the program is made
    click.echo("\n".join(_page(root)))


def _page(root: click.Group) -> Iterator[str]:
    about = click.Context(root, info_name="bodycam-ingest")
    yield f'.TH BODYCAM-INGEST 1 "" "bodycam-ingest {_text(__version__)}" "User Commands"'
    yield ".SH NAME"
    yield "bodycam-ingest \\- " + _text(_paragraphs(root)[0].rstrip("."))
    yield ".SH SYNOPSIS"
    yield ".B bodycam-ingest"
    yield _text("[OPTIONS] COMMAND [ARGS]...")
    yield ".SH OPTIONS"
    yield from _options(root, about)
    for title, commands in SECTIONS.items():
        yield f".SH COMMANDS: {title.upper()}"
        for name in commands:
            found = root.get_command(about, name)
            if found is not None:
                yield from _command(found, name, about)
    yield from _ends()


def _ends() -> Iterator[str]:
    yield ".SH EXIT STATUS"
    yield from _term("0", "Done, or: what was checked holds.")
    yield from _term("1", "Broken or failed.")
    yield from _term("2", "Wrong usage, bad configuration, or something could not be checked.")
    for fault in sorted(errors.all_error_classes(), key=lambda f: (f.exit_code, f.code)):
        if fault.exit_code > 2:  # noqa: PLR2004 - the three above
            meaning = (fault.__doc__ or "").split("\n", maxsplit=1)[0]
            yield from _term(f"{fault.exit_code} ({fault.code})", meaning)
    yield ".SH FILES"
    for name, meaning in _FILES:
        yield from _term(name, meaning)
    yield ".SH ENVIRONMENT"
    for name, meaning in _ENVIRONMENT:
        yield from _term(name, meaning)


def _command(found: click.Command, path: str, above: click.Context) -> Iterator[str]:
    about = click.Context(found, info_name=path.rpartition(" ")[2], parent=above)
    yield f".SS {_text(' '.join([path, *found.collect_usage_pieces(about)]))}"
    for number, paragraph in enumerate(_paragraphs(found)):
        if number:
            yield ".PP"
        yield _text(paragraph)
    yield from _options(found, about)
    for typed, does in EXAMPLES.get(path, ()):
        yield ".PP"
        yield f"Example: {_text(does)}"
        yield ".PP"
        yield ".RS 4"
        yield ".nf"
        yield f"bodycam\\-ingest {_text(typed)}"
        yield ".fi"
        yield ".RE"
    if isinstance(found, click.Group):
        for name, below in found.commands.items():
            yield from _command(below, f"{path} {name}", about)


def _options(found: click.Command, about: click.Context) -> Iterator[str]:
    for param in found.get_params(about):
        record = param.get_help_record(about)
        if record is not None and record[1] and "--help" not in param.opts:
            yield from _term(*record)


def _term(term: str, meaning: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_text(term)}"
    yield _text(meaning)


def _paragraphs(found: click.Command) -> list[str]:
    text = inspect.cleandoc(found.help or "")
    return [re.sub(r"\s+", " ", each) for each in text.split("\n\n")]


def _text(text: str) -> str:
    """Text that roff takes for nothing but text."""
    safe = text.replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga")
    return f"\\&{safe}" if safe[:1] in {".", "'"} else safe
