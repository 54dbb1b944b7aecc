"""Which command is for what, and an example of each: for `--help`, `help` and the man page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Title -> commands, in the order of how often a person needs them.
SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Look": ("status", "items", "dockings", "cameras", "findings", "verify", "doctor", "check"),
    "Act": ("retry", "quarantine", "ingest", "stores", "clock"),
    "Set up": ("check-config", "example-config", "init", "migrate", "run", "demo"),
    "Help": ("help", "man", "completion", "version"),
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


def sections(names: Iterable[str]) -> dict[str, list[str]]:
    """The commands that there are, by section; one that nobody placed stands under "Set up"."""
    known = list(names)
    found = {title: [n for n in order if n in known] for title, order in SECTIONS.items()}
    placed = {name for order in found.values() for name in order}
    found["Set up"] += [name for name in known if name not in placed]
    return found


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
