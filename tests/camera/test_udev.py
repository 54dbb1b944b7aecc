from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "support/umock_camera.py"
SYSTEM_PYTHON = "/usr/bin/python3"
PROBE = "import sys, gi; gi.require_version('UMockdev', '1.0'); print(*sys.version_info[:2])"


def usable() -> bool:
    if shutil.which("umockdev-wrapper") is None or not Path(SYSTEM_PYTHON).exists():
        return False
    done = subprocess.run([SYSTEM_PYTHON, "-c", PROBE], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.skipif(
    not usable(), reason="expected: needs umockdev, gir1.2-umockdev-1.0 and python3-gi"
)
def test_cameras_are_found_by_looking_and_events_wake(tmp_path):
    done = subprocess.run(
        ["umockdev-wrapper", SYSTEM_PYTHON, SCRIPT, tmp_path / "mountinfo"],
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": f"{SCRIPT.parents[2]}:{sysconfig.get_path('purelib')}",
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    one, other = told["numbers"]
    bay = "pci-0000:00:14.0-usb-"
    # Each by its own serial, also where only the USB device itself tells it.
    assert told["before"] == [["X81A", f"{bay}1", "", one]]
    assert told["both"] == [["X81A", f"{bay}1", "", one], ["BARE", f"{bay}2", "", other]]
    assert told["after"] == [["BARE", f"{bay}2", "", other]]
    assert told["there"]
    assert told["gone"]
    assert told["woken"]
    assert told["woken_again"]
