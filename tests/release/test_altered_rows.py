"""A row that somebody changed beside the program decides nothing: no release, no purge."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from bodycam_ingest.custody import entries
from bodycam_ingest.db import findings
from bodycam_ingest.db.schema import metadata
from bodycam_ingest.model import rows
from bodycam_ingest.model.rows import KEY_FIELDS, TABLE_NAMES
from bodycam_ingest.release import Live
from tests.audit.test_histories import REQUIRED, House, house
from tests.db.test_projected_columns import another
from tests.support.dockbench import CAMERA, DOCKING_ID

if TYPE_CHECKING:
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


def change(house: House, kind: type[Row], name: str) -> None:
    """As with an SQL shell beside the daemon."""
    table = TABLE_NAMES[kind]
    value = another(metadata.tables[table].c[name])
    connection = sqlite3.connect(house.bench.directory / "state/bodycam.db")
    try:
        with connection:
            connection.execute(f"UPDATE {table} SET {name} = {value}")
    finally:
        connection.close()


def confirmed(house: House) -> str:
    """An item that may be released."""
    item: str = house.add()
    house.send_all()
    house.anchors.tick()
    house.send_all()
    return item


@pytest.mark.parametrize(("kind", "name"), COLUMNS, ids=lambda one: getattr(one, "__name__", one))
def test_no_release_on_the_word_of_a_changed_row(house: House, kind: type[Row], name: str) -> None:
    item = confirmed(house)
    change(house, kind, name)
    assert house.releaser.tick({}) == 0
    assert house.bench.entries("item.released") == []
    # What makes it no candidate any more is told by `verify` alone.
    if name not in {"state", "confirmed_seq"}:
        assert (ALTERED, f"item:{item}") in house.bench.open_alarms()
    assert "row_differs" in {finding.code for finding in house.verify(everything=False).findings}


@pytest.mark.parametrize(("kind", "name"), COLUMNS, ids=lambda one: getattr(one, "__name__", one))
def test_no_purge_on_the_word_of_a_changed_row(house: House, kind: type[Row], name: str) -> None:
    item = confirmed(house)
    assert house.releaser.tick({}) == 1
    house.retention.step(REQUIRED)
    house.anchors.tick()
    house.send_all()
    copy = house.staging / house.bench.item(item).staged_path
    change(house, kind, name)
    house.retention.step(REQUIRED)
    assert copy.is_file()
    assert house.bench.entries("item.purged") == []


def listed(house: House) -> Live:
    """The camera is there, and nothing on it moves."""
    with house.bench.ledger.transaction() as txn:
        txn.add(
            entries.camera_inventoried(
                CAMERA,
                docking_id=DOCKING_ID,
                entries=1,
                files=1,
                size_bytes=1,
                newest_mtime_ns=0,
                verdicts={"new": 1},
                inventory_sha256="0" * 64,
                complete=True,
                final=False,
                hour_shift=0,
            )
        )
    return Live(0, 0)


def test_no_release_while_the_ledger_says_that_the_card_was_not_listed(house: House) -> None:
    confirmed(house)
    live = listed(house)
    assert house.releaser.tick({DOCKING_ID: live}) == 0
    change(house, rows.Docking, "inventoried")
    assert house.releaser.judge(DOCKING_ID, live).release
    assert house.releaser.tick({DOCKING_ID: live}) == 0
    assert house.bench.entries("item.released") == []


def test_no_release_while_the_ledger_says_that_an_alarm_is_open(house: House) -> None:
    confirmed(house)
    with house.bench.ledger.transaction() as txn:
        findings.raise_finding(
            txn, code="c", severity="alarm", subject=f"camera:{CAMERA}", detail="d"
        )
    connection = sqlite3.connect(house.bench.directory / "state/bodycam.db")
    with connection:
        connection.execute("UPDATE finding SET closed_at = opened_at")
        connection.execute("UPDATE docking SET inventoried = 1")
    connection.close()
    assert house.releaser.judge(DOCKING_ID, Live(0, 0)).release
    assert house.releaser.tick({DOCKING_ID: Live(0, 0)}) == 0
    assert house.bench.entries("item.released") == []
    assert (ALTERED, f"docking:{DOCKING_ID}") in house.bench.open_alarms()
