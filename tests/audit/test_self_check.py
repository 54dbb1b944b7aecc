"""The daemon looks at its own database at a start, and daily; it signs nothing on top of damage."""

from __future__ import annotations

import pytest

from bodycam_ingest.audit import SelfCheck, self_check
from bodycam_ingest.db import soundness
from bodycam_ingest.db.reading import open_for_reading
from bodycam_ingest.errors import DatabaseDamagedError, Disposition
from tests.support.goldendock import RELEASED, build
from tests.support.patching import note

HIDING = (
    "UPDATE sqlite_master SET sql = 'CREATE INDEX ix_item_sha256 ON item (sha256)' "
    "WHERE name = 'ix_item_sha256'"
)


@pytest.fixture
def dock(tmp_path):
    return build(tmp_path)


def look(dock) -> None:
    engine = open_for_reading(dock.state)
    try:
        SelfCheck(engine).step(lambda _count: None)
    finally:
        engine.dispose()


def test_a_database_as_it_should_be(dock):
    look(dock)


def test_an_index_that_was_made_to_leave_a_row_out(dock):
    dock.sql(
        ("DROP INDEX ix_item_sha256",),
        (f"CREATE INDEX ix_item_sha256 ON item (sha256) WHERE item_id <> '{RELEASED}'",),
        ("PRAGMA writable_schema = ON",),
        (HIDING,),
    )
    with pytest.raises(DatabaseDamagedError, match="ix_item_sha256") as found:
        look(dock)
    assert found.value.disposition is Disposition.HALT


@pytest.mark.parametrize("change", ["DROP INDEX ix_upload_store", "DROP TABLE item_work"])
def test_a_schema_that_is_not_the_programs(dock, change):
    dock.sql((change,))
    with pytest.raises(DatabaseDamagedError, match="missing"):
        look(dock)


def test_it_looks_daily_and_is_seen_to_move(dock, monkeypatch):
    monkeypatch.setattr(self_check, "_STEPS", 1)
    now_s = [1000.0]
    beats: list[int] = []

    monkeypatch.setattr("bodycam_ingest.audit.self_check.time.monotonic", lambda: now_s[0])
    looks = note(monkeypatch, soundness, "schema_faults", lambda _conn: now_s[0])
    engine = open_for_reading(dock.state)
    check = SelfCheck(engine)
    for _ in range(4):
        check.step(beats.append)
        now_s[0] += 12 * 3600
    engine.dispose()
    assert looks == [1000.0, 1000.0 + 24 * 3600]
    assert beats
