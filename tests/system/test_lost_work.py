"""What stands in the tables of work may be lost at any time: nothing but time is lost with it."""

from __future__ import annotations

import sqlite3

from tests.support.dock import DIRECTORY_STORE, Dock

WORK = ("item_work", "upload_work", "upload_part", "store_work")


def test_a_dock_without_its_work_tables_rows_finishes_what_was_begun(tmp_path):
    dock = Dock(tmp_path, stores=DIRECTORY_STORE)
    (tmp_path / "store").mkdir()
    dock.init()
    (tmp_path / "store").rename(tmp_path / "away")
    with dock.running():
        dock.plug("CAM1", {"A.MP4": b"a" * 5000, "B.MP4": b"b" * 10})
        dock.wait_state("CAM1", "copied")
    (tmp_path / "away").rename(tmp_path / "store")
    connection = sqlite3.connect(tmp_path / "state/bodycam.db")
    with connection:
        for table in WORK:
            connection.execute(f"DELETE FROM {table}")
    connection.close()
    with dock.running():
        dock.wait_state("CAM1", "confirmed")
    dock.ok("verify", "--files", "--stores")
