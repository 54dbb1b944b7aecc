"""`init`: the state directory with keys, database and genesis entry, once."""

from __future__ import annotations

import click

from bodycam_ingest.cli.context import Context, pass_context
from bodycam_ingest.cli.output import line


@click.command("init")
@pass_context
def command(context: Context) -> None:
    """Make state directory, keys and ledger; never over an existing one.

    Also makes the staging directory, and prepares each directory store; its directory must be
    there, because a path that is missing is most often a file system that is not mounted.
    """
    from bodycam_ingest.db.state_dir import initialise  # noqa: PLC0415 - alembic
    from bodycam_ingest.stores import prepare_store  # noqa: PLC0415 - botocore

    config = context.config
    config.staging.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for store in config.stores:
        prepared = prepare_store(store)
        if prepared:
            line(f"store {store.name}: {prepared}")
    # Last: where a store is not there yet, `init` can simply be run again.
    vkey = initialise(config.dock.state_dir, config.origin)
    line(f"state directory: {config.dock.state_dir}")
    line(f"ledger: {config.origin}")
    line(f"verifier key, to be kept off this machine: {vkey}")
