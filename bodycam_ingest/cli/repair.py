"""What a person does about what went wrong: `retry`, `quarantine`, `findings`, `clock`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bodycam_ingest.cli.admin import execute, reading, whole
from bodycam_ingest.cli.context import (
    Context,
    chosen,
    during,
    json_option,
    pass_context,
    where_alone,
)
from bodycam_ingest.cli.output import answer, emit_json, line, shown_of, table
from bodycam_ingest.cli.tables import Column, local
from bodycam_ingest.daemon.control import (
    CloseFindingRequest,
    ConfirmClockRequest,
    QuarantineRequest,
    ReinstateRequest,
    Request,
    RequeueRequest,
    RetryRequest,
)
from bodycam_ingest.model.amounts import count
from bodycam_ingest.model.evidence import decode_path
from bodycam_ingest.model.lifecycle import ItemState

if TYPE_CHECKING:
    from collections.abc import Mapping

_reason = click.option("--reason", required=True, help="Why; it stands in the ledger.")


@click.command("retry")
@click.argument("item_id", metavar="[ITEM]", required=False)
@click.option("--store", help="Only uploads to this store.")
@json_option
@pass_context
def retry(context: Context, *, item_id: str | None, store: str | None, as_json: bool) -> None:
    """Make one item, or everything that waits, due now; recorded in the ledger.

    ITEM is an id, or the SHA-256 of a recording, or the beginning of either. Each store that had
    confirmed it is asked again, and sent it again where it lost it.
    """
    if item_id is not None:
        item_id = whole(context, "item", item_id)
    done = execute(context, RetryRequest(item=item_id, store=store))
    if as_json:
        emit_json(done)
        return
    due, again = done["uploads_due"], done["asked_again"]
    for name in done["stores"]:
        line(f"store {name} is tried now")
    if due or not again:
        line(f"{count(due, 'upload is', 'uploads are')} due now")
    if again:
        line(f"asked again, and sent again where it is lost: {', '.join(again)}")


@click.group("quarantine", invoke_without_command=True)
@json_option
@where_alone
def quarantine(context: Context, *, as_json: bool) -> None:
    """List quarantined items; `add`, `requeue` and `reinstate` move them."""
    from bodycam_ingest.db import listings  # noqa: PLC0415 - sqlalchemy

    with reading(context) as conn:
        apart = listings.Choice(state=ItemState.QUARANTINED.value)
        found = list(listings.items(conn, apart).rows)
    if as_json:
        emit_json(found)
    else:
        table(
            [
                Column("ITEM", "item_id"),
                Column("CAMERA", "camera"),
                Column("PATH", lambda item: decode_path(item["path"]), cut=1, tail=True),
                Column("REASON", "quarantine_reason", cut=2),
            ],
            found,
        )
    shown_of(len(found), len(found), "quarantined item", chosen=False)


def _execute(context: Context, request: Request, *, as_json: bool) -> None:
    done = execute(context, request)
    answer(done, f"item {done['item_id']} is {done['state']}", as_json=as_json)


@quarantine.command("add")
@click.argument("item_id", metavar="ITEM")
@_reason
@json_option
@pass_context
def add(context: Context, *, item_id: str, reason: str, as_json: bool) -> None:
    """Set an item apart: it is kept, and not uploaded as good.

    ITEM is an id, or the SHA-256 of a recording, or the beginning of either.
    """
    item = whole(context, "item", item_id)
    _execute(context, QuarantineRequest(item=item, reason=reason), as_json=as_json)


@quarantine.command("requeue")
@click.argument("item_id", metavar="ITEM")
@_reason
@json_option
@pass_context
def requeue(context: Context, *, item_id: str, reason: str, as_json: bool) -> None:
    """Have an item read from its camera again; its present copy stays in quarantine.

    ITEM is an id, or the SHA-256 of a recording, or the beginning of either.
    """
    item = whole(context, "item", item_id)
    _execute(context, RequeueRequest(item=item, reason=reason), as_json=as_json)


@quarantine.command("reinstate")
@click.argument("item_id", metavar="ITEM")
@json_option
@pass_context
def reinstate(context: Context, *, item_id: str, as_json: bool) -> None:
    """Take an item back whose copy still has its digest; it is read back first.

    ITEM is an id, or the SHA-256 of a recording, or the beginning of either.
    """
    item = whole(context, "item", item_id)
    _execute(context, ReinstateRequest(item=item), as_json=as_json)


@click.group("findings", invoke_without_command=True)
@click.option("--all", "closed", is_flag=True, help="Closed findings too.")
@click.option("--camera", default="", help="Only what is about this camera and its recordings.")
@click.option("--docking", default="", help="Only what touches this docking.")
@click.option("--store", default="", help="Only what is about this store.")
@during("Only findings that were opened")
@json_option
@where_alone
def findings(context: Context, /, *, as_json: bool, **wanted: Any) -> None:
    """List open findings; `close` ends one that a person looked into.

    An alarm wants a person and holds up the release of what it touches; a notice does not.
    """
    from bodycam_ingest.db import listings  # noqa: PLC0415 - sqlalchemy

    with reading(context) as conn:
        found = listings.findings(conn, chosen(context, conn, wanted))
    if as_json:
        emit_json(found)
    elif found:
        closed = [Column("CLOSED", lambda finding: local(finding["closed_at"]))]
        table(
            [
                Column("FINDING", "finding_id"),
                Column("SINCE", lambda finding: local(finding["opened_at"])),
                *(closed if wanted["closed"] else ()),
                Column("SEVERITY", "severity"),
                Column("CODE", "code"),
                Column("SUBJECT", "subject"),
                Column("DETAIL", _detail),
            ],
            found,
        )
    kind = "finding" if wanted["closed"] else "open finding"
    narrowed = any(value for name, value in wanted.items() if name != "closed")
    shown_of(len(found), len(found), kind, chosen=narrowed)


def _detail(finding: Mapping[str, Any]) -> str:
    waiting = f" ({finding['waiting']:,} recordings wait)" if finding["waiting"] else ""
    return f"{finding['detail']}{waiting}"


@findings.command("close")
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


@click.group("clock", invoke_without_command=True)
@json_option
@where_alone
def clock(context: Context, *, as_json: bool) -> None:
    """Show who vouches for the dock's clock; `confirm` does so.

    While nobody does, no copy in staging is purged by its age.
    """
    from bodycam_ingest.db import dock_time  # noqa: PLC0415 - sqlalchemy
    from bodycam_ingest.linux.clock import now_text, synchronised  # noqa: PLC0415 - `--help` needs none of it

    with reading(context) as conn:
        word = dock_time.word(conn)
    found = {
        "time": now_text(),
        "ntp_synchronised": synchronised(),
        "vouched": word.vouched or None,
        "doubt": word.doubt or None,
        "since": word.since or None,
    }
    if as_json:
        emit_json(found)
        return
    line(f"the dock's clock says {found['time']}")
    if word.vouched:
        line("NTP keeps it" if word.vouched == dock_time.NTP else "a person confirmed it")
    else:
        line(f"nobody vouches for it ({word.doubt or dock_time.UNSYNCHRONISED}): no copy is purged")
        line("set it right, then: bodycam-ingest clock confirm --reason TEXT")


@clock.command("confirm")
@click.option("--reason", required=True, help="How you know; it stands in the ledger.")
@json_option
@pass_context
def confirm(context: Context, *, reason: str, as_json: bool) -> None:
    """Say that the dock's clock is right as it stands now; recorded with who said so.

    It holds until the clock is set forward, or found to have run ahead while the dock was off.
    """
    done = execute(context, ConfirmClockRequest(reason=reason))
    answer(done, f"{done['time']} is confirmed as the time", as_json=as_json)
