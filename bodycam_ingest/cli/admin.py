"""Reaching the ledger from a command: through the running daemon, or by opening it here."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from bodycam_ingest import control

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

    from bodycam_ingest.cli.context import Context
    from bodycam_ingest.config import Config


def pull(context: Context, request: Mapping[str, Any]) -> dict[str, Any]:
    """Have a lever pulled: by the daemon where one runs, else on the ledger opened here.

    Args:
        context: the command line's own options.
        request: `command` and its arguments.

    Returns:
        What was done.

    Raises:
        IngestError: it was refused, or the ledger cannot be opened.
    """
    config = context.load()
    answered = control.ask(config.dock.state_dir, request)
    if answered is not None:
        return answered
    from bodycam_ingest.acquire import Acquirer  # noqa: PLC0415 - only where no daemon runs
    from bodycam_ingest.db.installation import open_ledger  # noqa: PLC0415 - the same
    from bodycam_ingest.levers import Levers  # noqa: PLC0415 - the same

    engine, ledger = open_ledger(config.dock.state_dir, config.origin)
    try:
        acquirer = Acquirer(config.staging.dir, min_free_bytes=config.staging.min_free_bytes)
        stores = [store.name for store in config.stores]
        return Levers(engine, ledger, acquirer, stores).pull(request, getpass.getuser())
    finally:
        ledger.close()
        engine.dispose()


def database(config: Config) -> Engine:
    """The database, read-only; works beside a running daemon.

    Raises:
        NotInitialisedError: there is none.
    """
    from bodycam_ingest.db.installation import open_for_reading  # noqa: PLC0415 - sqlalchemy

    return open_for_reading(config.dock.state_dir)
