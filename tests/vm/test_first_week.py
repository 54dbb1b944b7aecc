"""README's commands and the first week of docs/operations.md, typed on a fresh Debian.

The machine is a booted container without a network. Each step finds what the one before left.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.vm.container import Container
from tests.vm.image import REPOSITORY

pytestmark = pytest.mark.timeout(1800)

AS_SERVICE = "sudo -u bodycam-ingest bodycam-ingest"
OPT = "/opt/bodycam-ingest"
VOLUMES = "/run/bodycam-ingest/volumes"
# What an admin would do in the editor: here cameras are folders, since a container has no USB.
HAND = r"""#!/bin/sh
sed -i -e 's|^source = "usb"|source = "folder"|' -e 's|^#settle_s.*|settle_s = 0.2|' \
	-e 's|^#rescan_s.*|rescan_s = 0.5|' -e 's|^#min_free_bytes.*|min_free_bytes = 1000000|' \
	-e 's|^#backoff_max_s.*|backoff_max_s = 2.0|' "$1"
"""


def blocks(page: str, heading: str) -> list[str]:
    """The commands below a heading, as they stand."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    level = heading.partition(" ")[0]
    (section,) = re.findall(rf"(?ms)^{re.escape(heading)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", text)
    return re.findall(r"(?ms)^```sh\n(.*?)^```", section)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    assert shutil.which("systemd-nspawn"), "install systemd-container"
    cache = Path(os.environ.get("BODYCAM_VM_CACHE", REPOSITORY / ".vm"))
    cache.mkdir(exist_ok=True)
    made = Container(tmp_path_factory.mktemp("container"), cache)
    try:
        made.make()
        made.put("/usr/local/sbin/hand", HAND, 0o755)
        made.boot()
        yield made
    finally:
        made.shut_down()


def status(machine: Container):
    answer = machine.run(f"{AS_SERVICE} status --json").stdout
    return json.loads(answer[answer.index("{") :])


def dock(machine: Container, camera: str, *, files: int, size_bytes: int = 700_000) -> None:
    machine.ok(
        f"mkdir {VOLUMES}/.{camera}; for n in $(seq {files}); do "
        f"head -c {size_bytes} /dev/urandom >{VOLUMES}/.{camera}/$n.MP4; done; "
        f"mv {VOLUMES}/.{camera} {VOLUMES}/{camera}"
    )


def wait_proven(machine: Container, camera: str, files: int) -> None:
    """Until every required store has proven that many recordings of a camera."""
    items = f"{AS_SERVICE} items --camera {camera} --json"
    proven = f'{items} | grep -cE \'"state": "(confirmed|released)"\''
    machine.wait_for(f"test $({proven}) -ge {files}", timeout_s=300)


def release(machine: Container) -> str:
    return machine.ok(f"readlink {OPT}/current").strip()


@pytest.mark.smoke
def test_readme_leads_to_a_working_dock(machine):
    (commands,) = blocks("README.md", "## Put it on a dock PC")
    assert "make install" in commands
    assert "doctor" in commands
    machine.ok(commands, timeout_s=900)
    assert status(machine)["running"]
    assert machine.ok("systemctl is-enabled bodycam-ingest").strip() == "enabled"
    dock(machine, "CAM1", files=3)
    wait_proven(machine, "CAM1", 3)
    said = machine.run(f"{AS_SERVICE} check", check=False)
    assert said.returncode == 0, said.stdout
    assert machine.ok("head -c 3 /usr/local/share/man/man1/bodycam-ingest.1") == ".TH"
    assert machine.ok("bash -n /etc/bash_completion.d/bodycam-ingest") == ""
    # No tool of development, and nothing of the checkout, is left on the dock.
    assert (
        machine.run(f"ls {OPT}/current/bin | grep -E 'pytest|mypy|ruff|hatch'", check=False).stdout
        == ""
    )
    assert machine.run("ls .venv dist build", check=False).stdout.count("No such file") == 3


def test_the_journal_knows_what_is_grave(machine):
    shown = machine.ok("systemctl show -p StatusText bodycam-ingest")
    assert "1 camera, no alarms" in shown
    assert machine.ok("journalctl -q -u bodycam-ingest -p err -o cat") == ""
    informed = machine.ok("journalctl -q -u bodycam-ingest -p info -o cat --no-pager")
    (copied,) = [line for line in informed.splitlines() if '"docking.copied"' in line]
    told = json.loads(copied)
    assert told["recordings"] == 3
    assert "timestamp" not in told


def test_whoever_is_in_the_audit_group_may_read_and_nothing_else(machine):
    machine.ok("useradd -m -G bodycam-audit auditor; useradd -m stranger")
    auditor, program = "runuser -u auditor --", "bodycam-ingest"
    for command in ("status", "check", "items", "cameras", "findings", "check-config"):
        machine.ok(f"{auditor} {program} {command}")
        assert machine.run(f"runuser -u stranger -- {program} {command}", check=False).returncode
    # The private key is the one thing of the ledger's that it cannot look at, and it says so.
    ledger = machine.run(f"{auditor} {program} verify --json", check=False)
    assert ledger.returncode == 2
    verified = json.loads(ledger.stdout)
    assert verified["findings"] == []
    assert [why for why in verified["unreachable"] if "key on disk" not in why] == []
    refused = machine.run(f"{auditor} {program} retry", check=False)
    assert refused.returncode != 0
    assert "only root and the daemon's user" in refused.stdout
    state = "/var/lib/bodycam-ingest/state"
    for path in (f"{state}/keys", "/var/lib/bodycam-ingest/staging", f"{state}/lock"):
        assert machine.run(f"{auditor} cat {path}/* {path}", check=False).returncode != 0
        assert machine.run(f"{auditor} ls {path}/", check=False).returncode != 0
    assert machine.run(f"{auditor} touch {state}/bodycam.db", check=False).returncode != 0
    assert machine.run(f"{auditor} touch {state}/x", check=False).returncode != 0


def test_an_archive_on_another_disk_gets_what_comes(machine):
    machine.ok("mkdir -p /srv/evidence; mount -t tmpfs -o size=6m none /srv/evidence")
    (commands,) = blocks("docs/operations.md", "### An archive on another disk")
    machine.ok(commands)
    dock(machine, "CAM2", files=2)
    wait_proven(machine, "CAM2", 2)
    machine.wait_for("test $(find /srv/evidence -name '*.MP4*' -type f | wc -l) -ge 2")


def test_an_archive_that_is_full_moves_to_a_larger_disk(machine):
    dock(machine, "CAM3", files=8)
    machine.wait_for(f"{AS_SERVICE} status | grep -q store_full", timeout_s=300)
    heard = machine.run(f"{AS_SERVICE} check", check=False)
    assert heard.returncode in {1, 2}
    assert "store evidence fails" in heard.stdout
    (commands,) = blocks("docs/operations.md", "### An archive that is full")
    machine.ok(commands)
    wait_proven(machine, "CAM3", 8)
    assert "holds" in machine.ok(f"{AS_SERVICE} verify --files")


def test_an_upgrade_that_fails_leaves_what_runs(machine):
    before, lists = release(machine), machine.ok(f"ls {OPT}")
    failed = machine.run(
        "sudo PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 make install", check=False, timeout_s=600
    )
    assert failed.returncode != 0
    assert "nothing that was installed before has changed" in failed.stdout
    assert (release(machine), machine.ok(f"ls {OPT}")) == (before, lists)
    assert machine.ok(f"{OPT}/current/libexec/bodycam-mount 2>&1 || true").count("usage") == 1
    machine.ok("systemctl restart bodycam-ingest")
    assert status(machine)["running"]


def test_what_does_not_take_the_configuration_is_not_put_in_place(machine):
    machine.ok("cp /etc/bodycam-ingest/config.toml /tmp/other.toml; echo 'x = 1' >>/tmp/other.toml")
    asked = machine.run(f"{OPT}/current/libexec/fits {OPT}/current /tmp/other.toml", check=False)
    assert asked.returncode == 1
    assert "does not take /tmp/other.toml as it stands" in asked.stdout


def test_upgrade_and_back(machine):
    before = release(machine)
    machine.ok("sudo make wheelhouse WHEELHOUSE=/tmp/house", timeout_s=600)
    (commands,) = blocks("docs/operations.md", "### An upgrade")
    # As on a dock without a network: pip is not even told where packages could be.
    machine.ok(
        commands.replace(
            "make install", "PIP_CONFIG_FILE=/dev/null make install WHEELHOUSE=/tmp/house"
        ),
        timeout_s=900,
    )
    after = release(machine)
    assert after != before
    assert status(machine)["running"]
    assert f"{OPT}/{after}/bin/python" in machine.ok("ps -o args= -C bodycam-ingest")
    (back,) = blocks("docs/operations.md", "### Back to the version before")
    said = machine.ok(back)
    assert f"* {after}" in said
    assert release(machine) == before
    machine.wait_for("systemctl is-active bodycam-ingest")
    assert f"{OPT}/{before}/bin/python" in machine.ok("ps -o args= -C bodycam-ingest")
    machine.ok("sudo make rollback; systemctl restart bodycam-ingest")
    assert release(machine) == after


def test_rollback_is_refused_where_the_older_release_does_not_know_the_database(machine):
    database = "/var/lib/bodycam-ingest/state/bodycam.db"
    change = (
        "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()"
    )
    before = release(machine)
    version = machine.ok(
        f'python3 -c \'import sqlite3; print(*sqlite3.connect("{database}").execute('
        '"select version_num from alembic_version").fetchone())\''
    ).strip()
    set_version = f"sudo -u bodycam-ingest python3 -c '{change}' {database} "
    machine.ok("systemctl stop bodycam-ingest")
    machine.ok(set_version + "\"update alembic_version set version_num='9999'\"")
    refused = machine.run("sudo bodycam-ingest-rollback", check=False)
    machine.ok(set_version + f"\"update alembic_version set version_num='{version}'\"")
    machine.ok("systemctl start bodycam-ingest")
    assert refused.returncode == 1
    assert "does not know the database's schema" in refused.stdout
    assert "Nothing was changed" in refused.stdout
    assert release(machine) == before


def test_a_changed_python_is_said_by_commands_and_unit(machine):
    library = f"{OPT}/current/lib"
    machine.ok(f"systemctl stop bodycam-ingest; mv {library}/python3.11 {library}/python3.10")
    try:
        said = machine.run("bodycam-ingest --help", check=False)
        assert said.returncode == 78
        assert "the system's Python is python3.11 now" in said.stdout
        assert machine.run("systemctl start bodycam-ingest", check=False).returncode != 0
        machine.wait_for("systemctl is-failed bodycam-ingest")
        assert "sudo make install" in machine.ok("journalctl -q -u bodycam-ingest -n 20 -o cat")
    finally:
        machine.ok(f"mv {library}/python3.10 {library}/python3.11")
    machine.ok("systemctl start bodycam-ingest")


def test_a_dock_moves_to_another_pc(machine):
    old, new = blocks("docs/operations.md", "### A replaced PC")
    ledger = status(machine)["ledger"]["size"]
    machine.ok(old)
    # The new one: nothing of the old is there, and users have other numbers.
    machine.ok("make uninstall", timeout_s=300)
    kept = machine.ok(
        "ls -d /var/lib/bodycam-ingest/state/bodycam.db /etc/bodycam-ingest/config.toml"
    )
    assert kept.count("\n") == 2, "uninstall took what it must leave"
    machine.ok(
        "rm -r /var/lib/bodycam-ingest /etc/bodycam-ingest "
        "/etc/systemd/system/bodycam-ingest.service.d; userdel bodycam-ingest; "
        "groupdel bodycam-ingest 2>/dev/null || true; "
        "groupadd -r -g 880 filler; useradd -r -u 997 -g filler filler; systemctl daemon-reload"
    )
    machine.ok(new, timeout_s=900)
    shown = status(machine)
    assert shown["running"]
    assert shown["ledger"]["size"] > ledger
    dock(machine, "CAM4", files=1)
    wait_proven(machine, "CAM4", 1)
    assert "holds" in machine.ok(f"{AS_SERVICE} verify --files")


def test_uninstall_ends_well_where_udev_does_not_run(machine):
    machine.ok("sudo make uninstall")
    assert not (machine.root / OPT.lstrip("/")).exists()
    assert machine.ok("ls /var/lib/bodycam-ingest/state/bodycam.db")
