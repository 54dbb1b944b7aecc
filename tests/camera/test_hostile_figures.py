"""Whatever a card claims of length, time, name and kind: it is recorded, and nothing breaks."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from bodycam_ingest.camera import files as volume
from bodycam_ingest.camera import listing as scan
from bodycam_ingest.custody.entry import figure, parse_entry, read_figure
from bodycam_ingest.db import views
from bodycam_ingest.db.schema import ledger_entry
from bodycam_ingest.docking.comparison import is_dead_clock
from bodycam_ingest.model.evidence import EntryKind, InventoryEntry
from tests.docking.test_tracker import Bench
from tests.support.recordings import limits_of

LENGTHS = st.one_of(
    st.integers(0, 2**63 - 1), st.sampled_from([2**53 - 1, 2**53, 2**62, 2**63 - 1, 0])
)
TIMES = st.one_of(
    st.integers(-(2**70), 2**70), st.sampled_from([-(2**63) - 1, 2**63, 2**63 - 1, -1, 0])
)
NAMES = st.binary(min_size=1, max_size=255).filter(lambda raw: b"/" not in raw and b"\0" not in raw)


def signature(size_bytes, mtime_ns):
    status = SimpleNamespace(st_size=size_bytes, st_mtime_ns=mtime_ns, st_ino=1, st_dev=1)
    return volume.signature_from(cast("os.stat_result", status))


@st.composite
def entries(draw: Any) -> InventoryEntry:
    kind = draw(st.sampled_from([EntryKind.FILE, EntryKind.FILE, *EntryKind]))
    found = signature(draw(LENGTHS), draw(TIMES)) if kind is EntryKind.FILE else None
    return InventoryEntry(draw(NAMES), kind, found, detail="" if found else "no file")


@pytest.mark.long
@settings(max_examples=25, deadline=None)
@given(st.lists(entries(), max_size=8, unique_by=lambda entry: entry.path))
def test_anything_that_a_stat_gives_reaches_inventory_and_ledger(listed):
    with tempfile.TemporaryDirectory(prefix="bodycam-figures-") as directory:
        bench = Bench(Path(directory)).plug(0.0)
        try:
            fd = os.open(directory, os.O_RDONLY)
            try:
                for now_s in (1.0, 2.0, 3.0):
                    bench.tracker.update(fd, listed, complete=True, now_s=now_s)
            finally:
                os.close(fd)
            bench.pull()
            files = [entry.signature for entry in listed if entry.signature is not None]
            with bench.engine.connect() as conn:
                bodies = conn.execute(
                    sa.select(ledger_entry.c.body).order_by(ledger_entry.c.seq)
                ).scalars()
                read = [parse_entry(body) for body in bodies]
                counts = views.queue_counts(conn)["items"].get("discovered", {"bytes": 0})
            assert counts["bytes"] == sum(found.size_bytes for found in files)
            told = [entry.data for entry in read if entry.type == "camera.inventoried"]
            assert read_figure(told[-1]["bytes"]) == counts["bytes"]
        finally:
            bench.close()


@pytest.mark.parametrize("value", [0, -1, 2**53 - 1, 2**53, -(2**53), 2**63 - 1, 2**80])
def test_a_figure_comes_back_whether_it_stands_as_number_or_as_text(value):
    assert isinstance(figure(value), int) == (abs(value) < 2**53)
    assert read_figure(figure(value)) == value


@pytest.mark.parametrize("year", [1601, 1901, 2400, 99999])
def test_a_time_that_no_clock_shows_is_kept_at_the_bound_and_told_as_one(year):
    mtime_ns = (year - 1970) * 31_556_952 * 10**9
    kept = signature(1, mtime_ns).mtime_ns
    assert -(2**63) <= kept < 2**63
    assert is_dead_clock(kept, 1_773_480_413_589_000_000)


def test_a_negative_length_is_that_entrys_fault(tmp_path, monkeypatch):
    (tmp_path / "A.MP4").write_bytes(b"x")
    (tmp_path / "B.MP4").write_bytes(b"x")
    real = os.stat

    def claimed(path, **more):
        status = real(path, **more)
        if path != b"A.MP4":
            return status
        return SimpleNamespace(st_size=-5, st_mode=status.st_mode, st_dev=status.st_dev)

    monkeypatch.setattr(os, "stat", claimed)
    fd = volume.open_volume(tmp_path)
    try:
        listing = scan.list_volume(fd, limits_of(100, 4096, 24))
    finally:
        os.close(fd)
    assert {e.path: e.kind for e in listing.entries} == {
        b"A.MP4": EntryKind.UNREADABLE,
        b"B.MP4": EntryKind.FILE,
    }
    assert not listing.complete
