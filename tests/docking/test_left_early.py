"""Cameras that left before all was copied: told once, whoever saw it, until they bring the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from bodycam_ingest.camera.sources.volume import MountedVolume
from bodycam_ingest.db import dockings, findings
from bodycam_ingest.docking import undock
from bodycam_ingest.docking.record import DockingRecord
from bodycam_ingest.docking.undock import DockContext, end_docking
from bodycam_ingest.model import subjects
from tests.support.ledgers import NewLedger


class Station(NewLedger):
    """A ledger on which cameras come and go."""

    def __init__(self, tmp_path):
        super().__init__(tmp_path)
        self.dock = DockContext("dock-1", self.engine, self.ledger, [("nas", True)])

    def docked(self, volume="", *, whole=False):
        mounted = MountedVolume("X812", "1", volume, Path("/mnt/X812"), 1, 0)
        record = DockingRecord.begin(self.dock, mounted, "X812", profile="")
        if whole:
            record.inventoried(complete=True, final=True)
        return record

    def end(self, record, reason="removed"):
        end_docking(self.dock, record.row.docking_id, reason)

    def told(self):
        return [(row.code, row.docking_id) for row in self.open_findings()]

    def complete(self, record):
        with self.engine.connect() as conn:
            return dockings.get(conn, record.row.docking_id).complete


@pytest.fixture
def station(tmp_path):
    made = Station(tmp_path)
    yield made
    made.close()


@pytest.fixture
def absentees(station, monkeypatch):
    monkeypatch.setattr(undock, "_GRACE_S", 0.0)
    return lambda: undock.Absentees(station.engine, station.ledger).tick()


@pytest.mark.parametrize("reason", ["daemon_restarted", "fault", "finished"])
def test_only_a_camera_that_went_left_early(station, reason):
    station.end(station.docked(), reason)
    assert station.told() == []


def test_the_newest_docking_is_told(station):
    station.end(station.docked())
    second = station.docked()
    station.end(second)
    assert station.told() == [("left_early", second.row.docking_id)]


@pytest.mark.parametrize("seen_end", [True, False])
def test_a_complete_docking_closes_it(station, seen_end):
    station.end(station.docked())
    second = station.docked(whole=True)
    if seen_end:
        station.end(second)
    else:
        second.all_copied()
    assert station.told() == []


def test_another_volume_of_the_camera_does_not_make_it_good(station):
    first = station.docked("a")
    station.end(first)
    station.end(station.docked("b", whole=True))
    assert station.told() == [("left_early", first.row.docking_id)]
    station.end(station.docked("a", whole=True))
    assert station.told() == []


def test_what_could_not_be_listed_at_the_end_is_not_complete(station):
    record = station.docked(whole=True)
    record.alarm("camera_unlistable", "EACCES")
    station.end(record)
    assert station.told() == [("left_early", record.row.docking_id)]
    assert not station.complete(record)


def test_a_camera_pulled_while_no_daemon_ran_is_told_once(station, absentees):
    record = station.docked()
    station.end(record, "daemon_restarted")
    absentees()
    assert station.told() == [("left_early", record.row.docking_id)]
    with station.ledger.transaction() as txn:
        findings.close_about(txn, subject=subjects.camera("X812"))
    absentees()
    assert station.told() == []


def test_a_camera_that_is_docked_again_after_the_restart_is_not(station, absentees):
    station.end(station.docked(), "daemon_restarted")
    station.docked()
    absentees()
    assert station.told() == []


def test_a_rescued_directory_left_nothing(station, absentees):
    station.end(station.docked(), "finished")
    absentees()
    assert station.told() == []


def test_nothing_is_told_before_every_camera_had_the_time_to_come_back(station):
    station.end(station.docked(), "daemon_restarted")
    undock.Absentees(station.engine, station.ledger).tick()
    assert station.told() == []
