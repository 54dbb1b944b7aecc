"""The software is taken off a dock; what it kept stays. Last of all: nothing works after it."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.timeout(1200)

SOURCE = "/usr/src/bodycam-ingest"
KEPT = "/var/lib/bodycam-ingest /etc/bodycam-ingest/config.toml"
LISTED = f"find {KEPT} -type f ! -name '*-shm' ! -name '*-wal' | sort | xargs sha256sum"


def test_uninstall_leaves_state_and_evidence_and_nothing_else(station, new_camera):
    camera, card = new_camera("fat32", sizes=(500_000,))
    camera.plug(station.machine, port=1)
    station.wait_done(camera.serial)
    station.pull(camera)
    station.check_ledger()
    station.machine.ok("systemctl stop bodycam-ingest")
    before = station.machine.ok(LISTED)
    assert "bodycam.db" in before
    assert "staging" in before
    station.machine.ok(f"make -C {SOURCE} uninstall")
    assert station.machine.ok(LISTED) == before
    left = station.machine.ok(
        "find / -xdev -iname '*bodycam*' -not -path '/proc/*' -not -path '/usr/src/*' "
        "-not -path '/var/lib/bodycam-ingest*' -not -path '/etc/bodycam-ingest*' "
        "-not -path '/run/*' -not -path '/var/tmp/*' -not -path '/tmp/*' -prune -print"
    )
    assert left == ""
    # A camera is an ordinary stick again, and nobody mounts it.
    writes = len(camera.disk.writes)
    camera.plug(station.machine, port=1)
    station.wait_for(
        lambda: station.machine.run("ls /dev/disk/by-id | grep usb").code == 0, "the disk"
    )
    station.machine.ok("udevadm settle")
    assert station.mounts() == []
    assert len(camera.disk.writes) == writes
    assert card.path.exists()
    camera.pull()
