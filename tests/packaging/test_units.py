"""What runs as root on a dock, and how closely the daemon is held, as far as no dock is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parents[2] / "systemd"
EXPOSURE_MAX = 2.0


def mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", SYSTEMD / "bodycam-mount", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    "name",
    ["", "..", "../sda", "sda1/../..", "sda 1", "-a", "$(id)", "sda1\nsdb", "SDA", "s" * 33, "ä"],
)
@pytest.mark.parametrize("action", ["mount", "umount"])
def test_the_mount_helper_takes_no_name_that_is_none(action, name):
    done = mount(action, name)
    assert done.returncode == 1
    assert done.stderr == "bodycam-mount: not a block device's name\n"


@pytest.mark.parametrize("arguments", [(), ("mount",), ("remount", "sdb1"), ("mount", "a", "b")])
def test_the_mount_helper_does_two_things_and_no_third(arguments):
    done = mount(*arguments)
    assert done.returncode == 1
    assert "usage" in done.stderr


def test_volumes_are_mounted_so_that_nothing_on_them_counts():
    text = (SYSTEMD / "bodycam-mount").read_text(encoding="utf-8")
    (common,) = re.findall(r"(?m)^\tcommon=(\S+)$", text)
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(common.split(","))
    # Set before anything is mounted, so that the kernel refuses writes whoever asks.
    assert text.index("blockdev --setro") < text.index("mount -n")
    assert "fsck" not in text
    # Seen only when its allocation table is in memory.
    assert (
        text.index('-o "$options,nosymfollow"')
        < text.index("(warm)")
        < text.index("mount -n --bind")
    )


def test_the_mount_unit_has_no_mount_namespace_of_its_own():
    """With one, systemd would keep the mount from everybody else."""
    text = (SYSTEMD / "bodycam-mount@.service").read_text(encoding="utf-8")
    keys = set(re.findall(r"(?m)^([A-Za-z]+)=", text))
    assert "BindsTo" in keys
    hiding = {"MountFlags", "TemporaryFileSystem", "InaccessiblePaths", "ReadOnlyPaths"}
    assert not {key for key in keys if key in hiding or key.startswith(("Private", "Protect"))}


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="expected: needs systemd's own checker"
)
def test_the_daemon_is_held_closely():
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", SYSTEMD / "bodycam-ingest.service"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert float(exposure) < EXPOSURE_MAX, done.stdout
