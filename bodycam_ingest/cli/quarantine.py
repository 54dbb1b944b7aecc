"""`quarantine`: what is set apart, and the two ways back."""

from __future__ import annotations

import click

from bodycam_ingest.cli.admin import database, pull
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line, table
from bodycam_ingest.control import QuarantineRequest, ReinstateRequest, Request, RequeueRequest
from bodycam_ingest.evidence import decode_path
from bodycam_ingest.lifecycle import ItemState

_reason = click.option("--reason", required=True, help="Why; it stands in the ledger.")


@click.group("quarantine", invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, *, as_json: bool) -> int:
    """List quarantined items; `add`, `requeue` and `reinstate` move them."""
    if ctx.invoked_subcommand is not None:
        return 0
    from bodycam_ingest.db import queries  # noqa: PLC0415 - sqlalchemy

    context: Context = ctx.obj
    engine = database(context.load())
    try:
        with engine.connect() as conn:
            found = queries.list_items(conn, state=ItemState.QUARANTINED.value)
    finally:
        engine.dispose()
    if as_json:
        emit_json(found)
        return 0
    table(
        ["ITEM", "CAMERA", "PATH", "REASON"],
        [
            (i["item_id"], i["camera"], decode_path(i["path"]), i["quarantine_reason"])
            for i in found
        ],
    )
    return 0


def _pull(context: Context, request: Request, *, as_json: bool) -> int:
    done = pull(context, request)
    if as_json:
        emit_json(done)
    else:
        line(f"item {done['item_id']} is {done['state']}")
    return 0


@command.command("add")
@click.argument("item_id", metavar="ITEM")
@_reason
@json_option
@pass_context
def add(context: Context, *, item_id: str, reason: str, as_json: bool) -> int:
    """Set an item apart: it is kept, and not uploaded as good."""
    request = QuarantineRequest.of(item=item_id, reason=reason)
    return _pull(context, request, as_json=as_json)


@command.command("requeue")
@click.argument("item_id", metavar="ITEM")
@_reason
@json_option
@pass_context
def requeue(context: Context, *, item_id: str, reason: str, as_json: bool) -> int:
    """Have an item read from its camera again; its present copy stays in quarantine."""
    request = RequeueRequest.of(item=item_id, reason=reason)
    return _pull(context, request, as_json=as_json)


@command.command("reinstate")
@click.argument("item_id", metavar="ITEM")
@json_option
@pass_context
def reinstate(context: Context, *, item_id: str, as_json: bool) -> int:
    """Take an item back whose copy still has its digest; it is read back first."""
    return _pull(context, ReinstateRequest.of(item=item_id), as_json=as_json)
