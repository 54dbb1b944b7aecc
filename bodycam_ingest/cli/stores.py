"""`stores`: what lies where, what waits, and a person's part when the set of stores changes."""

from __future__ import annotations

from typing import Any

import click

from bodycam_ingest.cli.admin import execute, reading
from bodycam_ingest.cli.context import Context, json_option, pass_context, where_alone
from bodycam_ingest.cli.output import emit_json, line, table
from bodycam_ingest.cli.tables import Column
from bodycam_ingest.daemon.control import BackfillRequest, RetireStoreRequest
from bodycam_ingest.model.amounts import count, size


@click.group("stores", invoke_without_command=True)
@json_option
@where_alone
def command(context: Context, *, as_json: bool) -> None:
    """List stores: what each holds, what waits for it, what it can no longer get.

    `retire` gives up a store that was taken out of the configuration; `backfill` queues for a
    store what it never got, which the daemon also does by itself.
    """
    _list(context, as_json=as_json)


@command.command("list")
@json_option
@pass_context
def list_stores(context: Context, *, as_json: bool) -> None:
    """List stores: what each holds, what waits for it, what it can no longer get."""
    _list(context, as_json=as_json)


def _list(context: Context, *, as_json: bool) -> None:
    from bodycam_ingest.db import known_stores  # noqa: PLC0415 - sqlalchemy

    kinds = {store.name: (store.type, store.required) for store in context.config.stores}
    with reading(context) as conn:
        found = known_stores.of_stores(conn, kinds)
    if as_json:
        emit_json(found)
        return
    table(
        [
            Column("STORE", "name"),
            Column("TYPE", "type"),
            Column("REQUIRED", lambda store: "yes" if store["required"] else "no"),
            Column("STATE", "state"),
            Column(">CONFIRMED", lambda store: f"{store['confirmed']:,}"),
            Column(">WAITING", _waiting),
            Column(">NEVER SENT", lambda store: f"{store['never_sent']:,}"),
            Column(">LOST", lambda store: f"{store['impossible']:,}"),
        ],
        found,
    )


def _waiting(store: dict[str, Any]) -> str:
    if not store["waiting"]:
        return "0"
    return f"{store['waiting']:,} ({size(store['waiting_bytes'])})"


@command.command("retire")
@click.argument("name", metavar="NAME")
@click.option("--reason", required=True, help="Why; it stands in the ledger.")
@json_option
@pass_context
def retire(context: Context, *, name: str, reason: str, as_json: bool) -> None:
    """Give up a store that will not come back; what waited for it alone continues.

    Take its [[stores]] table out of the configuration and restart the daemon first.
    """
    done = execute(context, RetireStoreRequest(store=name, reason=reason))
    if as_json:
        emit_json(done)
        return
    waited = f"{count(done['waited_items'], 'recording')} ({size(done['waited_bytes'])})"
    line(f"store {name} is retired; {waited} waited for it")
    if done["confirmed_items"]:
        line(f"{count(done['confirmed_items'], 'recording')} now in every required store")


@command.command("backfill")
@click.argument("name", metavar="[NAME]", required=False)
@json_option
@pass_context
def backfill(context: Context, *, name: str | None, as_json: bool) -> None:
    """Queue what staging still has for a store that never got it; for all stores without NAME."""
    done = execute(context, BackfillRequest(store=name))
    if as_json:
        emit_json(done)
        return
    for store, number in done["queued"].items():
        line(f"store {store}: {count(number, 'recording')} queued")
