"""`findings`: what is wrong or noteworthy, and closing it with a reason."""

from __future__ import annotations

import click

from bodycam_ingest.cli.admin import database, pull
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line, table
from bodycam_ingest.control import CloseFindingRequest


@click.group("findings", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> int:
    """List open findings; `close` ends one that a person looked into."""
    if ctx.invoked_subcommand is not None:
        return 0
    from bodycam_ingest.db import queries  # noqa: PLC0415 - sqlalchemy

    context: Context = ctx.obj
    engine = database(context.load())
    try:
        with engine.connect() as conn:
            found = queries.open_findings(conn)
    finally:
        engine.dispose()
    if as_json:
        emit_json(found)
        return 0
    table(
        ["FINDING", "SINCE", "SEVERITY", "CODE", "SUBJECT", "DETAIL"],
        [
            (f["finding_id"], f["opened_at"], f["severity"], f["code"], f["subject"], f["detail"])
            for f in found
        ],
    )
    return 0


@command.command("close")
@click.argument("finding_id", metavar="FINDING")
@click.option("--reason", required=True, help="What was found out; it stands in the ledger.")
@json_option
@pass_context
def close(context: Context, *, finding_id: str, reason: str, as_json: bool) -> int:
    """Close a finding after looking into it; recorded with who closed it."""
    done = pull(context, CloseFindingRequest.of(finding=finding_id, reason=reason))
    if as_json:
        emit_json(done)
    else:
        line(f"finding {finding_id} is closed")
    return 0
