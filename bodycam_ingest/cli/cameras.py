"""`cameras` and `dockings`: who is known, who carries it, what was docked when and came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bodycam_ingest.cli.admin import execute, reading, whole
from bodycam_ingest.cli.context import (
    Context,
    chosen,
    during,
    json_option,
    limit_option,
    pass_context,
    where_alone,
)
from bodycam_ingest.cli.output import answer, emit_json, shown_of, table
from bodycam_ingest.cli.tables import Column, local
from bodycam_ingest.daemon.control import AssignRequest
from bodycam_ingest.model.amounts import size

if TYPE_CHECKING:
    from collections.abc import Mapping


@click.group("cameras", invoke_without_command=True)
@json_option
@where_alone
def cameras(context: Context, *, as_json: bool) -> None:
    """List known cameras and their last docking."""
    from bodycam_ingest.db import views  # noqa: PLC0415 - sqlalchemy

    with reading(context) as conn:
        found = views.list_cameras(conn)
    if as_json:
        emit_json(found)
    elif found:
        table(_CAMERA, found)
    shown_of(len(found), len(found), "camera", chosen=False)


def _items(camera: Mapping[str, Any]) -> str:
    return ", ".join(f"{number:,} {state}" for state, number in camera["items"].items())


def _officer(camera: Mapping[str, Any]) -> str:
    # Nobody carries it, and no profile knows it: that is for a person to fix.
    return camera["officer"] or ("" if camera["assigned"] else "unassigned")


_CAMERA = (
    Column("CAMERA", "camera"),
    Column("LAST DOCKED", lambda camera: local(camera["last_docked_at"])),
    Column("ITEMS", _items, cut=4),
    Column("OFFICER", _officer, cut=3),
    Column("PROFILE", "profile", cut=2, may_go=True),
    Column("FIRST DOCKED", lambda camera: local(camera["first_docked_at"]), cut=1, whole=True),
)


@cameras.command("assign")
@click.argument("serial")
@click.argument("officer")
@json_option
@pass_context
def assign(context: Context, *, serial: str, officer: str, as_json: bool) -> None:
    """Record who carries a camera from now on; the ledger holds the name sealed."""
    serial = whole(context, "camera", serial)
    done = execute(context, AssignRequest(camera=serial, officer=officer))
    answer(done, f"camera {serial}: {officer}", as_json=as_json)


@click.command("dockings")
@click.option("--camera", default="", help="Only dockings of this camera.")
@click.option("--bay", default="", help="Only dockings in this bay.")
@during("Only dockings that began")
@click.option(
    "--incomplete", is_flag=True, help="Only dockings that ended before all of it was copied."
)
@limit_option
@json_option
@pass_context
def dockings(context: Context, /, *, limit: int, as_json: bool, **wanted: Any) -> None:
    """List dockings: which camera, when, in which bay, and what was new on it.

    A docking is docked (the camera is there), complete (all of it was copied and verified), or
    incomplete: it ended before that, because the camera was pulled or the daemon ended.
    """
    from bodycam_ingest.db import listings  # noqa: PLC0415 - sqlalchemy

    with reading(context) as conn:
        found = listings.dockings(conn, chosen(context, conn, wanted), limit=limit)
    if as_json:
        emit_json(found.rows)
    else:
        table(_DOCKING, found.rows)
    shown_of(found.shown, found.total, "docking")


def _state(docking: Mapping[str, Any]) -> str:
    if docking["ended_at"] is None:
        return "docked"
    return "complete" if docking["complete"] else "incomplete"


_DOCKING = (
    Column("DOCKED", lambda docking: local(docking["started_at"])),
    Column("CAMERA", "camera"),
    Column("BAY", "bay", cut=3, tail=True),
    Column("STATE", _state),
    Column(">NEW", lambda docking: f"{sum(docking['items'].values()):,}"),
    Column(">SIZE", lambda docking: size(docking["size_bytes"])),
    Column("ENDED", lambda docking: local(docking["ended_at"]), cut=2, whole=True),
    Column("DOCKING", "docking_id", cut=1, whole=True),
)
