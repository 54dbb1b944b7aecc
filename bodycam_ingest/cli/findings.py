"""`findings`: what is wrong or noteworthy, and closing it with a reason."""

from __future__ import annotations

from typing import Any

import click

from bodycam_ingest.cli.admin import execute, reading, whole
from bodycam_ingest.cli.context import Context, json_option, pass_context, where_alone
from bodycam_ingest.cli.output import answer, emit_json, shown_of, table
from bodycam_ingest.cli.params import chosen, during
from bodycam_ingest.cli.words import local
from bodycam_ingest.daemon.control import CloseFindingRequest


@click.group("findings", invoke_without_command=True)
@click.option("--all", "closed", is_flag=True, help="Closed findings too.")
@click.option("--camera", default="", help="Only what is about this camera and its recordings.")
@click.option("--docking", default="", help="Only what touches this docking.")
@click.option("--store", default="", help="Only what is about this store.")
@during("Only findings that were opened")
@json_option
@where_alone
def command(context: Context, /, *, as_json: bool, **wanted: Any) -> None:
    """List open findings; `close` ends one that a person looked into.

    An alarm wants a person and holds up the release of what it touches; a notice does not.
    """
    from bodycam_ingest.db import listings  # noqa: PLC0415 - sqlalchemy

    with reading(context) as conn:
        found = listings.findings(conn, chosen(context, conn, wanted))
    if as_json:
        emit_json(found)
    elif found:
        _print(found, closed=wanted["closed"])
    kind = "finding" if wanted["closed"] else "open finding"
    narrowed = any(value for name, value in wanted.items() if name != "closed")
    shown_of(len(found), len(found), kind, chosen=narrowed)


def _print(found: list[dict[str, Any]], *, closed: bool) -> None:
    columns = ["FINDING", "SINCE", "SEVERITY", "CODE", "SUBJECT", "DETAIL"]
    rows = [
        [
            f["finding_id"],
            local(f["opened_at"]),
            f["severity"],
            f["code"],
            f["subject"],
            f"{f['detail']} ({f['waiting']:,} recordings wait)" if f["waiting"] else f["detail"],
        ]
        for f in found
    ]
    if closed:
        columns.insert(2, "CLOSED")
        for row, each in zip(rows, found, strict=True):
            row.insert(2, local(each["closed_at"]))
    table(columns, rows)


@command.command("close")
@click.argument("finding_id", metavar="FINDING")
@click.option("--reason", required=True, help="What was found out; it stands in the ledger.")
@json_option
@pass_context
def close(context: Context, *, finding_id: str, reason: str, as_json: bool) -> None:
    """Close a finding after looking into it; recorded with who closed it.

    FINDING is an id or the beginning of one.
    """
    finding_id = whole(context, "finding", finding_id)
    done = execute(context, CloseFindingRequest(finding=finding_id, reason=reason))
    answer(done, f"finding {finding_id} is closed", as_json=as_json)
