"""What commands print: results on stdout, everything else on stderr, a camera's text never raw."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from bodycam_ingest.cli import jsonform
from bodycam_ingest.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console

    from bodycam_ingest.errors import IngestError


def escaped(value: Any) -> str:
    """Any value as one line of safe text: control characters escaped, bytes as a camera's path.

    Args:
        value: text, bytes, a path, a number; None gives an empty text.
    """
    if value is None:
        return ""
    if isinstance(value, bytes):
        return printable_path(value)
    return printable_path(str(value).encode("utf-8", "surrogateescape"))


def emit_json(value: Any) -> None:
    """Print a command's answer as JSON on stdout, in the form that docs/json.md promises."""
    # ASCII alone: no name from a camera reaches a terminal as a control sequence.
    click.echo(json.dumps(jsonform.document(value), indent=2))


def say(message: str) -> None:
    """Tell the person at the terminal something, on stderr; line breaks stay."""
    click.echo("\n".join(escaped(line) for line in message.splitlines()), err=True)


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


def line(text: str) -> None:
    """Print one line of a result on stdout, escaped."""
    click.echo(escaped(text))


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str = "") -> None:
    """Print a table on stdout.

    Args:
        columns: headings; one that starts with `>` is right-aligned.
        rows: values a column, of any kind; they are escaped here.
        title: printed above; empty for none.
    """
    from rich.table import Table  # noqa: PLC0415 - rich only where something is drawn
    from rich.text import Text  # noqa: PLC0415 - the same

    drawn = Table(title=Text(escaped(title)) if title else None, title_justify="left", box=None)
    for heading in columns:
        justify = "right" if heading.startswith(">") else "left"
        drawn.add_column(Text(escaped(heading.removeprefix(">"))), justify=justify, overflow="fold")  # type: ignore[arg-type]  # the two words are literals
    for row in rows:
        drawn.add_row(*(Text(escaped(value)) for value in row))
    terminal = console()
    if not terminal.is_terminal:
        # A pipe has no width: whoever reads it gets whole lines.
        terminal.width = 10_000
    terminal.print(drawn)


def size(size_bytes: int) -> str:
    """A length for people: `1.5 GB`, decimal units as on the card's label."""
    figure = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if figure < 1000:  # noqa: PLR2004 - decimal units
            return f"{figure:.0f} {unit}" if unit == "B" else f"{figure:.1f} {unit}"
        figure /= 1000
    return f"{figure:.1f} TB"


@contextlib.contextmanager
def progress(what: str, total_bytes: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr while long work runs; nothing where stderr is no terminal.

    Args:
        what: what is going on, a few words.
        total_bytes: how much there is; None where nobody knows.

    Yields:
        A function that is called with the number of bytes done since the last call.
    """
    if not sys.stderr.isatty():
        yield lambda _done: None
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
        yield lambda done: bar.advance(task, done)
