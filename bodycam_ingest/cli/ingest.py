"""`ingest`: one mounted directory, once, without the daemon."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line, progress, sentence, table
from bodycam_ingest.cli.tables import Column
from bodycam_ingest.daemon import control
from bodycam_ingest.errors import AlreadyRunningError, IngestError
from bodycam_ingest.model.amounts import count, size, span
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from bodycam_ingest.daemon import RescueReport


@click.command("ingest")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--camera", "serial", required=True, help="The camera's serial number.")
@click.option(
    "--upload/--no-upload",
    default=True,
    show_default=True,
    help="Send what is due once; the daemon continues with the rest.",
)
@json_option
@pass_context
def command(context: Context, *, path: Path, serial: str, upload: bool, as_json: bool) -> int:
    """Take one mounted directory in, once: for rescue work.

    Nothing in the directory is changed. What lies there already known is not copied again. Exit
    code 1: something could not be taken; it is listed.
    """
    from bodycam_ingest.daemon import Components, look_at, rescue  # noqa: PLC0415 - all stages

    config = context.config
    mounted = look_at(path, serial)
    if control.ask(config.dock.state_dir, control.StatusRequest()) is not None:
        raise AlreadyRunningError(
            "the daemon is running on this state directory",
            hint="Put the directory below one of cameras.mount_roots, or stop the daemon first.",
        )
    components = Components(config, _halt)
    try:
        with progress("Reading", None) as done:
            report = rescue(components, mounted, upload=upload, progress=done)
    finally:
        components.close()
    if as_json:
        emit_json({**asdict(report), "whole": report.whole()})
    else:
        _print(report)
    return 0 if report.whole() else 1


def _halt(error: IngestError) -> NoReturn:
    raise error


def _print(report: RescueReport) -> None:
    line(f"docking {report.docking_id} of camera {report.camera}")
    if report.taken:
        table(
            [
                Column("ITEM", "item_id"),
                Column("PATH", "path", cut=2, tail=True),
                Column(">SIZE", lambda item: size(item["size_bytes"])),
                Column("SHA-256", lambda item: (item["sha256"] or "")[:16], cut=1, may_go=True),
                Column("STATE", "state"),
            ],
            report.taken,
        )
    known = sum(report.states.values()) - len(report.taken) - len(report.not_taken)
    rate = size(round(report.read_bytes / report.seconds)) if report.seconds else size(0)
    sentence(
        f"{count(len(report.taken), 'recording')} taken, {count(known, 'recording')} known before; "
        f"{size(report.read_bytes)} read and verified in {span(report.seconds)} ({rate}/s)"
    )
    for state, number in sorted(report.states.items()):
        line(f"items {state}: {number:,}")
    for item in report.not_taken:
        what = printable_path(item["path"])
        sentence(
            f"{item['item_id']} {what}: {item['state']} {item['last_error']}", state="NOT TAKEN"
        )
    if report.removed:
        line("The directory went away before the end.")
