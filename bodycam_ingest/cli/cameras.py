"""`cameras`: who is known, when last docked, who carries it."""

from __future__ import annotations

import click

from bodycam_ingest.cli.admin import database, pull
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line, table
from bodycam_ingest.control import AssignRequest


@click.group("cameras", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> int:
    """List known cameras and their last docking."""
    if ctx.invoked_subcommand is not None:
        return 0
    from bodycam_ingest.db import queries  # noqa: PLC0415 - sqlalchemy

    context: Context = ctx.obj
    engine = database(context.load())
    try:
        with engine.connect() as conn:
            found = queries.list_cameras(conn)
    finally:
        engine.dispose()
    if as_json:
        emit_json(found)
        return 0
    table(
        ["CAMERA", "PROFILE", "OFFICER", "FIRST DOCKED", "LAST DOCKED", "ITEMS"],
        [
            (
                camera["camera"],
                camera["profile"] or ("" if camera["assigned"] else "unassigned"),
                camera["officer"],
                camera["first_docked_at"],
                camera["last_docked_at"],
                ", ".join(f"{n} {state}" for state, n in camera["items"].items()),
            )
            for camera in found
        ],
    )
    return 0


@command.command("assign")
@click.argument("serial")
@click.argument("officer")
@json_option
@pass_context
def assign(context: Context, *, serial: str, officer: str, as_json: bool) -> int:
    """Record who carries a camera from now on; the ledger holds the name sealed."""
    done = pull(context, AssignRequest.of(camera=serial, officer=officer))
    if as_json:
        emit_json(done)
    else:
        line(f"camera {serial}: {officer}")
    return 0
