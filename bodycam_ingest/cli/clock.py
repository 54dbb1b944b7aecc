"""`clock`: who vouches for the dock's clock, and vouching for it."""

from __future__ import annotations

import click

from bodycam_ingest.cli.admin import execute, reading
from bodycam_ingest.cli.context import Context, json_option, pass_context, where_alone
from bodycam_ingest.cli.output import answer, emit_json, line
from bodycam_ingest.daemon.control import ConfirmClockRequest


@click.group("clock", invoke_without_command=True)
@json_option
@where_alone
def command(context: Context, *, as_json: bool) -> None:
    """Show who vouches for the dock's clock; `confirm` does so.

    While nobody does, no copy in staging is purged by its age.
    """
    from bodycam_ingest.db import dock_time  # noqa: PLC0415 - sqlalchemy
    from bodycam_ingest.linux import clock  # noqa: PLC0415 - `--help` needs none of it

    with reading(context) as conn:
        word = dock_time.word(conn)
    found = {
        "time": clock.now_text(),
        "ntp_synchronised": clock.synchronised(),
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


@command.command("confirm")
@click.option("--reason", required=True, help="How you know; it stands in the ledger.")
@json_option
@pass_context
def confirm(context: Context, *, reason: str, as_json: bool) -> None:
    """Say that the dock's clock is right as it stands now; recorded with who said so.

    It holds until the clock is set forward, or found to have run ahead while the dock was off.
    """
    done = execute(context, ConfirmClockRequest(reason=reason))
    answer(done, f"{done['time']} is confirmed as the time", as_json=as_json)
