"""Purging by the daemon as a process: the last local copy, and what a bad store must not stop."""

from __future__ import annotations

import os
import random
from functools import partial

import pytest

from tests.support.dock import Dock

# A store that takes a question about a recording and does not answer while a file is there.
HANGS = """
import pathlib, sys, time
from bodycam_ingest.stores import directory
confirm = directory.DirectoryStore.confirm
def hanging(self, obj, *rest):
    while obj.key.startswith("evidence/") and pathlib.Path({flag!r}).exists():
        time.sleep(0.05)
    return confirm(self, obj, *rest)
directory.DirectoryStore.confirm = hanging
"""


def released(dock: Dock, count: int) -> dict[str, str]:
    """So many released recordings on the dock; item ids by path. The daemon is stopped after it."""
    files = {f"{n}.MP4": random.Random(n).randbytes(30_000) for n in range(count)}
    dock.plug("CAM1", files)
    with dock.running():
        dock.wait_state("CAM1", "confirmed")
        dock.unplug("CAM1")
    return {item["path"]: item["item_id"] for item in dock.items()}


def anchored_more(dock: Dock, before: int) -> bool:
    return dock.events().count("ledger.anchor_queued") > before


def overwrite(path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


@pytest.mark.parametrize("what", ["zeros", "another with its note"])
def test_a_copy_stays_while_the_store_holds_other_bytes_of_the_same_size(tmp_path, what):
    dock = Dock.ready(tmp_path)
    ids = released(dock, 3)
    by_name = {key.rpartition("/")[2]: dock.store / key for key in dock.stored()}
    bad, other = by_name["0.MP4"], by_name["1.MP4"]
    well = bad.read_bytes()
    note = bad.with_name(f".{bad.name}.meta.json")
    noted = note.read_bytes()
    overwrite(bad, bytes(len(well)) if what == "zeros" else other.read_bytes())
    if what != "zeros":
        overwrite(note, other.with_name(f".{other.name}.meta.json").read_bytes())
    dock.keep_days(0)
    with dock.running():
        dock.wait_for(lambda: dock.states()["2.MP4"] == "purged")
        dock.wait_for(lambda: dock.alarms().keys() == {"purge_held"})
        dock.wait_for(
            lambda: dock.states() == {"0.MP4": "released", "1.MP4": "purged", "2.MP4": "purged"}
        )
        assert dock.events().count("item.purge_held") == 1
        (item,) = [item for item in dock.items() if item["item_id"] == ids["0.MP4"]]
        assert (dock.staging / item["staged_path"]).read_bytes() == well
        broken = dock.run("verify", "--stores", "--json")
        assert broken.returncode == 1
        assert "object_altered" in broken.stdout
        overwrite(bad, well)
        overwrite(note, noted)
        dock.wait_for(lambda: dock.states()["0.MP4"] == "purged")
        assert dock.alarms() == {}
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_a_store_that_hangs_under_a_purge_stops_neither_anchors_nor_commands(tmp_path):
    dock = Dock.ready(tmp_path, extra="[custody]\nanchor_interval_s = 1\n")
    released(dock, 5)
    dock.keep_days(0)
    flag = tmp_path / "hang"
    flag.touch()
    dock.start(changed=HANGS.format(flag=os.fspath(flag)))
    try:
        # The intents are anchored, and the first question about one of them hangs.
        dock.wait_for(
            lambda: (
                dock.json("items")[0]["state"] == "released"
                and "item.purging"
                in [e["type"] for e in dock.json("items", dock.items()[0]["item_id"])["entries"]]
            )
        )
        for _ in range(3):
            anchored = dock.events().count("ledger.anchor_queued")
            dock.ok("retry")
            dock.wait_for(partial(anchored_more, dock, anchored))
        assert set(dock.states().values()) == {"released"}
        flag.unlink()
        dock.wait_for(lambda: set(dock.states().values()) == {"purged"})
    finally:
        assert dock.stop() == 0


def test_a_dead_store_under_announced_purges_is_the_stores_trouble_alone(tmp_path):
    dock = Dock.ready(tmp_path)
    released(dock, 30)
    dock.keep_days(0)
    flag = tmp_path / "hang"
    flag.touch()
    # Announced and anchored first, so that each copy is due when the store dies.
    dock.start(changed=HANGS.format(flag=os.fspath(flag)))
    dock.wait_for(lambda: "ledger.anchor_queued" in dock.events()[-30:])
    dock.wait_for(
        lambda: all(
            "item.purging" in [e["type"] for e in dock.json("items", item["item_id"])["entries"]]
            for item in dock.items()[:1]
        )
    )
    dock.stop(kill=True)
    dock.store.rename(tmp_path / "gone")
    dock.log.write_text("")
    with dock.running():
        dock.wait_for(lambda: "store.paused" in dock.events())
        dock.ok("retry")
        for _ in range(20):
            dock.wait_for(lambda: dock.json("status")["stores"])
        assert "item.purge_held" not in dock.events()
        assert dock.alarms().keys() <= {"store_unreachable"}
        assert set(dock.states().values()) == {"released"}
        (tmp_path / "gone").rename(dock.store)
        dock.wait_for(lambda: set(dock.states().values()) == {"purged"})
        assert dock.alarms() == {}
