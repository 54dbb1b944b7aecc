"""`verify`: does the ledger hold, and everything that it speaks of."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Final

import click

from bodycam_ingest.cli.admin import reading
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line, progress, sentence, verdict
from bodycam_ingest.errors import IngestError, UncheckedError

if TYPE_CHECKING:
    from bodycam_ingest.audit import Report
    from bodycam_ingest.config import Config
    from bodycam_ingest.stores import ObjectStore

# Whatever else stops a check is "could not be checked": 1 is kept for a record that is broken.
_EXIT: Final = {"holds": 0, "broken": 1, "unchecked": 2}


@click.command("verify")
@click.option("--files", is_flag=True, help="Hash every staged copy again.")
@click.option("--stores", is_flag=True, help="Have every stored object proven again.")
@json_option
@pass_context
def command(context: Context, *, files: bool, stores: bool, as_json: bool) -> int:
    """Check the ledger, and with it every state; changes nothing.

    Exit code 0: it holds. 1: it is broken. 2: something could not be checked.
    """
    from bodycam_ingest.audit import Audit, Scope  # noqa: PLC0415 - sqlalchemy
    from bodycam_ingest.staging import open_copies  # noqa: PLC0415 - only this command needs it

    config = context.config
    opened, closed = _open(config) if stores else (None, [])
    try:
        with progress("Verifying", _total_bytes(context, files=files, stores=stores)) as done:
            report = Audit(
                Scope(
                    state_dir=config.dock.state_dir,
                    origin=config.origin,
                    copies=open_copies(config.staging.dir) if files else None,
                    stores=opened,
                    progress=done,
                    required=frozenset(s.name for s in config.stores if s.required),
                )
            ).run()
    except IngestError as error:
        raise UncheckedError(error.message, hint=error.hint) from error
    finally:
        for store in (opened or {}).values():
            store.close()
    report.unreachable += closed
    if as_json:
        emit_json(report.as_json())
    else:
        _print(report)
    return _EXIT[report.result()]


def _open(config: Config) -> tuple[dict[str, ObjectStore], list[str]]:
    """The stores, and what to say of those that cannot even be opened: the others are asked."""
    from bodycam_ingest.stores import open_store  # noqa: PLC0415 - botocore

    opened: dict[str, ObjectStore] = {}
    closed = []
    for store in config.stores:
        try:
            opened[store.name] = open_store(store)
        except IngestError as error:
            closed.append(f"{store.name}: {error.message}. {error.hint}")
    return opened, closed


def _total_bytes(context: Context, *, files: bool, stores: bool) -> int | None:
    """How much there is to read, for the time that is left; None where nobody looks or knows."""
    if not sys.stderr.isatty() or not (files or stores):
        return None
    from bodycam_ingest.db import listings  # noqa: PLC0415 - sqlalchemy

    # A ledger that cannot be read, or holds odd values, is for the verification to judge.
    odd = contextlib.suppress(IngestError, TypeError, ValueError, OverflowError)
    with odd, reading(context) as conn:
        return listings.kept_bytes(conn, files=files, stores=stores)
    return None


def _print(report: Report) -> None:
    for name, number in report.checked.items():
        line(f"{name}: {'not asked for' if number is None else f'{number} checked'}")
    for finding in report.findings:
        about = f" ({finding.subject})" if finding.subject else ""
        sentence(f"{finding.code}{about}: {finding.message}", state="FINDING")
    for what in report.unreachable:
        sentence(f"could not be checked: {what}")
    verdict(f"result: {report.result()}", report.result())
