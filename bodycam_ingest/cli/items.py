"""`items`: the list, or one item's custody report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bodycam_ingest.cli import jsonform
from bodycam_ingest.cli.admin import database
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line, table
from bodycam_ingest.cli.words import size
from bodycam_ingest.errors import UnknownSubjectError
from bodycam_ingest.evidence import decode_path
from bodycam_ingest.lifecycle import ItemState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@click.command("items")
@click.argument("item_id", metavar="[ITEM]", required=False)
@click.option("--camera", default="", help="Only items of this camera.")
@click.option("--state", type=click.Choice([s.value for s in ItemState]), help="Only this state.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=1000,
    show_default=True,
    help="At most so many, the newest; 0 for all.",
)
@json_option
@pass_context
def command(
    context: Context,
    *,
    item_id: str | None,
    camera: str,
    state: str | None,
    limit: int,
    as_json: bool,
) -> int:
    """List items, or one item with its whole history."""
    from bodycam_ingest.db import queries  # noqa: PLC0415 - sqlalchemy

    engine = database(context.load())
    try:
        with engine.connect() as conn:
            if item_id is None:
                found = queries.list_items(
                    conn, camera_serial=camera, state=state or "", limit=limit
                )
                _print_list(found, as_json=as_json)
                return 0
            item = queries.item_history(conn, item_id)
    finally:
        engine.dispose()
    if item is None:
        raise UnknownSubjectError(f"no item {item_id!r}", hint="`bodycam-ingest items` lists them.")
    if as_json:
        # Entries are the ledger's own words: docs/ledger-format.md is their contract.
        emit_json({**item, "entries": jsonform.Verbatim(item["entries"])})
    else:
        _print_report(item)
    return 0


def _print_list(found: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        emit_json(found)
        return
    table(
        ["ITEM", "CAMERA", "PATH", ">SIZE", "SHA-256", "STATE", "STORES"],
        [
            (
                item["item_id"],
                item["camera"],
                decode_path(item["path"]),
                size(item["size_bytes"]),
                (item["sha256"] or "")[:16],
                item["state"],
                ", ".join(f"{name}: {s['state']}" for name, s in item["stores"].items()),
            )
            for item in found
        ],
    )


def _print_report(item: Mapping[str, Any]) -> None:
    line(f"Custody of item {item['item_id']}")
    for label, value in (
        ("camera", item["camera"]),
        ("path", decode_path(item["path"])),
        ("size", f"{item['size_bytes']} bytes"),
        ("SHA-256", item["sha256"]),
        ("state", item["state"]),
        ("recorded (camera's word)", item["recorded_at"]),
        ("discovered", item["discovered_at"]),
        ("staged copy", item["staged_path"]),
    ):
        line(f"  {label:<26}{'-' if value is None else _text(value)}")
    for name, store in item["stores"].items():
        line(f"  store {name}: {store['state']} {store['key']} ({store['proof'] or 'no proof'})")
    for entry in item["entries"]:
        line(f"  #{entry['seq']} {entry['t']} {entry['type']}")
        for key, value in entry["data"].items():
            if value not in ("", None, [], {}):
                line(f"      {key}: {_text(value)}")
    for finding in item["findings"]:
        closed = finding["closed_at"] or "open"
        line(f"  finding {finding['code']} {finding['opened_at']} ({closed}): {finding['detail']}")
    for docking in item["seen_in"]:
        line(
            f"  seen in docking {docking['docking_id']} {docking['started_at']}: "
            f"{docking['verdict']}"
        )


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        from bodycam_ingest.evidence import printable_path  # noqa: PLC0415 - rarely needed

        return printable_path(value)
    return str(value)
