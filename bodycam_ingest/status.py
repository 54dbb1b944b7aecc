"""What `status` tells, with the daemon's live view where one runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest import clock
from bodycam_ingest.db import backlog, dockings, queries, stops
from bodycam_ingest.db.standing import read_head
from bodycam_ingest.news import News
from bodycam_ingest.release import decide
from bodycam_ingest.releaser import Live, docking_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sqlalchemy import Engine


_UNKNOWN: Final = "unknown"


def dock_status(
    engine: Engine,
    *,
    dock_id: str,
    required: Sequence[str],
    live: Mapping[str, Live] | None,
    progress: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """One snapshot of the dock.

    Args:
        engine: for reads.
        dock_id: this dock.
        required: names of the required stores.
        live: what each running docking knows; None when no daemon runs.
        progress: `percent`, `mb_per_s`, `time_left_s` of running dockings, by docking.

    Returns:
        The value that `status --json` prints.
    """
    head = read_head(engine)
    with engine.connect() as conn:
        bays = []
        for row in dockings.open_dockings(conn):
            # Without a daemon nobody knows whether the camera is still there.
            seen = (live or {}).get(row.docking_id)
            decision = decide(
                docking_facts(
                    conn, row.docking_id, seen or Live(unsettled=0, unplanned=0), required
                )
            )
            bays.append(
                {
                    "bay": row.bay,
                    "camera": row.camera,
                    "volume": row.volume,
                    "docking_id": row.docking_id,
                    "docked_at": row.started_at,
                    "watched": seen is not None,
                    # What a daemon saw that is gone is no state: the camera may be gone too.
                    "state": decision.state.value if live is not None else _UNKNOWN,
                    "release": decision.release and live is not None,
                    "reasons": list(decision.reasons) if live is not None else [],
                    "percent": None,
                    "mb_per_s": None,
                    "time_left_s": None,
                    **(progress or {}).get(row.docking_id, {}),
                }
            )
        return {
            "dock": dock_id,
            "time": clock.now_text(),
            "running": live is not None,
            "stopped": stops.last(conn) if live is None else None,
            "ledger": {"size": head.size, "root": head.root.hex()},
            "bays": bays,
            "cameras": queries.list_cameras(conn),
            "queue": queries.queue_counts(conn),
            "stores": queries.store_rows(conn),
            "alarms": queries.open_findings(conn, severity="alarm"),
            "behind": backlog.behind(conn),
            "unanchored_since": backlog.unanchored_since(conn, required),
        }


class Standing:
    """How the dock stands, in the few words that `systemctl status` shows.

    Args:
        engine: for reads.
        dock_id: this dock.
        commits: how many commits the ledger had, so that nothing is asked twice.
        cameras: how many cameras are docked.
    """

    def __init__(
        self, engine: Engine, dock_id: str, commits: Callable[[], int], cameras: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._dock_id = dock_id
        self._cameras = cameras
        self._news = News(commits)
        self._said = ""

    def text(self) -> str:
        """The words as of now."""
        with self._engine.connect() as conn:
            alarms = len(queries.open_findings(conn, severity="alarm"))
            failing = [row["store"] for row in queries.store_rows(conn) if row["last_error"]]
        cameras = self._cameras()
        words = [
            f"{cameras} camera{'' if cameras == 1 else 's'}",
            f"{alarms or 'no'} alarm{'' if alarms == 1 else 's'}",
            *(f"store {store} fails" for store in failing),
        ]
        return f"dock {self._dock_id}: {', '.join(words)}"

    def change(self) -> str | None:
        """The words if they are not what this last returned, else None."""
        if not self._news.due():
            return None
        self._news.looked()
        text = self.text()
        if text == self._said:
            return None
        self._said = text
        return text
