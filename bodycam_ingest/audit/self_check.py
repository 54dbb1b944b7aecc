"""The daemon's own look at its database: at each start, then daily.

Decisions that delete read rows by their primary key, but an index that somebody made anew could
still hide work. `integrity_check` holds every index against its rows (`quick_check` does not), and
the schema is compared with the one that this program makes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.db import soundness
from bodycam_ingest.errors import DatabaseDamagedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

_EVERY_S: Final = 24 * 3600.0
_IDLE_S: Final = 60.0
# SQLite's steps between two signs of life; some hundred a second.
_STEPS: Final = 1_000_000
_TOLD_AT_MOST: Final = 3


class SelfCheck:
    """Compares schema, pages and indexes; for one worker's thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looked_s: float | None = None

    def step(self, heartbeat: Callable[[int], None]) -> float:
        """Look, if it is time; returns seconds until the next step.

        `heartbeat` is called with 0 while it runs.

        Raises:
            DatabaseDamagedError: the daemon must not continue to sign on top of this.
        """
        now_s = time.monotonic()
        if self._looked_s is not None and now_s - self._looked_s < _EVERY_S:
            return _IDLE_S
        with self._engine.connect() as conn:
            driver = conn.connection.driver_connection

            def moves() -> None:
                heartbeat(0)

            assert driver is not None
            driver.set_progress_handler(moves, _STEPS)
            try:
                faults = soundness.schema_faults(conn) + soundness.page_faults(conn)
            finally:
                driver.set_progress_handler(None, 0)
        if faults:
            raise DatabaseDamagedError("; ".join(faults[:_TOLD_AT_MOST]))
        self._looked_s = now_s
        return _IDLE_S
