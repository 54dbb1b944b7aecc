"""`ingest`: one directory taken in by hand, with no daemon."""

from __future__ import annotations

import os
import random
import re

import pytest

from tests.support.dock import NO_ROOM, RESERVE, Dock, sha256
from tests.support.terminal import on_a_terminal


@pytest.fixture
def dock(tmp_path):
    return Dock.ready(tmp_path / "dock")


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\s+", " ", text)


def test_a_rescued_directory_becomes_confirmed_evidence_and_a_second_pass_copies_nothing(
    dock, tmp_path
):
    rescue = tmp_path / "card"
    files = {f"DCIM/{n}.MP4": random.Random(n).randbytes(300_000) for n in range(4)}
    for name, data in files.items():
        (rescue / name).parent.mkdir(parents=True, exist_ok=True)
        (rescue / name).write_bytes(data)
    before = {p: p.stat().st_mtime_ns for p in rescue.rglob("*")}
    report = dock.json("ingest", str(rescue), "--camera", "X81 / 7")
    assert report["whole"]
    assert {taken["path"]: taken["sha256"] for taken in report["taken"]} == {
        name: sha256(data) for name, data in files.items()
    }
    assert report["read_bytes"] == sum(len(data) for data in files.values())
    assert report["seconds"] > 0
    assert sum(report["states"].values()) == 4
    assert set(report["states"]) <= {"confirmed", "released"}
    assert sorted(dock.stored().values()) == sorted(map(sha256, files.values()))
    assert {p: p.stat().st_mtime_ns for p in rescue.rglob("*")} == before

    again = dock.json("ingest", str(rescue), "--camera", "X81 / 7")
    assert again["whole"]
    assert again["taken"] == []
    assert again["camera"] == report["camera"]
    assert len(dock.items()) == 4
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_without_upload_the_items_wait_for_the_daemon(dock, tmp_path):
    rescue = tmp_path / "card"
    rescue.mkdir()
    (rescue / "A.MP4").write_bytes(b"clip")
    report = dock.json("ingest", str(rescue), "--camera", "CAM1", "--no-upload")
    assert report["states"] == {"verified": 1}
    (rescue / "B.MP4").write_bytes(b"another clip")
    code, text = on_a_terminal(
        "ingest", str(rescue), "--camera", "CAM1", "--no-upload", env=dock.env
    )
    assert code == 0
    assert "1 recording taken, 1 recording known before; 12 B read and verified in" in plain(text)
    assert "Reading" in text
    assert not dock.stored()
    with dock.running():
        dock.wait_for(lambda: dock.items()[0]["state"] == "released")


def test_what_cannot_be_read_is_named_and_the_rest_is_taken(dock, tmp_path):
    rescue = tmp_path / "card"
    rescue.mkdir()
    (rescue / "A.MP4").write_bytes(os.urandom(1000))
    dock.edit(RESERVE, NO_ROOM)
    done = dock.run("ingest", str(rescue), "--camera", "CAM1")
    assert done.returncode == 1
    assert "NOT TAKEN" in done.stdout
    assert "staging_full" in done.stdout


@pytest.mark.parametrize("arguments", [["nowhere", "--camera", "CAM1"], [".", "--camera", " "]])
def test_wrong_use_says_so_and_records_nothing(dock, arguments):
    size = dock.json("status")["ledger"]["size"]
    done = dock.run("ingest", *arguments)
    assert done.returncode == 2
    assert dock.json("status")["ledger"]["size"] == size


def test_beside_a_running_daemon_it_refuses(dock, tmp_path):
    with dock.running():
        done = dock.run("ingest", str(tmp_path), "--camera", "CAM1")
        assert done.returncode == 12
        assert "mount_roots" in done.stderr
