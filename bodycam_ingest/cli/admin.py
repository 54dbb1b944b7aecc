"""Reaching the ledger from a command: through the running daemon, or by opening it here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from bodycam_ingest.cli.output import progress, say
from bodycam_ingest.daemon import control
from bodycam_ingest.daemon.control import user_name
from bodycam_ingest.errors import DatabaseDamagedError, IngestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sqlalchemy import Engine

    from bodycam_ingest.cli.context import Context
    from bodycam_ingest.config import Config
    from bodycam_ingest.daemon.control import Request


def execute(context: Context, request: Request) -> dict[str, Any]:
    """Have an admin command executed: by the daemon where one runs, else on the ledger opened here.

    Args:
        context: the command line's own options.
        request: what is asked for.

    Returns:
        What was done.

    Raises:
        IngestError: it was refused, or the ledger cannot be opened.
    """
    config = context.load()
    with progress("Working", None) as done:
        answered = control.ask(config.dock.state_dir, request, _Waiting(done))
        return _execute_here(config, request, done) if answered is None else answered


class _Waiting:
    """Shows that the daemon works on a request."""

    def __init__(self, done: Callable[[int], None]) -> None:
        self._done = done
        self._done_bytes = 0
        self._reported = False

    def __call__(self, waiting: Mapping[str, Any]) -> None:
        done_bytes = int(waiting.get("done_bytes") or 0)
        self._done(done_bytes - self._done_bytes)
        self._done_bytes = done_bytes
        if not self._reported:
            self._reported = True
            say("The daemon works on it, and continues if this command is ended.")


def _execute_here(config: Config, request: Request, done: Callable[[int], None]) -> dict[str, Any]:
    from bodycam_ingest.daemon import AdminCommands  # noqa: PLC0415 - only where no daemon runs
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


def database(config: Config) -> Engine:
    """The database, read-only; works beside a running daemon.

    Raises:
        NotInitialisedError: there is none.
    """
    from bodycam_ingest.db.state_dir import open_for_reading  # noqa: PLC0415 - sqlalchemy

    return open_for_reading(config.dock.state_dir)


def explain_damage(context: Context) -> IngestError | None:
    """What in the database cannot be there, for a fault that is none of ours otherwise."""
    from bodycam_ingest.db.damage import explain  # noqa: PLC0415 - sqlalchemy

    try:
        engine = database(context.load())
    except IngestError as error:
        # Damaged so much that it cannot be opened, or none there: a defect then is a defect.
        return error if isinstance(error, DatabaseDamagedError) else None
    try:
        return explain(engine)
    finally:
        engine.dispose()
