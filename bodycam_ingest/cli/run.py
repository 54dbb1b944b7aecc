"""`run`: the daemon in the foreground, as systemd starts it."""

from __future__ import annotations

import click

from bodycam_ingest.cli.context import Context, pass_context


@click.command("run")
@pass_context
def command(context: Context) -> int:
    """Run the daemon until SIGTERM; SIGHUP reads the configuration again."""
    from bodycam_ingest.daemon import run  # noqa: PLC0415 - everything hangs on it

    return run(context.config_path)
