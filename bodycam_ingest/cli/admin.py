"""Reaching the ledger from a command: through the running daemon, or by opening it here."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Literal

from bodycam_ingest.cli.output import progress, say
from bodycam_ingest.errors import DatabaseDamagedError, IngestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection, Engine

    from bodycam_ingest.cli.context import Context
    from bodycam_ingest.config import Config
    from bodycam_ingest.daemon.control import Request


def execute(context: Context, request: Request) -> dict[str, Any]:
    """Have an admin command executed: by the daemon where one runs, else on the ledger opened here.

    Raises:
        IngestError: it was refused, or the ledger cannot be opened.
    """
    from bodycam_ingest.daemon import control  # noqa: PLC0415 - what reads alone asks no daemon

    config = context.config
    shown_bytes: int | None = None

    with progress("Working", None) as done:

        def show(waiting: Mapping[str, Any]) -> None:
            nonlocal shown_bytes
            if shown_bytes is None:
                shown_bytes = 0
                say("The daemon works on it, and continues if this command is ended.")
            done_bytes = int(waiting.get("done_bytes") or 0)
            done(done_bytes - shown_bytes)
            shown_bytes = done_bytes

        answered = control.ask(config.dock.state_dir, request, show)
        return _execute_here(config, request, done) if answered is None else answered


def _execute_here(config: Config, request: Request, done: Callable[[int], None]) -> dict[str, Any]:
    from bodycam_ingest.daemon import AdminCommands  # noqa: PLC0415 - only where no daemon runs
    from bodycam_ingest.daemon.control import user_name  # noqa: PLC0415 - the same
    from bodycam_ingest.db.state_dir import open_ledger  # noqa: PLC0415 - the same
    from bodycam_ingest.staging import open_copies  # noqa: PLC0415 - the same

    engine, ledger = open_ledger(config.dock.state_dir, config.origin)
    try:
        copies = open_copies(config.staging.dir)
        stores = [store.name for store in config.stores]
        admin = AdminCommands(engine, ledger, copies, stores)
        return admin.execute(request, user_name(os.getuid()), done)
    finally:
        ledger.close()
        engine.dispose()


@contextlib.contextmanager
def database(context: Context) -> Iterator[Engine]:
    """The database, read-only, also beside a running daemon; `NotInitialisedError` if none."""
    from bodycam_ingest.db.reading import open_for_reading  # noqa: PLC0415 - sqlalchemy

    engine = open_for_reading(context.config.dock.state_dir)
    try:
        yield engine
    finally:
        engine.dispose()


@contextlib.contextmanager
def reading(context: Context) -> Iterator[Connection]:
    """One snapshot of the database."""
    with database(context) as engine, engine.connect() as conn:
        yield conn


def whole(context: Context, kind: Literal["item", "camera", "finding"], text: str) -> str:
    """The whole id that a word on the command line names.

    Raises:
        UnknownSubjectError: it names nothing.
        UsageError: it names several things.
    """
    from bodycam_ingest.db import lookup  # noqa: PLC0415 - sqlalchemy

    ids = {"item": lookup.item_id, "camera": lookup.camera_serial, "finding": lookup.finding_id}
    with reading(context) as conn:
        return ids[kind](conn, text)


def explain_damage(context: Context) -> IngestError | None:
    """What in the database cannot be there, for a fault that is none of ours otherwise."""
    from bodycam_ingest.db.soundness import explain  # noqa: PLC0415 - sqlalchemy

    try:
        with database(context) as engine:
            return explain(engine)
    except IngestError as error:
        # Damaged so much that it cannot be opened, or none there: a defect then is a defect.
        return error if isinstance(error, DatabaseDamagedError) else None
