"""What `status` tells, with the daemon's live view where one runs."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.db import dockings, stops, views
from bodycam_ingest.db.commit_watch import CommitWatch
from bodycam_ingest.db.findings import LEFT_EARLY
from bodycam_ingest.db.standing import read_head
from bodycam_ingest.linux import clock
from bodycam_ingest.model.amounts import count
from bodycam_ingest.model.backoff import StoreLimits, closed_for_s, wait_s
from bodycam_ingest.release import Live, decide, docking_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import sqlalchemy as sa
    from sqlalchemy import Engine


_UNKNOWN: Final = "unknown"


def dock_status(
    engine: Engine,
    *,
    dock_id: str,
    required: Sequence[str],
    live: Mapping[str, Live] | None,
    progress: Mapping[str, Mapping[str, Any]] | None = None,
    limits: Mapping[str, StoreLimits] | None = None,
) -> dict[str, Any]:
    """One snapshot of the dock: the value that `status --json` prints.

    `live` is what each running docking knows, None when no daemon runs; `progress` has `percent`,
    `mb_per_s` and `time_left_s` of each; `limits` is what each store may use of its line.
    """
    head = read_head(engine)
    with engine.connect() as conn:
        bays = []
        for row in dockings.open_dockings(conn):
            # Without a daemon nobody knows whether the camera is still there.
            seen = (live or {}).get(row.docking_id)
            decision = decide(
                docking_facts(
                    conn, row.docking_id, seen or Live(unsettled=0, unclassified=0), required
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
            "cameras": views.list_cameras(conn),
            "queue": views.queue_counts(conn),
            "stores": _stores(conn, limits or {}, clock.now_ms()),
            "alarms": views.open_findings(conn, severity="alarm"),
            "left_early": [
                row
                for row in views.open_findings(conn, severity="notice")
                if row["code"] == LEFT_EARLY
            ],
            "behind": views.behind(conn),
            "unanchored_since": views.unanchored_since(conn, required),
        }


def _stores(
    conn: sa.Connection, limits: Mapping[str, StoreLimits], now_ms: int
) -> list[dict[str, Any]]:
    """What is known of each store, when it is asked next and why not now."""
    local = dt.datetime.fromtimestamp(now_ms / 1000).astimezone()
    found = []
    for row in views.store_rows(conn):
        limit = limits.get(row["store"], StoreLimits())
        closed_s = closed_for_s(limit.windows, local)
        pause_s = wait_s(row["paused_until_ms"], now_ms) if row["last_error"] else 0.0
        wait = max(pause_s, closed_s)
        found.append(
            {
                **row,
                "next_try_at": clock.ms_text(now_ms + round(wait * 1000)) if wait else None,
                "reason": row["last_message"] or None,
                "window_opens_at": (
                    clock.ms_text(now_ms + round(closed_s * 1000)) if closed_s else None
                ),
                "limit_bytes_per_s": limit.bandwidth_limit_bytes_per_s or None,
            }
        )
    return found


class Standing:
    """How the dock stands, in the few words that `systemctl status` shows.

    `commits` counts those of the ledger, so that nothing is asked twice; `cameras` those docked.
    """

    def __init__(
        self, engine: Engine, dock_id: str, commits: Callable[[], int], cameras: Callable[[], int]
    ) -> None:
        self._engine = engine
        self._dock_id = dock_id
        self._cameras = cameras
        self._commits = CommitWatch(commits)
        self._said = ""

    def change(self) -> str | None:
        """The words if they are not what this last returned, else None."""
        if not self._commits.due():
            return None
        self._commits.looked()
        with self._engine.connect() as conn:
            alarms = len(views.open_findings(conn, severity="alarm"))
            failing = [row["store"] for row in views.store_rows(conn) if row["last_error"]]
        words = [
            count(self._cameras(), "camera"),
            f"{alarms or 'no'} alarm{'' if alarms == 1 else 's'}",
            *(f"store {store} fails" for store in failing),
        ]
        text = f"dock {self._dock_id}: {', '.join(words)}"
        if text == self._said:
            return None
        self._said = text
        return text
