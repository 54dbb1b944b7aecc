"""What a large card costs: counted in findings, lines, statements and rows, never in seconds."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
import structlog

from bodycam_ingest.db import agenda, dockings, vanishing
from bodycam_ingest.db.schema import finding, inventory, item
from bodycam_ingest.docking import tracker
from bodycam_ingest.errors import AbandonedError, SourceUnreadableError
from bodycam_ingest.model.lifecycle import ItemState
from bodycam_ingest.release.decision import Live
from bodycam_ingest.release.releaser import Releaser
from tests.docking.test_tracker import Bench
from tests.support.facts import item_values

pytestmark = pytest.mark.long

FILES = 2_000
BATCH = 1_000
T = "2026-03-14T09:26:53.589Z"


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.close()


def fill(bench, count):
    for number in range(count):
        bench.write(f"{number:04}.MP4")


def format_card(bench):
    for path in bench.root.iterdir():
        path.unlink()


def told(logs, event, *levels):
    return [line for line in logs if line["event"] == event and line["log_level"] in levels]


def vanished(bench):
    return sum(row.state is ItemState.VANISHED for row in bench.items())


def test_a_formatted_card_is_one_finding_and_one_line(bench):
    fill(bench, FILES)
    bench.plug(settle_s=100).list()
    bench.pull()
    format_card(bench)
    bench.plug(settle_s=100).list()
    before = bench.ledger.commits
    with structlog.testing.capture_logs() as logs:
        bench.list()
        commits = bench.ledger.commits - before
        bench.list(3)
    assert vanished(bench) == FILES
    assert bench.entries("item.vanished") == FILES
    with bench.engine.connect() as conn:
        codes = list(conn.execute(sa.select(finding.c.code)).scalars())
    assert codes.count("item_vanished") == 1
    assert bench.findings()["item_vanished"].startswith("2,000 recordings ")
    (line,) = told(logs, "item.vanished", "error")
    assert line["items"] == FILES
    assert len([one for one in logs if one["log_level"] != "debug"]) <= 4
    # In parts, so that no transaction grows with the card; but in few.
    assert 2 * FILES // BATCH <= commits <= 2 * FILES // BATCH + 2


def test_the_finding_counts_what_goes_later_and_closes_once_all_are_back(bench):
    fill(bench, 4)
    bench.plug(settle_s=100).list()
    for name in ("0000.MP4", "0001.MP4"):
        (bench.root / name).unlink()
    bench.list(2)
    assert "2 recordings" in bench.findings()["item_vanished"]
    (bench.root / "0002.MP4").unlink()
    bench.list(2)
    assert "3 recordings" in bench.findings()["item_vanished"]
    with bench.engine.connect() as conn:
        still = conn.execute(sa.select(finding).where(finding.c.closed_at.is_(None))).all()
    (row,) = [row for row in still if row.code == "item_vanished"]
    assert row.docking_id == bench.record.row.docking_id
    for name, left in (("0000.MP4", True), ("0001.MP4", True), ("0002.MP4", False)):
        bench.write(name)
        bench.pull()
        bench.plug(settle_s=100).list()
        assert ("item_vanished" in bench.findings()) is left
    assert vanished(bench) == 0


def test_a_step_that_was_cut_off_is_gone_on_with_by_the_next_docking(bench, monkeypatch):
    fill(bench, BATCH + 10)
    bench.plug(settle_s=100).list()
    format_card(bench)
    bench.list()
    record, calls = vanishing.record, []

    def once(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise AbandonedError("cut off")
        record(*arguments)

    monkeypatch.setattr(vanishing, "record", once)
    with pytest.raises(AbandonedError):
        bench.list()
    assert vanished(bench) == BATCH
    bench.pull()
    bench.plug(settle_s=100).list(2)
    assert vanished(bench) == BATCH + 10


@pytest.mark.parametrize("count", [3, 300])
def test_what_is_unread_is_read_from_the_database_once_a_listing(bench, count, monkeypatch):
    fill(bench, count)
    bench.plug(settle_s=100).list(3)
    asked = []
    unread_items = bench.record.unread_items

    def ask():
        asked.append(1)
        return unread_items()

    monkeypatch.setattr(bench.record, "unread_items", ask)
    bench.list(4)
    assert len(asked) == 4


def test_the_items_on_docked_cameras_are_gathered_once_however_many_dockings_wait(
    bench, monkeypatch
):
    waiting = []
    for _ in range(6):
        waiting.append(bench.plug().record.row.docking_id)
        bench.pull()
    live = bench.plug().record.row.docking_id
    monkeypatch.setattr(agenda, "dockings_to_release", lambda _conn: waiting)
    gathered = []
    inventory_items = dockings.inventory_items

    def count(conn, docking_id):
        gathered.append(docking_id)
        return inventory_items(conn, docking_id)

    monkeypatch.setattr(dockings, "inventory_items", count)
    assert Releaser(bench.engine, bench.ledger, ["nas"]).tick({live: Live(0, 0)}) == 0
    assert set(waiting) <= set(gathered)
    assert gathered.count(live) == 1


def test_what_is_no_file_is_told_once_a_docking_and_kind(bench):
    for number in range(30):
        (bench.root / f"link{number:02}").symlink_to("/etc")
    with structlog.testing.capture_logs() as logs:
        bench.plug().list(2)
        (bench.root / "later").symlink_to("/etc")
        bench.list(2)
    (line,) = told(logs, "camera.entry_ignored", "warning")
    assert (line["files"], line["kind"], line["path"]) == (30, "symlink", "link00")
    assert len(told(logs, "camera.entry_ignored", "debug")) == 1


def test_files_that_cannot_be_compared_are_told_once_a_docking_and_fault(bench, monkeypatch):
    fill(bench, 20)
    bench.docked_once()

    def failing(_root_fd, path, _stamp):
        raise SourceUnreadableError(f"{path!r}: EIO")

    monkeypatch.setattr(tracker, "sample", failing)
    with structlog.testing.capture_logs() as logs:
        bench.plug().list(5)
    (line,) = told(logs, "camera.sample_failed", "warning")
    assert (line["files"], line["error"]) == (20, "source_unreadable")


def steps_of_last_seen(bench, count, per_step=100):
    """Instructions of SQLite for the times last seen of a camera with so many files, in steps."""
    docking_id = bench.plug().record.row.docking_id
    ids = [f"{number:026}" for number in range(count)]
    with bench.ledger.transaction() as txn:
        # It goes from docking to docking; an index by item must not be what keeps it cheap.
        txn.conn.exec_driver_sql("DROP INDEX ix_inventory_item_id")
        common = {"docking_id": docking_id, "size_bytes": 1, "mtime_ns": 1}
        txn.conn.execute(
            item.insert(),
            [
                item_values(
                    one, "X812", docking_id, one.encode(), state="discovered", discovered_at=T
                )
                for one in ids
            ],
        )
        txn.conn.execute(
            inventory.insert(),
            [
                {**common, "item_id": one, "path": one.encode(), "kind": "file", "verdict": "new"}
                for one in ids
            ],
        )
    steps = 0

    def count_step():
        nonlocal steps
        steps += 1

    with bench.engine.connect() as conn:
        driver = conn.connection.dbapi_connection
        driver.set_progress_handler(count_step, per_step)
        assert len(dockings.last_seen_mtimes(conn, "X812", "")) == count
        driver.set_progress_handler(None, per_step)
    return steps


def test_the_times_last_seen_cost_a_docking_in_proportion_to_its_files(tmp_path):
    counted = []
    for count in (500, 2_000):
        (tmp_path / str(count)).mkdir()
        bench = Bench(tmp_path / str(count))
        counted.append(steps_of_last_seen(bench, count))
        bench.close()
    few, many = counted
    assert few > 0
    assert many <= 5 * few
