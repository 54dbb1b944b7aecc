"""What the words on a command line name: ids by their beginning, cameras, stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodycam_ingest.cli.admin import database

if TYPE_CHECKING:
    from collections.abc import Callable

    import sqlalchemy as sa

    from bodycam_ingest.cli.context import Context


def whole(context: Context, find: Callable[[sa.Connection, str], str], text: str) -> str:
    """The whole id that a word on the command line names.

    Args:
        context: the command line's own options.
        find: a function of `db.lookup`.
        text: the word.

    Raises:
        UnknownSubjectError: it names nothing.
        UsageError: it names several things.
    """
    engine = database(context.load())
    try:
        with engine.connect() as conn:
            return find(conn, text)
    finally:
        engine.dispose()
