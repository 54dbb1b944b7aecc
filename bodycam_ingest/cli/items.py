"""`items`: the list, or one item's custody report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bodycam_ingest.cli import jsonform
from bodycam_ingest.cli.admin import reading
from bodycam_ingest.cli.context import (
    Context,
    chosen,
    during,
    json_option,
    limit_option,
    pass_context,
)
from bodycam_ingest.cli.output import emit_json, line, shown_of, table
from bodycam_ingest.cli.tables import Column, local
from bodycam_ingest.model.amounts import size
from bodycam_ingest.model.evidence import decode_path
from bodycam_ingest.model.lifecycle import ItemState

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.command("items")
@click.argument("item", metavar="[ITEM]", required=False)
@click.option("--camera", default="", help="Only items of this camera.")
@click.option("--state", type=click.Choice([s.value for s in ItemState]), help="Only this state.")
@click.option("--docking", default="", help="Only items first seen in this docking.")
@click.option("--bay", default="", help="Only items first seen in this bay.")
@click.option("--store", default="", help="Only items that are to be in this store, or are.")
@click.option("--not-in", default="", help="Only items that this store is not proven to have.")
@during("Only items that were first seen")
@click.option(
    "--sort",
    type=click.Choice(["discovered", "recorded", "size", "camera", "path", "state"]),
    default="discovered",
    show_default=True,
    help="Ascending by this; the newest or largest stands last.",
)
@limit_option
@json_option
@pass_context
def command(
    context: Context, /, *, item: str | None, sort: str, limit: int, as_json: bool, **wanted: Any
) -> None:
    """List items, or one item with its whole history.

    ITEM is an id, or the SHA-256 of a recording, or the beginning of either.
    """
    from bodycam_ingest.db import listings, lookup, views  # noqa: PLC0415 - sqlalchemy

    with reading(context) as conn:
        if item is not None:
            found = views.item_history(conn, lookup.item_id(conn, item))
            assert found is not None  # no item is ever deleted
            if as_json:
                # Entries are the ledger's own words: docs/ledger-format.md is their contract.
                emit_json({**found, "entries": jsonform.Verbatim(found["entries"])})
            else:
                _print_report(found)
            return
        choice = chosen(context, conn, wanted)
        listing = listings.items(conn, choice, order=sort, limit=limit)
        if as_json:
            emit_json(listing.rows)
        else:
            table(_LISTED, listing.rows)
    shown_of(listing.shown, listing.total, "item", chosen=any(wanted.values()))


def _stores(item: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}: {store['state']}" for name, store in item["stores"].items())


_LISTED = (
    Column("ITEM", "item_id"),
    Column("CAMERA", "camera"),
    Column("PATH", lambda item: decode_path(item["path"]), cut=3, tail=True),
    Column(">SIZE", lambda item: size(item["size_bytes"])),
    Column("SHA-256", lambda item: (item["sha256"] or "")[:16], cut=1, may_go=True),
    Column("STATE", "state"),
    Column("STORES", _stores, cut=2, may_go=True),
)


def _print_report(item: Mapping[str, Any]) -> None:
    line(f"Custody of item {item['item_id']}")
    for label, value in (
        ("camera", item["camera"]),
        ("path", decode_path(item["path"])),
        ("size", f"{size(item['size_bytes'])} ({item['size_bytes']:,} bytes)"),
        ("SHA-256", item["sha256"]),
        ("state", item["state"]),
        ("recorded (camera's word)", item["recorded_at"]),
        ("discovered", local(item["discovered_at"])),
        ("staged copy", item["staged_path"]),
    ):
        line(f"  {label:<26}{'-' if value is None else _text(value)}")
    for name, store in item["stores"].items():
        line(f"  store {name}: {store['state']} {store['key']} ({store['proof'] or 'no proof'})")
    for entry in item["entries"]:
        line(f"  #{entry['seq']} {local(entry['t'])} {entry['type']}")
        for key, value in entry["data"].items():
            if value not in ("", None, [], {}):
                line(f"      {key}: {_text(value)}")
    for finding in item["findings"]:
        closed = f"closed {local(finding['closed_at'])}" if finding["closed_at"] else "open"
        opened = local(finding["opened_at"])
        line(f"  finding {finding['code']} {opened} ({closed}): {finding['detail']}")
    for docking in item["seen_in"]:
        line(
            f"  seen in docking {docking['docking_id']} {local(docking['started_at'])}: "
            f"{docking['verdict']}"
        )


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        from bodycam_ingest.model.evidence import printable_path  # noqa: PLC0415 - rarely needed

        return printable_path(value)
    return str(value)
