"""A mount root that is not there is an alarm for as long as it is not."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from bodycam_ingest.db.schema import finding
from bodycam_ingest.db.state_dir import initialise, open_ledger
from bodycam_ingest.docking.camera_findings import MountRoots

ORIGIN = "police.example.org/dock-1"


@pytest.fixture
def ledger(tmp_path):
    initialise(tmp_path / "state", ORIGIN)
    engine, ledger = open_ledger(tmp_path / "state", ORIGIN)
    yield engine, ledger
    ledger.close()
    engine.dispose()


def watch(ledger, roots):
    engine, writer = ledger
    return MountRoots(engine, writer, roots)


def told(ledger):
    engine, _ = ledger
    with engine.connect() as conn:
        query = sa.select(finding).where(finding.c.closed_at.is_(None))
        return {row.subject: row.detail for row in conn.execute(query)}


def test_it_comes_goes_and_changes(ledger, tmp_path):
    root = tmp_path / "cameras"
    roots = watch(ledger, [root, tmp_path])
    roots.look()
    assert list(told(ledger)) == [f"mount_root:{root}"]
    assert "no such directory (ENOENT)" in told(ledger)[f"mount_root:{root}"]
    assert "cameras.mount_roots" in told(ledger)[f"mount_root:{root}"]
    root.write_bytes(b"")
    roots.look()
    assert "is no directory" in told(ledger)[f"mount_root:{root}"]
    root.unlink()
    root.mkdir()
    roots.look()
    assert told(ledger) == {}
    root.rmdir()
    roots.look()
    assert len(told(ledger)) == 1


def test_nothing_is_written_while_nothing_changes(ledger, tmp_path):
    _, writer = ledger
    roots = watch(ledger, [tmp_path / "cameras"])
    roots.look()
    commits = writer.commits
    for _ in range(3):
        roots.look()
    watch(ledger, [tmp_path / "cameras"]).look()
    assert writer.commits == commits


def test_one_that_left_the_configuration_is_no_alarm_any_more(ledger, tmp_path):
    watch(ledger, [tmp_path / "cameras"]).look()
    assert len(told(ledger)) == 1
    watch(ledger, [tmp_path]).look()
    assert told(ledger) == {}
