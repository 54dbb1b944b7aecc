"""`example-config`: every key with its default, and why one would change it."""

from __future__ import annotations

import importlib.resources

import click


@click.command("example-config")
def command() -> None:
    """Print an example of the configuration, with every key.

    What has to be set is set; everything else stands there as a comment, with its default.
    """
    text = importlib.resources.files("bodycam_ingest").joinpath("config.example.toml")
    click.echo(text.read_text(encoding="utf-8"), nl=False)
