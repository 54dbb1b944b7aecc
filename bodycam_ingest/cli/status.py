"""`status`: what every bay shows, what waits, what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bodycam_ingest.cli.admin import database
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, sentence, table
from bodycam_ingest.cli.tables import Column, local
from bodycam_ingest.daemon import control
from bodycam_ingest.errors import NotRunningError
from bodycam_ingest.linux import clock
from bodycam_ingest.model.amounts import count, size, span

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def read_status(context: Context) -> dict[str, Any]:
    """The dock's status: from the running daemon, else from the database alone."""
    config = context.config
    answered = control.ask(config.dock.state_dir, control.StatusRequest())
    if answered is not None:
        return answered
    from bodycam_ingest.daemon import dock_status  # noqa: PLC0415 - sqlalchemy

    with database(context) as engine:
        return dock_status(
            engine,
            dock_id=config.dock.id,
            required=[store.name for store in config.stores if store.required],
            live=None,
            limits=config.store_limits(),
        )


def _progress(bay: Mapping[str, Any]) -> str:
    if bay["percent"] is None:
        return ""
    parts = [f"{bay['percent']} %"]
    if bay["mb_per_s"]:
        parts.append(f"{bay['mb_per_s']} MB/s")
        # Only while it moves: a copy that is stuck is not "0 s" from its end.
        if bay["time_left_s"] and bay["percent"] < 100:  # noqa: PLR2004 - per cent
            parts.append(f"{span(bay['time_left_s'])} left")
    return ", ".join(parts)


@click.command("status")
@json_option
@pass_context
def command(context: Context, *, as_json: bool) -> None:
    """Show cameras, bays, queue, stores and alarms.

    A bay is reading, copied (the camera may be taken, but not wiped), confirmed (every required
    store has everything), or wants attention.
    """
    status = read_status(context)
    if as_json:
        emit_json(status)
    else:
        _print(status, [store.name for store in context.config.stores])
    if not status["running"]:
        raise NotRunningError("the daemon is not running")


def _print(status: Mapping[str, Any], stores: Sequence[str]) -> None:
    running = status["running"]
    dock = f"dock {status['dock']}: {'running' if running else 'NOT RUNNING'}"
    sentence(f"{dock}; ledger of {count(status['ledger']['size'], 'entry', 'entries')}")
    if not running:
        _print_stop(status["stopped"])
    _print_bays(status["bays"])
    for state, counts in status["queue"]["items"].items():
        sentence(f"items {state}: {counts['items']:,} ({size(counts['bytes'])})")
    known = {store["store"]: store for store in status["stores"]}
    uploads = status["queue"]["uploads"]
    for name in dict.fromkeys([*stores, *known, *uploads]):
        _print_store(name, uploads.get(name, {}), known.get(name, {}))
    for alarm in status["alarms"]:
        sentence(f"{local(alarm['opened_at'])} {alarm['code']}: {alarm['detail']}", state="ALARM")
    for left in status.get("left_early", ()):
        sentence(f"{local(left['opened_at'])} {left['code']}: {left['detail']}", state="NOTE")


def _print_stop(stopped: Mapping[str, Any]) -> None:
    if stopped["error"]:
        sentence(f"  stopped {local(stopped['stopped_at'])}: {stopped['error']}")
        sentence(f"  {stopped['message']}")
    elif stopped["stopped_at"]:
        sentence(f"  stopped {local(stopped['stopped_at'])}, as it was asked to")
    elif not stopped["started_at"]:
        sentence("  it has not run yet")
    else:
        at = local(stopped["last_entry_at"])
        sentence(f"  ended without a word: killed, or power went; last entry {at}")


def _print_bays(bays: Sequence[Mapping[str, Any]]) -> None:
    if not bays:
        return
    table(
        [
            Column("BAY", "bay"),
            Column("CAMERA", "camera"),
            Column("STATE", "state"),
            Column("PROGRESS", _progress),
        ],
        bays,
    )
    for bay in bays:
        reasons = bay["reasons"]
        if bay["state"] == "unknown":
            reasons = [f"docked {local(bay['docked_at'])}; nobody knows whether it is still there"]
        for reason in reasons:
            sentence(f"  {bay['camera']}: {reason}")


def _next_try(store: Mapping[str, Any]) -> str:
    paused_ms = store.get("paused_until_ms") or 0
    at = store.get("next_try_at") or (clock.ms_text(paused_ms) if paused_ms else "")
    # What is due already is tried at once; what was due yesterday is nobody's next try.
    left_s = (clock.text_ms(at) - clock.now_ms()) / 1000 if at else 0
    return f"in {span(left_s)}, at {local(at)} (`retry` tries now)" if left_s > 0 else ""


def _print_store(name: str, uploads: Mapping[str, int], store: Mapping[str, Any]) -> None:
    told = ", ".join(f"{number:,} {state}" for state, number in uploads.items())
    sentence(f"store {name}: {told or 'nothing sent yet'}")
    if store.get("left_at"):
        sentence(f"  not in the configuration since {local(store['left_at'])}: `stores list`")
    if store.get("last_error"):
        since = local(store["failing_since"])
        sentence(f"  fails since {since}: {store['last_error']}: {store['last_message']}")
    for label, value in (
        ("next try", _next_try(store)),
        ("waits for", store.get("reason")),
        ("window opens", local(store.get("window_opens_at"))),
    ):
        if value:
            sentence(f"  {label} {value}")
    if store.get("limit_bytes_per_s"):
        sentence(f"  limited to {size(store['limit_bytes_per_s'])}/s")
