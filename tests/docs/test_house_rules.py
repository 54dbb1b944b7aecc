"""The rules in tests/conftest.py bite: a run that hides something is a failed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

CONFTEST = Path(__file__).parents[1] / "conftest.py"

SKIP = "import pytest\n\n\n@pytest.mark.skip(reason={reason!r})\ndef test_it():\n    pass\n"
SKIP_MODULE = "import pytest\n\npytest.importorskip('no_such_module')\n"
LEAK = (
    "import subprocess, pathlib\n\n\ndef test_it():\n"
    "    child = subprocess.Popen(['sleep', '600'])\n"
    "    pathlib.Path('child').write_text(str(child.pid))\n"
    "    child.returncode = 0\n"
)


LITTER = "import tempfile\n\n\ndef test_it():\n    tempfile.mkstemp(prefix='forgotten')\n"


def run(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_x.py").write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_skip_that_nobody_expected_fails_the_run(tmp_path):
    done = run(tmp_path, SKIP.format(reason="could not be bothered"))
    assert done.returncode == 1
    assert "unexpected skip: test_x.py::test_it: could not be bothered" in done.stdout


def test_a_module_that_skips_itself_fails_the_run(tmp_path):
    done = run(tmp_path, SKIP_MODULE)
    assert done.returncode != 0
    assert "unexpected skip: test_x.py" in done.stdout


def test_an_expected_skip_does_not(tmp_path):
    assert run(tmp_path, SKIP.format(reason="expected: needs root")).returncode == 0


@pytest.mark.timeout(60)
def test_a_process_that_is_left_fails_the_run(tmp_path):
    done = run(tmp_path, LEAK)
    pid = int((tmp_path / "child").read_text(encoding="ascii"))
    os.kill(pid, signal.SIGKILL)
    assert done.returncode == 1
    assert f"process left behind: {pid} " in done.stdout


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_file_left_in_the_temporary_directory_fails_the_run(tmp_path, workers):
    done = run(tmp_path, LITTER, "-n", workers)
    assert done.returncode == 1, done.stdout
    assert "file left behind: forgotten" in done.stdout


def test_a_skip_that_nobody_expected_fails_a_run_on_several_cores(tmp_path):
    done = run(tmp_path, SKIP.format(reason="could not be bothered"), "-n", "2")
    assert done.returncode == 1
    assert done.stdout.count("unexpected skip: test_x.py::test_it") == 1
