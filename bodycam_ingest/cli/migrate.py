"""`migrate`: the database to this version's schema, on a copy, the old one kept."""

from __future__ import annotations

import click

from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line


@click.command("migrate")
@click.option("--check", is_flag=True, help="Only say whether there is anything to do.")
@json_option
@pass_context
def command(context: Context, *, check: bool, as_json: bool) -> None:
    """Bring the database to this version's schema, on a copy.

    Stop the daemon first. The old database is kept beside the new one; ledger entries are never
    changed, so every signature stays valid.
    """
    from bodycam_ingest.db.migrate import migrate, standing  # noqa: PLC0415 - alembic

    state_dir = context.config.dock.state_dir
    if check:
        found = standing(state_dir)
        if as_json:
            emit_json({"before": found.before, "after": found.after, "backup": None})
        elif found.before == found.after:
            line(f"schema {found.after}: nothing to do")
        else:
            line(
                f"schema {found.before} -> {found.after}: stop the daemon, migrate, start it again"
            )
        return
    done = migrate(state_dir)
    if as_json:
        emit_json({"before": done.before, "after": done.after, "backup": done.backup})
    elif done.backup is None:
        line(f"schema {done.after}: nothing to do")
    else:
        line(f"schema {done.before} -> {done.after}; the old database is kept as {done.backup}")
