"""`cameras`: who is known, when last docked, who carries it."""

from __future__ import annotations

from typing import Any

import click

from bodycam_ingest.cli.admin import execute, reading, whole
from bodycam_ingest.cli.context import Context, json_option, pass_context, where_alone
from bodycam_ingest.cli.output import answer, emit_json, shown_of, table
from bodycam_ingest.cli.tables import Column
from bodycam_ingest.cli.words import local
from bodycam_ingest.daemon.control import AssignRequest


@click.group("cameras", invoke_without_command=True)
@json_option
@where_alone
def command(context: Context, *, as_json: bool) -> None:
    """List known cameras and their last docking."""
    from bodycam_ingest.db import views  # noqa: PLC0415 - sqlalchemy

    with reading(context) as conn:
        found = views.list_cameras(conn)
    if as_json:
        emit_json(found)
    elif found:
        _print(found)
    shown_of(len(found), len(found), "camera", chosen=False)


def _print(found: list[dict[str, Any]]) -> None:
    table(
        [
            Column("CAMERA"),
            Column("LAST DOCKED"),
            Column("ITEMS", cut=4),
            Column("OFFICER", cut=3),
            Column("PROFILE", cut=2, may_go=True),
            Column("FIRST DOCKED", cut=1, whole=True),
        ],
        [
            (
                camera["camera"],
                local(camera["last_docked_at"]),
                ", ".join(f"{number:,} {state}" for state, number in camera["items"].items()),
                # Nobody carries it, and no profile knows it: that is for a person to fix.
                camera["officer"] or ("" if camera["assigned"] else "unassigned"),
                camera["profile"],
                local(camera["first_docked_at"]),
            )
            for camera in found
        ],
    )


@command.command("assign")
@click.argument("serial")
@click.argument("officer")
@json_option
@pass_context
def assign(context: Context, *, serial: str, officer: str, as_json: bool) -> None:
    """Record who carries a camera from now on; the ledger holds the name sealed."""
    serial = whole(context, "camera", serial)
    done = execute(context, AssignRequest(camera=serial, officer=officer))
    answer(done, f"camera {serial}: {officer}", as_json=as_json)
