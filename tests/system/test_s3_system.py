"""Three cameras at once, sixty recordings, a real S3 server over TLS, a daemon that dies midway."""

from __future__ import annotations

import collections
import hashlib
import json

import pytest

from bodycam_ingest.demo.cards import make_clip
from tests.support.dock import Dock

pytestmark = pytest.mark.timeout(400)

MIB = 1024 * 1024


def test_sixty_recordings_survive_a_daemon_that_is_killed_and_one_that_is_stopped(
    tmp_path, seaweed
):
    dock = Dock(tmp_path, stores=seaweed.table(tmp_path, "sixty"))
    dock.init()
    cards = {
        f"CAM{camera}": {
            f"DCIM/100MEDIA/MOV{n:04}.MP4": make_clip(
                100 * camera + n, size_bytes=6 * MIB if n % 10 == 0 else 150_000
            )
            for n in range(20)
        }
        for camera in range(3)
    }
    for camera, files in cards.items():
        dock.plug(camera, files)
    dock.start()
    dock.wait_for(lambda: "upload.confirmed" in dock.events())
    dock.stop(kill=True)
    seen = len(dock.events())
    dock.start(wait=False)
    dock.wait_for(lambda: "upload.confirmed" in dock.events()[seen:])
    assert dock.stop() == 0
    with dock.running():
        for camera in cards:
            assert dock.wait_state(camera, "confirmed", timeout_s=180)["release"]
        for camera in cards:
            dock.unplug(camera)
        dock.wait_for(lambda: not dock.json("status")["bays"])
        dock.wait_for(lambda: list(dock.json("status")["queue"]["objects"]) == ["confirmed"])

    expected = sorted(hashlib.sha256(d).hexdigest() for f in cards.values() for d in f.values())
    items = dock.items()
    assert sorted(item["sha256"] for item in items) == expected
    assert collections.Counter(item["state"] for item in items) == {"released": 60}
    stored = dict(seaweed.objects("sixty/evidence/"))
    evidence = {k: v for k, v in stored.items() if not k.endswith("/manifest.json")}
    assert sorted(hashlib.sha256(body).hexdigest() for body in evidence.values()) == expected
    assert seaweed.uploads(prefix="sixty/") == []
    named = {
        line["sha256"]
        for key, body in stored.items()
        if key.endswith("/manifest.json")
        for line in json.loads(body)["entries"]
        if line["item_id"]
    }
    assert named == set(expected)
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_a_store_that_is_down_holds_up_neither_the_other_store_nor_the_copying(tmp_path, seaweed):
    (tmp_path / "store").mkdir()
    nas = '[[stores]]\nname = "nas"\ntype = "directory"\npath = "store"\n'
    dock = Dock(tmp_path, stores=nas + seaweed.table(tmp_path, "down"))
    dock.init()
    seaweed.stop()
    try:
        dock.plug("CAM1", {"A.MP4": make_clip(1), "B.MP4": make_clip(2)})
        dock.start()
        dock.wait_state("CAM1", "copied")
        dock.wait_for(lambda: {i["stores"]["nas"]["state"] for i in dock.items()} == {"confirmed"})
        failing = dock.wait_for(
            lambda: [s for s in dock.json("status")["stores"] if s["last_error"]]
        )
        assert [(s["store"], s["last_error"]) for s in failing] == [("cloud", "store_unreachable")]
        assert dock.wait_state("CAM1", "copied")["release"] is False
    finally:
        seaweed.start()
    dock.wait_state("CAM1", "confirmed", timeout_s=120)
    assert dock.json("status")["alarms"] == []
    assert dock.stop() == 0
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_wrong_credentials_are_an_alarm_at_once_and_nothing_is_lost(tmp_path, seaweed):
    dock = Dock(tmp_path, stores=seaweed.table(tmp_path, "wrong"))
    dock.init()
    keys = tmp_path / "keys.ini"
    right = keys.read_text()
    keys.write_text(right.replace(seaweed.secret_key, "0" * 32))
    keys.chmod(0o600)
    dock.plug("CAM1", {"A.MP4": make_clip(1)})
    with dock.running():
        dock.wait_for(
            lambda: {a["code"] for a in dock.json("status")["alarms"]} == {"store_credentials"}
        )
        assert dock.wait_state("CAM1", "copied")["release"] is False
        keys.write_text(right)
        keys.chmod(0o600)
        dock.ok("retry")
        dock.wait_state("CAM1", "confirmed")
        assert dock.json("status")["alarms"] == []
