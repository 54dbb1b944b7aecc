"""`retry`: what waits is tried now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bodycam_ingest.cli.admin import execute, whole
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line
from bodycam_ingest.daemon.control import RetryRequest
from bodycam_ingest.model.amounts import count

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command("retry")
@click.argument("item_id", metavar="[ITEM]", required=False)
@click.option("--store", help="Only uploads to this store.")
@json_option
@pass_context
def command(context: Context, *, item_id: str | None, store: str | None, as_json: bool) -> None:
    """Make one item, or everything that waits, due now; recorded in the ledger.

    ITEM is an id, or the SHA-256 of a recording, or the beginning of either. Each store that had
    confirmed it is asked again, and sent it again where it lost it.
    """
    if item_id is not None:
        item_id = whole(context, "item", item_id)
    done = execute(context, RetryRequest(item=item_id, store=store))
    if as_json:
        emit_json(done)
    else:
        _print(done)


def _print(done: Mapping[str, Any]) -> None:
    due, again = done["uploads_due"], done["asked_again"]
    for name in done["stores"]:
        line(f"store {name} is tried now")
    if due or not again:
        line(f"{count(due, 'upload is', 'uploads are')} due now")
    if again:
        line(f"asked again, and sent again where it is lost: {', '.join(again)}")
