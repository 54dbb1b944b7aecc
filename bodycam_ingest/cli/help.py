"""`help`: what `--help` of a command says."""

from __future__ import annotations

import click


@click.command("help")
@click.argument("words", metavar="[COMMAND]...", nargs=-1)
@click.pass_context
def command(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Show what a command does and takes."""
    root = ctx.find_root()
    found, about = (
        root.command,
        click.Context(
            root.command, info_name=root.info_name, help_option_names=root.help_option_names
        ),
    )
    for word in words:
        if not isinstance(found, click.Group):
            raise click.UsageError(f"`{about.command_path}` has no command {word!r}.", about)
        _, below, _ = found.resolve_command(about, [word])
        if below is None:
            raise click.UsageError(f"No such command {word!r}.", about)
        found, about = below, click.Context(below, info_name=word, parent=about)
    click.echo(found.get_help(about))
