"""What `make install` puts on a dock, as far as no dock is needed; the rest is in tests/vm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
PYTHON = f"python3.{sys.version_info.minor}"


def run(*command, **env):
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def opt(tmp_path):
    """`/opt/bodycam-ingest` with one release in place, and the scripts that look there."""
    opt = tmp_path / "opt"
    release = opt / "1.0-A"
    (release / "bin").mkdir(parents=True)
    (release / f"lib/{PYTHON}/site-packages/bodycam_ingest").mkdir(parents=True)
    real = tmp_path / "usr" / PYTHON
    real.parent.mkdir()
    real.write_text("#!/bin/sh\n")
    real.chmod(0o755)
    (release / "bin/python").symlink_to(real)
    program = release / "bin/bodycam-ingest"
    program.write_text('#!/bin/sh\necho "$0" "$@"\n')
    program.chmod(0o755)
    (opt / "current").symlink_to("1.0-A")
    for script in ("bodycam-ingest", "bodycam-ingest-rollback"):
        text = (PACKAGING / script).read_text().replace("opt=/opt/bodycam-ingest", f"opt={opt}")
        (tmp_path / script).write_text(text)
    return opt


def launch(opt, *arguments):
    return run("/bin/sh", opt.parent / "bodycam-ingest", *arguments)


def test_the_launcher_starts_the_release_itself_not_the_link(opt):
    """What runs must not find itself in another release after an upgrade."""
    done = launch(opt, "status", "--json", "two words")
    assert done.returncode == 0
    assert done.stdout == f"{opt}/1.0-A/bin/bodycam-ingest status --json two words\n"


def test_a_newer_python_of_the_system_is_said_in_words(opt):
    now = opt.parent / "usr/python3.99"
    now.write_text("")
    (opt / "1.0-A/bin/python").unlink()
    (opt / "1.0-A/bin/python").symlink_to(now)
    done = launch(opt, "status")
    assert done.returncode == 78
    assert f"installed with {PYTHON}, and the system's Python is python3.99 now" in done.stderr
    assert "sudo make install" in done.stderr
    assert "Nothing is lost" in done.stderr


def test_a_python_that_is_gone_is_said_in_words(opt):
    (opt.parent / "usr" / PYTHON).unlink()
    done = launch(opt, "run")
    assert done.returncode == 78
    assert f"the {PYTHON} that it was installed with is gone" in done.stderr


@pytest.mark.parametrize("missing", ["current", "1.0-A/lib"])
def test_what_is_not_installed_whole_is_said_in_words(opt, missing):
    (opt / missing).rename(opt / "away")
    done = launch(opt, "run")
    assert done.returncode == 78
    assert "sudo make install" in done.stderr


def test_the_unit_is_not_started_again_when_only_an_install_helps():
    unit = (ROOT / "systemd/bodycam-ingest.service").read_text()
    assert "ExecStart=/usr/local/bin/bodycam-ingest run\n" in unit
    assert re.search(r"(?m)^RestartPreventExitStatus=78$", unit)


def test_rollback_lists_what_there_is_and_refuses_what_is_not_there(opt):
    (opt / "1.0-A/share").mkdir()
    (opt / "0.9-B/share").mkdir(parents=True)
    rollback = opt.parent / "bodycam-ingest-rollback"
    listed = run("/bin/sh", rollback, "--list")
    assert listed.stdout == "  0.9-B\n* 1.0-A\n"
    refused = run("/bin/sh", rollback)
    assert refused.returncode == 2
    assert "no release before this one" in refused.stderr or "only root" in refused.stderr


@pytest.mark.parametrize("script", ["install", "uninstall"])
def test_a_relative_destdir_is_refused_before_anything_is_made(script):
    done = run(PACKAGING / script, DESTDIR="image", PYTHON="python3")
    assert done.returncode == 2
    assert "absolute path" in done.stderr
    assert not (ROOT / "image").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="expected: only root can become somebody else")
@pytest.mark.parametrize("script", ["install", "uninstall", "bodycam-ingest-rollback"])
def test_who_is_not_root_is_told_so(script):
    done = subprocess.run(
        ["/bin/sh", "-s"],
        input=(PACKAGING / script).read_text(),
        user=65534,
        group=65534,
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHON": "python3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.search(r"by root: sudo|only root can do that: sudo", done.stderr)


def test_a_python_that_is_not_there_is_called_so():
    done = run(PACKAGING / "install", DESTDIR="/nonexistent/x", PYTHON="/nonexistent")
    assert done.returncode == 2
    assert "there is no Python at '/nonexistent'" in done.stderr
    made = run("make", "venv", "PYTHON=/nonexistent", "VENV=/nonexistent/venv")
    assert "there is no Python at '/nonexistent'" in made.stderr


def test_the_build_tool_is_the_one_that_the_tests_run_with():
    def pins(name):
        text = (ROOT / "requirements" / name).read_text()
        return dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", text))

    build, dev = pins("build.txt"), pins("dev.txt")
    assert "hatchling" in build
    assert build.items() <= dev.items()


def test_the_first_store_lies_where_the_service_may_write():
    unit = (ROOT / "systemd/bodycam-ingest.service").read_text()
    (writable,) = re.findall(r"(?m)^ReadWritePaths=(.*)$", unit)
    (path,) = re.findall(r'(?m)^path = "(.*)"$', (ROOT / "config.example.toml").read_text())
    assert Path(path).is_relative_to(writable)
    assert f"d {path} " in (ROOT / "systemd/bodycam-ingest.tmpfiles").read_text()
