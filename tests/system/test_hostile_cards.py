"""Cards that claim what cannot be: their files are told, and the dock goes on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.support.dock import Dock
from tests.support.plants import hole

MEMORY = Path("/dev/shm")
PEBI = 2**50


@pytest.fixture
def dock():
    """A dock in memory: tmpfs takes files of any length and time."""
    if not os.access(MEMORY, os.W_OK):
        pytest.skip("expected: no file system in memory")
    with tempfile.TemporaryDirectory(prefix="bodycam-card-", dir=MEMORY) as directory:
        made = Dock.ready(Path(directory))
        yield made
        if made.daemon is not None:
            made.stop(kill=True)


@pytest.mark.parametrize(
    "sizes", [[2**53], [PEBI] * 10, [2**62, 2**62, 2**62], [2**63 - 1]], ids=str
)
def test_lengths_that_nothing_holds_stop_neither_the_dock_nor_the_other_files(dock, sizes):
    aside = dock.mnt / ".BAD"
    aside.mkdir()
    (aside / "good.MP4").write_bytes(b"a recording")
    for number, size_bytes in enumerate(sizes):
        hole(aside / f"huge{number}.MP4", size_bytes)
    aside.rename(dock.mnt / "BAD")
    dock.plug("CAM2", {"A.MP4": b"another"})
    with dock.running():
        dock.wait_state("CAM2", "confirmed")
        dock.wait_for(lambda: dock.states()["good.MP4"] == "confirmed")
        dock.wait_for(lambda: "file_size_absurd" in dock.alarms())
        detail = dock.alarms()["file_size_absurd"]["detail"]
        assert "BAD" in detail
        assert "huge0.MP4" in detail
        assert dock.bay("BAD")["state"] == "attention"
        total = int(dock.json("status")["queue"]["items"]["discovered"]["bytes"])
        assert total == sum(sizes)
        dock.unplug("BAD")
        dock.wait_for(lambda: dock.bay("BAD") is None)
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_times_from_1901_to_2400_hold_up_no_file(dock):
    card = dock.plug("CAM1", {f"{year}.MP4": b"%d" % year for year in (1901, 1969, 2026, 2400)})
    for path in card.iterdir():
        at_ns = (int(path.stem) - 1970) * 31_556_952 * 10**9
        os.utime(path, ns=(at_ns, at_ns))
    with dock.running():
        dock.wait_for(lambda: {item["state"] for item in dock.items()} == {"released"})
        assert "camera_clock" in {f["code"] for f in dock.json("findings")}
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"
