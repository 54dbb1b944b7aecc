"""What commands print: results on stdout, everything else on stderr, a camera's text never raw."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import click

from bodycam_ingest.cli import jsonform, tables
from bodycam_ingest.model import amounts
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console

    from bodycam_ingest.cli.tables import Column
    from bodycam_ingest.errors import IngestError

_Each = TypeVar("_Each")
# Rows of a list that are printed at once, and that a table's widths are taken from.
_BLOCK: Final = 1000


def escaped(value: Any) -> str:
    """Any value as one line of safe text: control characters escaped, bytes as a camera's path."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return printable_path(value)
    return printable_path(str(value).encode("utf-8", "surrogateescape"))


def emit_json(value: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> None:
    """Print a command's answer as JSON on stdout, in the form that docs/json.md promises.

    Of many objects no more are held at a time than are printed at once.
    """
    if isinstance(value, Mapping):
        click.echo(jsonform.text(value))
        return
    opened = False
    for some in _blocks(value):
        told = ",\n".join(map(jsonform.text, some)).replace("\n", "\n  ")
        click.echo(f",\n  {told}" if opened else f"[\n  {told}", nl=False)
        opened = True
    click.echo("\n]" if opened else "[]")


def _blocks(values: Iterable[_Each]) -> Iterator[list[_Each]]:
    each = iter(values)
    while some := list(itertools.islice(each, _BLOCK)):
        yield some


def say(message: str) -> None:
    """Tell the person at the terminal something, on stderr; line breaks stay."""
    click.echo("\n".join(escaped(line) for line in message.splitlines()), err=True)


def shown_of(shown: int, total: int, one: str, *, chosen: bool = True) -> None:
    """Say on stderr that a list is empty, or that it is not all there is.

    Args:
        shown: how many were printed.
        total: how many there are.
        one: the noun for one of them.
        chosen: something narrowed the list down.
    """
    if not total:
        say(f"no {one}s match" if chosen else f"no {one}s")
    elif shown < total:
        say(f"{shown:,} of {amounts.count(total, one)} shown; --limit 0 shows all")


def fault(error: IngestError, *, as_json: bool = False) -> None:
    """Say what went wrong and what to do about it, on stderr; as one line of JSON where asked."""
    if as_json:
        told = {
            "code": error.code,
            "exit_code": error.exit_code,
            "message": error.message,
            "hint": error.hint,
        }
        click.echo(json.dumps(jsonform.document({"error": told})), err=True)
        return
    say(f"bodycam-ingest: {error.message}")
    say(f"  {error.hint}")


def console(*, stderr: bool = False) -> Console:
    """A rich console that takes no markup and guesses no highlights."""
    from rich.console import Console  # noqa: PLC0415 - rich only where something is drawn

    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _width() -> int | None:
    """How wide the terminal on stdout is; None where it is none: a pipe gets whole lines."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def line(text: str) -> None:
    """Print one line of a result on stdout, escaped."""
    click.echo(escaped(text))


def answer(done: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print what was done: as JSON where asked, else in words."""
    if as_json:
        emit_json(done)
    else:
        line(text)


def sentence(text: str, *, state: str = "") -> None:
    """Print a result in words, folded at blanks where a terminal is too narrow for it.

    The word of a `state` stands before it, in its colour.
    """
    lines = tables.paragraph(escaped(f"{state} {text}" if state else text), _width())
    found = tables.colour(state)
    if found and lines[0].startswith(state):
        lines[0] = click.style(state, fg=found) + lines[0].removeprefix(state)
    for each in lines:
        click.echo(each)


def verdict(text: str, state: str) -> None:
    """Print one line of a result, in the colour of a state."""
    click.echo(click.style(escaped(text), fg=tables.colour(state)))


def table(columns: Sequence[Column], rows: Iterable[Any]) -> None:
    """Print a table on stdout, or records where the terminal is too narrow for it.

    Widths are those of the first thousand rows: a longer value further down moves what follows it
    in its line.
    """
    utf = (sys.stdout.encoding or "").lower().startswith("utf")
    drawn = tables.Table(columns, _width(), ellipsis="…" if utf else "~")
    for some in _blocks(rows):
        lines = drawn.lines([[escaped(column.of(row)) for column in columns] for row in some])
        click.echo("\n".join(lines))


class Advance(Protocol):
    """How long work tells that it gets on."""

    def __call__(self, done_bytes: int, total_bytes: int | None = None, /) -> None:
        """So many bytes were done since the last call, of so many in all."""


@contextlib.contextmanager
def activity(what: str) -> Iterator[Callable[[str], None]]:
    """Show on stderr what is being looked at, while nobody knows how long it takes.

    Yields:
        A function that is called with the name of what was looked at last.
    """
    if not sys.stderr.isatty():
        yield lambda _name: None
        return
    from rich.markup import escape  # noqa: PLC0415 - rich only where something is drawn

    with console(stderr=True).status(escape(escaped(what))) as shown:
        yield lambda name: shown.update(escape(escaped(f"{what}: {name}")))


@contextlib.contextmanager
def progress(what: str, total_bytes: int | None) -> Iterator[Advance]:
    """Show a bar on stderr while long work runs; nothing where stderr is no terminal.

    Args:
        what: what is going on, a few words.
        total_bytes: how much there is; None where nobody knows.

    Yields:
        A function that is called with the number of bytes done since the last call, and with the
        total once it is known.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total=None: None
        return
    from rich import progress as rich_progress  # noqa: PLC0415 - rich only where it is drawn

    bar = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(escaped(what), total=total_bytes)
        yield lambda done, total=None: bar.update(task, advance=done, total=total)
