"""What stands in the tables of work may be lost at any time: nothing but time is lost with it."""

from __future__ import annotations

from tests.support.ledgers import sql

WORK = ("item_work", "upload_work", "upload_part", "store_work")


def test_a_dock_without_its_work_tables_rows_finishes_what_was_begun(dock, tmp_path):
    (tmp_path / "store").rename(tmp_path / "away")
    with dock.running():
        dock.plug("CAM1", {"A.MP4": b"a" * 5000, "B.MP4": b"b" * 10})
        dock.wait_state("CAM1", "copied")
    (tmp_path / "away").rename(tmp_path / "store")
    sql(dock.state_dir, *(f"DELETE FROM {table}" for table in WORK))
    with dock.running():
        dock.wait_state("CAM1", "confirmed")
    dock.ok("verify", "--files", "--stores")
