"""A row that somebody changed beside the program decides nothing: no release, no purge."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from bodycam_ingest.custody.inventory import Line
from bodycam_ingest.db import findings, items
from bodycam_ingest.db.schema import metadata
from bodycam_ingest.model import rows, subjects
from bodycam_ingest.model.evidence import EntryKind, Verdict
from bodycam_ingest.model.rows import KEY_FIELDS, TABLE_NAMES
from bodycam_ingest.release import Live, Releaser
from tests.audit.test_histories import REQUIRED, House, house
from tests.db.test_projected_columns import another
from tests.support import facts
from tests.support.dockbench import CAMERA, DOCKING_ID
from tests.support.ledgers import shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bodycam_ingest.model.rows import Row

__all__ = ["house"]

pytestmark = pytest.mark.long

ALTERED = "state_altered"
COLUMNS = [
    (kind, name)
    for kind in (rows.Item, rows.Upload)
    for name in kind._fields[KEY_FIELDS[kind] :]
    # Where it was seen last says nothing of whether it may go.
    if name not in {"seen_docking_id", "seen_mtime_ns"}
]


@contextlib.contextmanager
def changed(house: House, kind: type[Row], name: str) -> Iterator[None]:
    """As with an SQL shell beside the daemon; put back at the end."""
    table = TABLE_NAMES[kind]
    value = another(metadata.tables[table].c[name])
    with shell(house.bench.directory / "state") as connection:
        before = connection.execute(f"SELECT rowid, {name} FROM {table}").fetchall()
        connection.execute(f"UPDATE {table} SET {name} = {value}")
        assert connection.execute(f"SELECT rowid, {name} FROM {table}").fetchall() != before
    yield
    with shell(house.bench.directory / "state") as connection:
        for rowid, was in before:
            connection.execute(f"UPDATE {table} SET {name} = ? WHERE rowid = ?", (was, rowid))


def test_no_release_on_the_word_of_a_changed_row(house: House) -> None:
    item = house.confirmed()
    for kind, name in COLUMNS:
        with changed(house, kind, name):
            assert house.releaser.tick({}) == 0, name
            # What makes it no candidate any more is told by `verify` alone.
            told = (ALTERED, f"item:{item}") in house.bench.open_alarms()
            assert told or name in {"state", "confirmed_seq"}, name
        with house.bench.ledger.transaction() as txn:
            findings.close_finding(txn, code=ALTERED, subject=subjects.item(item))
    assert house.bench.entries("item.released") == []
    assert house.releaser.tick({}) == 1, "put back, it goes"


def test_no_purge_on_the_word_of_a_changed_row(house: House) -> None:
    item = house.confirmed()
    assert house.releaser.tick({}) == 1
    house.purger.step(REQUIRED)
    house.anchor()
    copy = house.staging / house.bench.item(item).staged_path
    for kind, name in COLUMNS:
        with changed(house, kind, name):
            house.purger.step(REQUIRED)
            assert copy.is_file(), name
        with house.bench.ledger.transaction() as txn:
            items.make_due(txn, [item])
    assert house.bench.entries("item.purged") == []
    house.purger.step(REQUIRED)
    assert not copy.exists(), "put back, it goes"


def listed(house: House, *, final: bool = True) -> Live:
    """The camera is there, and nothing on it moves."""
    lines = [
        Line(row.path, EntryKind.FILE, row.size_bytes, 0, Verdict.NEW, row.item_id)
        for row in map(house.bench.item, house.known)
    ]
    with house.bench.ledger.transaction() as txn:
        facts.inventory_of(txn, CAMERA, DOCKING_ID, lines, final=final)
    return Live(0, 0)


def test_no_release_while_the_ledger_says_that_the_card_was_not_listed(house: House) -> None:
    house.confirmed()
    live = listed(house, final=False)
    assert house.releaser.tick({DOCKING_ID: live}) == 0
    with changed(house, rows.Docking, "inventoried"):
        assert house.releaser.judge(DOCKING_ID, live).release
        looks_anew = Releaser(house.bench.engine, house.bench.ledger, REQUIRED)
        assert looks_anew.tick({DOCKING_ID: live}) == 0
    assert house.bench.entries("item.released") == []
    assert (ALTERED, f"docking:{DOCKING_ID}") in house.bench.open_alarms()


@pytest.mark.parametrize(
    "change",
    [
        "seen_docking_id = 'elsewhere'",
        "state = 'released', confirmed_seq = 1, released_at = discovered_at, released_dock_ms = 1",
    ],
)
def test_no_release_of_a_card_on_which_an_unread_item_was_hidden(house: House, change: str) -> None:
    house.confirmed()
    unread = house.add()
    live = listed(house)
    with shell(house.bench.directory / "state") as connection:
        connection.execute("UPDATE upload SET state = 'confirmed'")
        connection.execute(f"UPDATE item SET {change} WHERE item_id = '{unread}'")
    assert house.releaser.judge(DOCKING_ID, live).release
    assert house.releaser.tick({DOCKING_ID: live}) == 0
    assert house.bench.entries("item.released") == []


def test_a_whole_card_is_released(house: House) -> None:
    house.confirmed()
    assert house.releaser.tick({DOCKING_ID: listed(house)}) == 1


def test_no_release_while_the_ledger_says_that_an_alarm_is_open(house: House) -> None:
    house.confirmed()
    with house.bench.ledger.transaction() as txn:
        findings.alarm(txn, subjects.camera(CAMERA), "c", "d")
    live = listed(house)
    with shell(house.bench.directory / "state") as connection:
        connection.execute("UPDATE finding SET closed_at = opened_at")
    assert house.releaser.judge(DOCKING_ID, live).release
    assert house.releaser.tick({DOCKING_ID: live}) == 0
    assert house.bench.entries("item.released") == []
    assert (ALTERED, f"docking:{DOCKING_ID}") in house.bench.open_alarms()
