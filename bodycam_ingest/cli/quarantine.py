"""`quarantine`: what is quarantined, and the two ways back."""

from __future__ import annotations

from typing import Any

import click

from bodycam_ingest.cli.admin import execute, reading, whole
from bodycam_ingest.cli.context import Context, json_option, pass_context, where_alone
from bodycam_ingest.cli.output import answer, emit_json, shown_of, table
from bodycam_ingest.cli.tables import Column
from bodycam_ingest.daemon.control import (
    QuarantineRequest,
    ReinstateRequest,
    Request,
    RequeueRequest,
)
from bodycam_ingest.model.evidence import decode_path
from bodycam_ingest.model.lifecycle import ItemState

_reason = click.option("--reason", required=True, help="Why; it stands in the ledger.")


@click.group("quarantine", invoke_without_command=True)
@json_option
@where_alone
def command(context: Context, *, as_json: bool) -> None:
    """List quarantined items; `add`, `requeue` and `reinstate` move them."""
    from bodycam_ingest.db import listings  # noqa: PLC0415 - sqlalchemy

    with reading(context) as conn:
        apart = listings.Choice(state=ItemState.QUARANTINED.value)
        found = list(listings.items(conn, apart).rows)
    if as_json:
        emit_json(found)
    else:
        _print(found)
    shown_of(len(found), len(found), "quarantined item", chosen=False)


def _print(found: list[dict[str, Any]]) -> None:
    table(
        [
            Column("ITEM"),
            Column("CAMERA"),
            Column("PATH", cut=1, tail=True),
            Column("REASON", cut=2),
        ],
        [
            (i["item_id"], i["camera"], decode_path(i["path"]), i["quarantine_reason"])
            for i in found
        ],
    )


def _execute(context: Context, request: Request, *, as_json: bool) -> None:
    done = execute(context, request)
    answer(done, f"item {done['item_id']} is {done['state']}", as_json=as_json)


@command.command("add")
@click.argument("item_id", metavar="ITEM")
@_reason
@json_option
@pass_context
def add(context: Context, *, item_id: str, reason: str, as_json: bool) -> None:
    """Set an item apart: it is kept, and not uploaded as good.

    ITEM is an id, or the SHA-256 of a recording, or the beginning of either.
    """
    item_id = whole(context, "item", item_id)
    request = QuarantineRequest(item=item_id, reason=reason)
    _execute(context, request, as_json=as_json)


@command.command("requeue")
@click.argument("item_id", metavar="ITEM")
@_reason
@json_option
@pass_context
def requeue(context: Context, *, item_id: str, reason: str, as_json: bool) -> None:
    """Have an item read from its camera again; its present copy stays in quarantine.

    ITEM is an id, or the SHA-256 of a recording, or the beginning of either.
    """
    item_id = whole(context, "item", item_id)
    request = RequeueRequest(item=item_id, reason=reason)
    _execute(context, request, as_json=as_json)


@command.command("reinstate")
@click.argument("item_id", metavar="ITEM")
@json_option
@pass_context
def reinstate(context: Context, *, item_id: str, as_json: bool) -> None:
    """Take an item back whose copy still has its digest; it is read back first.

    ITEM is an id, or the SHA-256 of a recording, or the beginning of either.
    """
    item_id = whole(context, "item", item_id)
    _execute(context, ReinstateRequest(item=item_id), as_json=as_json)
