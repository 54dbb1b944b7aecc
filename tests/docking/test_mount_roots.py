"""A mount root that is not there is an alarm for as long as it is not."""

from __future__ import annotations

import contextlib

import pytest

from bodycam_ingest.docking.camera_findings import MountRoots
from tests.support.ledgers import NewLedger


@pytest.fixture
def dock(tmp_path):
    with contextlib.closing(NewLedger(tmp_path)) as made:
        yield made


def watch(dock, roots):
    return MountRoots(dock.engine, dock.ledger, roots)


def told(dock):
    return {row.subject: row.detail for row in dock.open_findings()}


def test_it_comes_goes_and_changes(dock, tmp_path):
    root = tmp_path / "cameras"
    roots = watch(dock, [root, tmp_path])
    roots.look()
    assert list(told(dock)) == [f"mount_root:{root}"]
    assert "no such directory (ENOENT)" in told(dock)[f"mount_root:{root}"]
    assert "cameras.mount_roots" in told(dock)[f"mount_root:{root}"]
    root.write_bytes(b"")
    roots.look()
    assert "is no directory" in told(dock)[f"mount_root:{root}"]
    root.unlink()
    root.mkdir()
    roots.look()
    assert told(dock) == {}
    root.rmdir()
    roots.look()
    assert len(told(dock)) == 1


def test_nothing_is_written_while_nothing_changes(dock, tmp_path):
    roots = watch(dock, [tmp_path / "cameras"])
    roots.look()
    commits = dock.ledger.commits
    for _ in range(3):
        roots.look()
    watch(dock, [tmp_path / "cameras"]).look()
    assert dock.ledger.commits == commits


def test_one_that_left_the_configuration_is_no_alarm_any_more(dock, tmp_path):
    watch(dock, [tmp_path / "cameras"]).look()
    assert len(told(dock)) == 1
    watch(dock, [tmp_path]).look()
    assert told(dock) == {}
