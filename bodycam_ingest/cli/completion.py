"""`completion`: the script by which a shell completes this program's words."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

# The shell sets it when it asks for completions; `main` answers.
VARIABLE: Final = "_BODYCAM_INGEST_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    Put it where the shell looks for such scripts: /etc/bash_completion.d/bodycam-ingest,
    /usr/local/share/zsh/site-functions/_bodycam-ingest, or
    /etc/fish/completions/bodycam-ingest.fish.
    """
    kind = get_completion_class(shell)
    assert kind is not None  # click knows these three
    click.echo(kind(ctx.find_root().command, {}, "bodycam-ingest", VARIABLE).source())
