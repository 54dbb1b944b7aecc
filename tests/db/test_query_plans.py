"""What runs after every commit reads by index: its cost must not grow with the dock's history."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from bodycam_ingest.db import (
    dock_time,
    dockings,
    findings,
    known_stores,
    own_objects,
    releases,
    uploads,
    views,
)
from bodycam_ingest.db.reading import open_for_reading
from bodycam_ingest.db.state_dir import initialise
from bodycam_ingest.model.rows import DockClock

CLOCK = DockClock(1, "a", 0, "2026-11-24T19:12:04.123Z", 0)
ASKED_AFTER_EVERY_COMMIT = {
    "anchor_state": lambda conn: own_objects.anchor_state(conn, ["archive"], ["archive"], 9, 9),
    "dockings_to_release": lambda conn: releases.dockings_to_release(conn, ["0" * 26]),
    "to_release_alone": lambda conn: releases.items_to_release(conn, ["0" * 26], ["archive"], 9),
    "purge_candidates": lambda conn: releases.purge_candidates(
        conn, ["a"], released_by_ms=9, limit=9
    ),
    "purge_candidates_at_once": lambda conn: releases.purge_candidates(
        conn, ["a"], released_by_ms=None, limit=9
    ),
    "announced": releases.any_purge_announced,
    "next_purge": lambda conn: releases.next_purge(conn, ["a"], anchored_size=9, now_ms=9),
    "purges_that_wait": releases.any_purge_waits,
    "anchored_size": lambda conn: own_objects.anchored_size(conn, ["archive"]),
    "objects_without_work": own_objects.any_without_work,
    "news": lambda conn: own_objects.first_news_at(conn, 9),
    "next_object": lambda conn: own_objects.next_due(conn, "archive", 9, []),
    "clock": dock_time.now_ms,
    "dock_time": lambda conn: dock_time.known(conn, CLOCK, "b"),
    "open_dockings": dockings.open_dockings,
    "tally": lambda conn: dockings.tally(conn, "0" * 26),
    "next_uploads": lambda conn: uploads.next_due(conn, "a", 9, [], small_bytes=9, limit=9),
    "next_upload_at": lambda conn: uploads.next_due_ms(conn, "a", []),
    "next_object_at": lambda conn: own_objects.next_due_ms(conn, "a", []),
    "open_findings": lambda conn: views.open_findings(conn, severity="alarm"),
    "stores": views.store_rows,
    "behind": views.behind,
    "items_of_docking": lambda conn: dockings.inventory_items(conn, "0" * 26),
    "lacking": lambda conn: known_stores.lacking_in_docking(conn, "0" * 26, ["archive"]),
    "alarms": lambda conn: findings.docking_alarms(conn, "0" * 26),
}
# Tables that grow for ever; the others hold a handful of rows.
GROWING = (
    "ledger_entry",
    "docking",
    "document",
    "item",
    "upload",
    "upload_part",
    "metadata_object",
)
# An index of what waits alone: a scan of it does not grow with what ever was.
WAITING = (
    "ix_docking_open",
    "ix_item_confirmed_seq",
    "ix_item_purge_due",
    "ix_item_released",
    "ix_item_purging_seq",
    "ix_metadata_object_open",
    "ix_upload_unsettled",
)


@pytest.fixture
def engine(tmp_path):
    initialise(tmp_path / "state", "pd.example/custody/dock-1")
    engine = open_for_reading(tmp_path / "state")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("name", ASKED_AFTER_EVERY_COMMIT)
def test_no_whole_table_is_read(engine, name):
    asked: list[tuple[str, object]] = []

    def note(_conn, _cursor, statement, parameters, _context, _many):
        if statement.lstrip().upper().startswith("SELECT"):
            asked.append((statement, parameters))

    sa.event.listen(engine, "before_cursor_execute", note)
    with engine.connect() as conn:
        ASKED_AFTER_EVERY_COMMIT[name](conn)
        questions = list(asked)
        assert questions
        plans = [
            row[3]
            for statement, parameters in questions
            for row in conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    assert plans
    scans = [
        step
        for step in plans
        if step.startswith(tuple(f"SCAN {table}" for table in GROWING))
        and not any(index in step for index in WAITING)
    ]
    assert not scans, plans
