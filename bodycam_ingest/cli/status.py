"""`status`: what every bay shows, what waits, what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bodycam_ingest import control
from bodycam_ingest.cli.admin import database
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line, size, table
from bodycam_ingest.errors import NotRunningError

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_status(context: Context) -> dict[str, Any]:
    """The dock's status: from the running daemon, else from the database alone."""
    config = context.load()
    answered = control.ask(config.dock.state_dir, {"command": "status"})
    if answered is not None:
        return answered
    from bodycam_ingest.status import dock_status  # noqa: PLC0415 - sqlalchemy

    engine = database(config)
    try:
        return dock_status(
            engine,
            dock_id=config.dock.id,
            required=[store.name for store in config.stores if store.required],
            live=None,
        )
    finally:
        engine.dispose()


def _progress(bay: Mapping[str, Any]) -> str:
    if bay["percent"] is None:
        return ""
    parts = [f"{bay['percent']} %"]
    if bay["mb_per_s"]:
        parts.append(f"{bay['mb_per_s']} MB/s")
    if bay["time_left_s"] is not None and bay["percent"] < 100:  # noqa: PLR2004 - per cent
        parts.append(f"{bay['time_left_s']} s left")
    return ", ".join(parts)


@click.command("status")
@json_option
@pass_context
def command(context: Context, *, as_json: bool) -> int:
    """Show cameras, bays, queue, stores and alarms.

    A bay is reading, copied (the camera may be taken, but not wiped), confirmed (every required
    store has everything), or wants attention.
    """
    status = read_status(context)
    if as_json:
        emit_json(status)
    else:
        _print(status)
    if not status["running"]:
        raise NotRunningError("the daemon is not running")
    return 0


def _print(status: Mapping[str, Any]) -> None:
    running = "running" if status["running"] else "NOT RUNNING"
    line(f"dock {status['dock']}: {running}; ledger of {status['ledger']['size']} entries")
    if status["bays"]:
        table(
            ["BAY", "CAMERA", "STATE", "PROGRESS", "WHY"],
            [
                (b["bay"], b["camera"], b["state"], _progress(b), "; ".join(b["reasons"]))
                for b in status["bays"]
            ],
        )
    queue = status["queue"]
    for state, counts in queue["items"].items():
        line(f"items {state}: {counts['items']} ({size(counts['bytes'])})")
    for store, states in queue["uploads"].items():
        line(f"store {store}: " + ", ".join(f"{n} {state}" for state, n in states.items()))
    for store in status["stores"]:
        if store["last_error"]:
            line(
                f"store {store['store']} fails since {store['failing_since']}: "
                f"{store['last_error']}: {store['last_message']}"
            )
    for alarm in status["alarms"]:
        line(f"ALARM {alarm['opened_at']} {alarm['code']}: {alarm['detail']}")
