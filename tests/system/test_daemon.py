"""The daemon as a process on folders: what an officer and an admin would lose if it broke."""

from __future__ import annotations

import os
import random
import signal

from tests.support.dock import NO_ROOM, RESERVE, Dock, sha256


def content(seed: int, size: int = 40_000) -> bytes:
    return random.Random(seed).randbytes(size)


def test_a_card_becomes_confirmed_evidence_and_a_second_docking_takes_only_what_is_new(dock):
    first = {"DCIM/A.MP4": content(1, 700_000), "DCIM/B.MP4": content(2), "empty.log": b""}
    dock.plug("CAM1", first)
    with dock.running():
        bay = dock.wait_state("CAM1", "confirmed")
        assert bay["release"]
        dock.wait_for(lambda: {item["state"] for item in dock.items()} == {"released"})
        items = {item["path"]: item for item in dock.items()}
        assert {path: item["sha256"] for path, item in items.items()} == {
            path: sha256(data) for path, data in first.items()
        }

        aside = dock.unplug("CAM1")
        dock.wait_for(lambda: dock.bay("CAM1") is None)
        (aside / "DCIM" / "B.MP4").unlink()
        (aside / "DCIM" / "A.MP4").write_bytes(content(3, 700_000))
        (aside / "DCIM" / "C.MP4").write_bytes(content(4))
        dock.replug("CAM1")
        dock.wait_for(lambda: len(dock.items()) == 5)
        dock.wait_state("CAM1", "confirmed")
    digests = sorted(item["sha256"] for item in dock.items())
    assert digests == sorted(
        sha256(data) for data in [*first.values(), content(3, 700_000), content(4)]
    )
    assert sorted(dock.stored().values()) == digests
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_a_file_that_still_grows_is_not_read_and_holds_the_camera(dock):
    card = dock.plug("CAM1", {"A.MP4": b"begin"})
    # Held open before the daemon runs: it reads what stands still before it says that it is up.
    with (card / "A.MP4").open("ab") as camera, dock.running():
        dock.wait_for(lambda: dock.bay("CAM1"))
        for _ in range(20):
            camera.write(b"more")
            camera.flush()
            bay = dock.bay("CAM1")
            assert bay["state"] == "reading", bay
            if len([e for e in dock.events() if e == "camera.inventoried"]) >= 2:
                break
        assert "item.acquired" not in dock.events()
        camera.close()
        dock.wait_state("CAM1", "confirmed")
    (item,) = dock.items()
    assert item["sha256"] == sha256((card / "A.MP4").read_bytes())


def test_a_file_seen_and_never_read_that_disappears_is_an_alarm(dock):
    card = dock.plug("CAM1", {"A.MP4": content(1), "B.MP4": content(2)})
    # No room for anything: items are seen, and cannot be read.
    dock.edit(RESERVE, NO_ROOM)
    with dock.running():
        bay = dock.wait_state("CAM1", "attention")
        assert any("staging_full" in reason for reason in bay["reasons"])
        (card / "A.MP4").unlink()
        dock.wait_for(lambda: "item.vanished" in dock.events())
        assert dock.alarms().keys() >= {"staging_full", "item_vanished"}
        # Space comes back: work goes on by itself, and the alarm about the lost item stays.
        dock.edit(NO_ROOM, RESERVE)
        dock.signal(signal.SIGHUP)
        dock.wait_for(lambda: dock.states()["B.MP4"] == "confirmed")
        bay = dock.wait_state("CAM1", "attention")
        assert not bay["release"]
        assert dock.alarms().keys() == {"item_vanished"}
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_a_camera_pulled_in_the_middle_goes_on_where_it_was(dock):
    files = {f"DCIM/{n:04}.MP4": content(n) for n in range(30)}
    dock.plug("CAM1", files)
    with dock.running():
        dock.wait_for(
            lambda: "item.acquired" in dock.events() or "item.discovered" in dock.events()
        )
        dock.unplug("CAM1")
        dock.wait_for(lambda: "camera.undocked" in dock.events())
        dock.replug("CAM1")
        dock.wait_state("CAM1", "confirmed")
    assert sorted(dock.stored().values()) == sorted(map(sha256, files.values()))
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_two_daemons_never_share_a_ledger(dock):
    with dock.running():
        second = dock.run("run")
        assert second.returncode == 12
        assert "another process" in second.stderr


def test_run_creates_nothing(tmp_path):
    made = Dock(tmp_path)
    refused = made.run("run")
    assert refused.returncode == 10
    assert "bodycam-ingest init" in refused.stderr
    assert not made.state_dir.exists()


def test_init_never_touches_an_existing_state(dock):
    before = {p: p.read_bytes() for p in dock.state_dir.rglob("*") if p.is_file()}
    again = dock.run("init")
    assert again.returncode == 11
    assert "exists already" in again.stderr
    assert {p: p.read_bytes() for p in dock.state_dir.rglob("*") if p.is_file()} == before


def test_sigterm_ends_it_within_ten_seconds_in_the_middle_of_a_large_copy(dock):
    dock.plug("CAM1", {"A.MP4": os.urandom(1000) * 200_000})
    dock.start()
    dock.wait_for(lambda: "item.discovered" in dock.events())
    assert dock.stop(timeout_s=10) == 0
    assert not list(dock.staging.rglob("*.part"))
    with dock.running():
        dock.wait_state("CAM1", "confirmed", timeout_s=90)
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_an_admin_sets_an_item_apart_and_takes_it_back(dock):
    dock.plug("CAM1", {"A.MP4": content(1)})
    dock.store.joinpath(".bodycam-store").rename(dock.root / "marker")
    with dock.running():
        dock.wait_state("CAM1", "copied")
        (item,) = dock.items()
        dock.ok("quarantine", "add", item["item_id"], "--reason", "wrong officer")
        bay = dock.wait_state("CAM1", "attention")
        assert not bay["release"]
        dock.ok("quarantine", "reinstate", item["item_id"])
        (dock.root / "marker").rename(dock.store / ".bodycam-store")
        dock.ok("retry")
        dock.wait_state("CAM1", "confirmed")
    history = dock.json("items", item["item_id"])["entries"]
    moves = [(entry["type"], entry["actor"]["kind"]) for entry in history]
    assert ("item.quarantined", "user") in moves
    assert ("item.reinstated", "user") in moves
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"
