"""`man`: the manual page, made from what `--help` says."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click

from bodycam_ingest import __version__, errors
from bodycam_ingest.cli import manual

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILES = (
    ("/etc/bodycam-ingest/config.toml", "The configuration; another one by --config."),
    ("/var/lib/bodycam-ingest", "Ledger, keys, staging: as the configuration names them."),
)
_ENVIRONMENT = (
    ("BODYCAM_INGEST_CONFIG", "The configuration file, where --config does not name one."),
    ("NO_COLOR", "Anything but empty: no colours."),
)


@click.command("man")
@click.pass_context
def command(ctx: click.Context) -> None:
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
    for title, names in manual.sections(root.list_commands(about)).items():
        yield f".SH COMMANDS: {title.upper()}"
        for name in names:
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
    for typed, does in manual.EXAMPLES.get(path, ()):
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
