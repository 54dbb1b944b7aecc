"""What a large card costs: counted in findings, lines, statements and rows, never in seconds."""

from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa
import structlog

from bodycam_ingest import log
from bodycam_ingest.db import dockings, vanishing
from bodycam_ingest.db.schema import document, finding
from bodycam_ingest.docking import tracker
from bodycam_ingest.errors import AbandonedError, SourceUnreadableError
from bodycam_ingest.model.lifecycle import ItemState
from bodycam_ingest.release.decision import Live
from bodycam_ingest.release.releaser import Releaser
from tests.docking.test_tracker import bench
from tests.support.patching import fail, note

__all__ = ["bench"]

pytestmark = pytest.mark.long

FILES = 2_000
BATCH = 1_000


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
    assert FILES // BATCH <= commits <= FILES // BATCH + 2


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
    (row,) = [row for row in bench.open_findings() if row.code == "item_vanished"]
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
    with monkeypatch.context() as patch:
        fail(patch, vanishing, "record", AbandonedError("cut off"), after=1)
        with pytest.raises(AbandonedError):
            bench.list()
    assert vanished(bench) == BATCH
    bench.pull()
    bench.plug(settle_s=100).list(2)
    assert vanished(bench) == BATCH + 10


def asked_in(bench, act):
    """The statements that an act sends to the database, with their parameters."""
    asked = []

    def note(_conn, _cursor, statement, parameters, _context, _many):
        asked.append((statement, parameters))

    sa.event.listen(bench.engine, "before_cursor_execute", note)
    act()
    sa.event.remove(bench.engine, "before_cursor_execute", note)
    return asked


@pytest.mark.parametrize("count", [3, 300])
def test_what_is_unread_is_read_from_the_database_once_a_listing(bench, count, monkeypatch):
    fill(bench, count)
    bench.plug(settle_s=100).list(3)
    asked = note(monkeypatch, bench.record, "unread_items")
    bench.list(4)
    assert len(asked) == 4


def test_what_is_released_alone_is_asked_once_however_many_dockings_wait(bench, monkeypatch):
    for _ in range(6):
        bench.plug()
        bench.pull()
    live = bench.plug().record.row.docking_id
    gathered = note(monkeypatch, dockings, "inventory_items")
    releaser = Releaser(bench.engine, bench.ledger, ["nas"])
    asked = asked_in(bench, lambda: releaser.tick({live: Live(0, 0)}))
    assert len([one for one in asked if one[0].startswith("SELECT")]) <= 4
    assert gathered == []


def test_what_is_no_file_is_told_once_a_docking_and_kind(bench, monkeypatch):
    monkeypatch.setattr(log, "_threshold", logging.DEBUG)
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
    fail(monkeypatch, tracker, "sample", SourceUnreadableError("EIO"))
    with structlog.testing.capture_logs() as logs:
        bench.plug().list(5)
    (line,) = told(logs, "camera.sample_failed", "warning")
    assert (line["files"], line["error"]) == (20, "source_unreadable")


def test_a_known_card_costs_an_inventory_a_manifest_and_a_few_entries(bench):
    fill(bench, 300)
    bench.docked_once()

    def dock_again():
        bench.plug().list(4)
        bench.pull()

    before = bench.ledger.head.size
    asked = asked_in(bench, dock_again)
    # Docked, inventoried twice, undocked; and the notice that it left early, closed and raised.
    assert bench.ledger.head.size - before == 6
    with bench.engine.connect() as conn:
        documents = conn.execute(sa.select(sa.func.count()).select_from(document)).scalar_one()
    # The first docking's two, and the second's: its two listings found the same.
    assert documents == 4
    # What is asked and written does not grow with the card, but by hundreds at once.
    assert len(asked) < 100
