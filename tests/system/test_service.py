"""What systemd hears, what a reload changes, what is purged: the daemon as a service."""

from __future__ import annotations

import os
import random
import signal
import socket
import time

import pytest

from bodycam_ingest.config import digest, load, settings
from bodycam_ingest.db.reading import open_for_reading
from tests.support import ledgers
from tests.support.dock import Dock, sha256


@pytest.fixture
def manager(tmp_path):
    """A service manager's end of the notification socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        path = tmp_path / "notify"
        sock.bind(str(path))
        sock.settimeout(30)
        yield sock, path


def made(root, **options) -> Dock:
    return Dock.ready(root / "dock", **options)


def test_systemd_hears_ready_then_pings_then_stopping(tmp_path, manager):
    sock, path = manager
    dock = made(tmp_path, env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"})
    with dock.running():
        # How the dock stands may be told before that it is up.
        while "READY=1" not in sock.recv(4096).decode().splitlines():
            pass
        heard = [sock.recv(4096) for _ in range(4)]
        assert heard.count(b"WATCHDOG=1") >= 3
    while (last := sock.recv(4096).decode()) == "WATCHDOG=1" or last.startswith("STATUS="):
        pass
    assert last == "STOPPING=1"


def test_systemd_shows_cameras_alarms_and_failing_stores(tmp_path, manager):
    sock, path = manager
    dock = made(tmp_path, env={"NOTIFY_SOCKET": str(path)})

    def hear(*words, without="nothing"):
        said = ""
        while without in said or not all(word in said for word in words):
            said = sock.recv(4096).decode()

    with dock.running():
        hear("STATUS=dock dock-1: 0 cameras, no alarms")
        dock.store.rename(tmp_path / "away")
        dock.plug("CAM1", {"A.MP4": b"content"})
        hear("1 camera, ", "store nas fails")
        (tmp_path / "away").rename(dock.store)
        hear("1 camera, ", without="fails")


def test_a_docking_is_a_handful_of_lines_unless_debug_is_asked_for(tmp_path):
    dock = made(tmp_path)
    dock.edit('level = "debug"', 'level = "info"')
    with dock.running():
        dock.plug("CAM1", {f"{number}.MP4": bytes([number]) * 100 for number in range(40)})
        dock.wait_state("CAM1", "confirmed")
        dock.wait_for(lambda: "docking.copied" in dock.events())
        dock.unplug("CAM1")
        dock.wait_for(lambda: "camera.undocked" in dock.events())
        told = dock.lines()
    (copied,) = [line for line in told if line["event"] == "docking.copied"]
    assert (copied["camera"], copied["recordings"], copied["size_bytes"]) == ("CAM1", 40, 4000)
    assert (copied["new"], copied["new_bytes"]) == (40, 4000)
    assert not [line for line in told if line["event"].startswith(("item.", "upload."))]
    assert len([line for line in told if line.get("camera") == "CAM1"]) <= 6


def test_a_frozen_worker_gets_no_pings_so_that_systemd_restarts_the_daemon(tmp_path, manager):
    sock, path = manager
    dock = made(tmp_path, env={"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"})
    program = (
        "import time, sys\n"
        "import bodycam_ingest.daemon.workers as w, bodycam_ingest.daemon.components as a\n"
        "w._SILENCE_MAX_S = 7.0\n"
        "a.Components.housekeeping = lambda self: time.sleep(3600)\n"
    )
    dock.start(changed=program)
    try:
        dock.wait_for(lambda: "daemon.stalled" in dock.events())
        (stalled,) = [line for line in dock.lines() if line["event"] == "daemon.stalled"]
        assert stalled["worker"] == "housekeeping"
        sock.setblocking(False)
        while True:
            try:
                sock.recv(4096)
            except BlockingIOError:
                break
        time.sleep(1.2)
        with pytest.raises(BlockingIOError):
            sock.recv(4096)
    finally:
        assert dock.stop(timeout_s=12) == 0


def test_a_reload_takes_what_it_can_and_a_broken_file_changes_nothing(tmp_path):
    dock = made(tmp_path)
    with dock.running():
        good = dock.config.read_text()
        dock.config.write_text(good + "nonsense = 1\n")
        dock.signal(signal.SIGHUP)
        dock.wait_for(lambda: "config.reload_refused" in dock.events())
        dock.config.write_text(good.replace("settle_s = 0.1", "settle_s = 0.2"))
        dock.signal(signal.SIGHUP)
        dock.wait_for(lambda: "config.reloaded" in dock.events())
        (line,) = [line for line in dock.lines() if line["event"] == "config.reloaded"]
        assert line["applied"] == ["cameras.settle_s"]
        dock.config.write_text(good.replace('id = "dock-1"', 'id = "dock-2"'))
        dock.signal(signal.SIGHUP)
        dock.wait_for(lambda: "config.needs_restart" in dock.events())
        assert dock.json("status")["dock"] == "dock-1"


def test_the_ledger_has_every_setting_and_each_change_at_a_start(tmp_path):
    dock = made(tmp_path)
    engine = open_for_reading(dock.root / "state")

    for _ in range(2):
        with dock.running():
            pass
    (first,) = ledgers.entries(engine, "config.changed")
    assert (first["before"], first["needs_restart"]) == ("", [])
    assert first["values"] == settings(load(dock.config))
    dock.edit("settle_s = 0.1", "settle_s = 0.2")
    with dock.running():
        pass
    (_, second) = ledgers.entries(engine, "config.changed")
    engine.dispose()
    assert (second["values"], second["at"]) == ({"cameras.settle_s": "0.2"}, "start")
    assert (second["before"], second["sha256"]) == (
        first["sha256"],
        digest(settings(load(dock.config))),
    )
    assert dock.json("verify")["result"] == "holds"


def test_a_copy_is_purged_only_after_its_time_and_the_store_still_has_it(tmp_path):
    dock = made(tmp_path)
    dock.keep_days(0)
    data = {f"{n}.MP4": random.Random(n).randbytes(30_000) for n in range(3)}
    dock.plug("CAM1", data)
    with dock.running():
        dock.wait_for(lambda: {item["state"] for item in dock.items()} == {"purged"})
    assert not [p for p in dock.staging.rglob("*") if p.is_file()]
    assert sorted(dock.stored().values()) == sorted(map(sha256, data.values()))
    history = dock.json("items", dock.items()[0]["item_id"])["entries"]
    kinds = [entry["type"] for entry in history]
    assert kinds[-3:] == ["item.released", "item.purging", "item.purged"]
    assert dock.json("verify", "--files", "--stores")["result"] == "holds"


def test_a_defect_in_one_worker_is_an_alarm_until_it_works_and_the_others_go_on(tmp_path):
    dock = made(tmp_path)
    mended = tmp_path / "mended"
    program = (
        "import pathlib, sys\n"
        "import bodycam_ingest.upload.checkpoints as a, bodycam_ingest.daemon.workers as w\n"
        "w._FIRST_PAUSE_S, w._LONGEST_PAUSE_S, w._HEALED_AFTER_S = 0.1, 0.2, 1.0\n"
        "tick = a.CheckpointPublisher.tick\n"
        "def broken(self):\n"
        f"    if pathlib.Path({str(mended)!r}).exists(): return tick(self)\n"
        "    raise ZeroDivisionError('a defect')\n"
        "a.CheckpointPublisher.tick = broken\n"
    )
    dock.plug("CAM1", {"A.MP4": os.urandom(30_000)})
    dock.start(changed=program)
    dock.wait_for(lambda: dock.items() and dock.items()[0]["state"] == "confirmed")
    (alarm,) = dock.json("status")["alarms"]
    assert alarm["code"] == "worker_crashed"
    assert "housekeeping: ZeroDivisionError" in alarm["detail"]
    mended.touch()
    dock.wait_for(lambda: "worker.recovered" in dock.events())
    dock.wait_for(lambda: not dock.json("status")["alarms"])
    dock.wait_state("CAM1", "confirmed")
    assert dock.events().count("worker.crashed") == 1
    assert dock.stop() == 0


def test_a_ledger_fault_while_the_configuration_is_read_again_ends_as_every_halt_does(tmp_path):
    dock = made(tmp_path)
    program = (
        "import bodycam_ingest.db.ledger as ledger, sys\n"
        "from bodycam_ingest.errors import LedgerUnwritableError\n"
        "append = ledger.Txn.append\n"
        "def refused(self, type, *rest, **more):\n"
        "    if type == 'config.changed': raise LedgerUnwritableError('the disk is full')\n"
        "    return append(self, type, *rest, **more)\n"
        "ledger.Txn.append = refused\n"
    )
    with dock.running():
        pass
    dock.log.unlink()
    dock.start(changed=program)
    dock.edit("settle_s = 0.1", "settle_s = 0.2")
    dock.signal(signal.SIGHUP)
    assert dock.daemon is not None
    assert dock.daemon.wait(30) == 14
    dock.daemon = None
    ends = ("daemon.halted", "daemon.stopping", "daemon.stopped")
    assert tuple(event for event in dock.events() if event in ends) == ends
