"""`verify`: does the ledger hold, and everything that it speaks of."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from bodycam_ingest.cli.admin import reading
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line, progress, sentence, verdict
from bodycam_ingest.errors import IngestError, UncheckedError, UsageError

if TYPE_CHECKING:
    from bodycam_ingest.audit import Report
    from bodycam_ingest.config import Config
    from bodycam_ingest.custody.note import VerifierKey
    from bodycam_ingest.stores import ObjectStore

# Whatever else stops a check is "could not be checked": 1 is kept for a record that is broken.
_KEY_HINT: Final = "`init` printed it once: `name+id+key`, without a blank."
_CHECKPOINT_HINT: Final = (
    "A copy of `checkpoint` in the state directory, or of an object below ledger/ in a store."
)
_CHECKPOINT_BYTES_MAX: Final = 16_384
_EXIT: Final = {"holds": 0, "broken": 1, "unchecked": 2}


@click.command("verify")
@click.option(
    "--key", metavar="VKEY", default="", help="The log's verifier key, as it was kept off the dock."
)
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A signed checkpoint that somebody kept: the ledger must be that one, or extend it.",
)
@click.option("--files", is_flag=True, help="Hash every staged copy again.")
@click.option("--stores", is_flag=True, help="Have every stored object proven again.")
@json_option
@pass_context
def command(
    context: Context,
    *,
    key: str,
    checkpoint: Path | None,
    files: bool,
    stores: bool,
    as_json: bool,
) -> int:
    """Check the ledger, and with it every state; changes nothing.

    Whoever has the dock has its key: what `--key` and `--checkpoint` bring from elsewhere he cannot
    change. Without them the result says what it does not prove.

    Exit code 0: it holds. 1: it is broken. 2: something could not be checked.
    """
    from bodycam_ingest.audit import Audit, Scope  # noqa: PLC0415 - sqlalchemy
    from bodycam_ingest.staging import open_copies  # noqa: PLC0415 - only this command needs it

    config = context.config
    verifier = _verifier(key, config.origin) if key else None
    witness = _witness(checkpoint, config.origin) if checkpoint else None
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
                    key=verifier,
                    witness=witness,
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


def _verifier(key: str, origin: str) -> VerifierKey:
    from bodycam_ingest.custody.note import NoteError, VerifierKey  # noqa: PLC0415 - cryptography

    try:
        found = VerifierKey.parse(key)
    except NoteError as error:
        raise UsageError(f"--key: {error}", hint=_KEY_HINT) from error
    if found.name != origin:
        raise UsageError(f"--key is a key of {found.name}, not of {origin}", hint=_KEY_HINT)
    return found


def _witness(path: Path, origin: str) -> str:
    from bodycam_ingest.custody import checkpoint  # noqa: PLC0415 - cryptography
    from bodycam_ingest.custody.note import NoteError  # noqa: PLC0415 - the same

    try:
        with path.open("rb") as file:
            note = file.read(_CHECKPOINT_BYTES_MAX).decode()
        found = checkpoint.parse(note)
    except (OSError, UnicodeDecodeError, NoteError) as error:
        raise UsageError(f"--checkpoint {path}: {error}", hint=_CHECKPOINT_HINT) from error
    if found.origin != origin:
        raise UsageError(
            f"--checkpoint {path} is of {found.origin}, not of {origin}", hint=_CHECKPOINT_HINT
        )
    return note


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
    for what in report.not_proven:
        sentence(f"not proven: {what}")
    verdict(f"result: {report.result()}", report.result())
