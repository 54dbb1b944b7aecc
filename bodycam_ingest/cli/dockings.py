"""`dockings`: which cameras were docked when, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bodycam_ingest.cli.admin import reading
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, shown_of, table
from bodycam_ingest.cli.params import chosen, during, limit_option
from bodycam_ingest.cli.tables import Column
from bodycam_ingest.cli.words import local
from bodycam_ingest.model.amounts import size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


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
def command(context: Context, /, *, limit: int, as_json: bool, **wanted: Any) -> None:
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
        _print(found.rows)
    shown_of(found.shown, found.total, "docking")


def _print(rows: Iterable[Mapping[str, Any]]) -> None:
    table(
        [
            Column("DOCKED"),
            Column("CAMERA"),
            Column("BAY", cut=3, tail=True),
            Column("STATE"),
            Column(">NEW"),
            Column(">SIZE"),
            Column("ENDED", cut=2, whole=True),
            Column("DOCKING", cut=1, whole=True),
        ],
        [
            (
                local(row["started_at"]),
                row["camera"],
                row["bay"],
                _state(row),
                f"{sum(row['items'].values()):,}",
                size(row["size_bytes"]),
                local(row["ended_at"]),
                row["docking_id"],
            )
            for row in rows
        ],
    )


def _state(row: Mapping[str, Any]) -> str:
    if row["ended_at"] is None:
        return "docked"
    return "complete" if row["complete"] else "incomplete"
