"""`doctor`: is this machine fit to run the daemon, and what to do where it is not."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import activity, emit_json, say, sentence, table
from bodycam_ingest.cli.tables import Column
from bodycam_ingest.doctor import dock, machine, usb
from bodycam_ingest.doctor.result import Check, Outcome
from bodycam_ingest.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command("doctor")
@json_option
@pass_context
def command(context: Context, *, as_json: bool) -> int:
    """Check whether this machine is fit to run the daemon.

    Run it as the daemon's user. It writes one block into staging and takes it away again, and
    asks each store what it verifies; it changes nothing else. Exit code 1 when a check fails.
    """
    checks = []
    with activity("Looking") as looked_at:
        for check in _checks(context):
            looked_at(check.name)
            checks.append(check)
    failed = [check for check in checks if check.outcome is Outcome.FAIL]
    if as_json:
        emit_json({"fit": not failed, "checks": [asdict(check) for check in checks]})
        return 1 if failed else 0
    _print(checks)
    say("This machine is not fit yet." if failed else "This machine is fit to run the daemon.")
    return 1 if failed else 0


def _print(checks: list[Check]) -> None:
    table(
        [
            Column("CHECK", lambda check: check.name),
            Column("RESULT", lambda check: check.outcome.value),
            Column("FOUND", lambda check: check.found.partition("\n")[0], cut=1),
        ],
        checks,
    )
    for check in checks:
        if check.outcome is Outcome.OK:
            continue
        # All of it, where the table may have had no room.
        first, *more = check.found.splitlines() or [""]
        sentence(f"{check.name}: {first}", state=check.outcome.value)
        for each in [*more, check.todo]:
            sentence(f"  {each}")


def _checks(context: Context) -> Iterator[Check]:
    yield from machine.machine()
    yield machine.fips()
    try:
        config = context.config
    except ConfigError as error:
        yield Check("config", Outcome.FAIL, error.message, error.hint)
        return
    yield Check("config", Outcome.OK, str(config.path))
    yield from machine.directories(config)
    yield dock.ledger(config)
    yield from usb.checks(config.cameras)
    yield from dock.stores(config)
