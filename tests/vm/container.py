"""A fresh Debian that is booted in a container: systemd, sudo and make, no network, no product yet.

Here an admin's commands run as they stand in the documents. What needs a kernel of its own or USB
runs on the virtual machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.vm import image

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE: Final = "/usr/src/bodycam-ingest"
WHEELHOUSE: Final = "/usr/src/wheelhouse"
_PIP: Final = f"[global]\nno-index = true\nfind-links = {WHEELHOUSE}\nno-cache-dir = true\n"
_BOOT_S: Final = 120.0
_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    # `sudoedit` in the documents is the admin's hand; here it is a script.
    "SUDO_EDITOR": "/usr/local/sbin/hand",
}


class Container:
    """One machine.

    Args:
        directory: an empty directory for its file system.
        cache: where the packages of Debian are kept from run to run.
    """

    def __init__(self, directory: Path, cache: Path) -> None:
        self.root = directory / "root"
        self._log = directory / "boot.log"
        self._cache = cache
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0

    # -- making, booting, ending --

    def make(self) -> None:
        """Unpack Debian, put the checkout and the packages that pip will want into it."""
        self.root.mkdir()
        debian = image.debian(self._cache)
        subprocess.run(
            ["tar", "-C", str(self.root), "--numeric-owner", "--xattrs", "-xpf", str(debian)],
            check=True,
        )
        image.copy_checkout(self.root / SOURCE.lstrip("/"))
        fill_wheelhouse(self.root / WHEELHOUSE.lstrip("/"))
        (self.root / "etc/pip.conf").write_text(_PIP, encoding="utf-8")
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost dock-test\n", encoding="utf-8")
        (self.root / "etc/hostname").write_text("dock-test\n", encoding="utf-8")

    def boot(self) -> None:
        """Start it; returns when systemd has started everything."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("systemd-nspawn", "-q", "-D", str(self.root), "--register=no"),
                    *("--keep-unit", "--private-network", f"--machine=dock{os.getpid()}"),
                    "--boot",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until_s = time.monotonic() + _BOOT_S
        while time.monotonic() < until_s and self._process.poll() is None:
            self._leader = self._leader or self._child()
            if self._leader:
                done = self.run("systemctl is-system-running", check=False)
                if done.stdout.strip() in {"running", "degraded"}:
                    return
            time.sleep(0.5)
        raise AssertionError(f"it did not boot\n{self._log.read_text(errors='replace')[-4000:]}")

    def _child(self) -> int:
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        # nspawn forks once before it has the machine's first process.
        for child in children:
            comm = Path(f"/proc/{child}/comm").read_text(encoding="ascii").strip()
            if comm == "systemd":
                return int(child)
        return 0

    def shut_down(self) -> None:
        """End it and take it off the disk."""
        process, self._process, self._leader = self._process, None, 0
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.root, ignore_errors=True)

    # -- hands --

    def run(
        self,
        script: str,
        *,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        timeout_s: float = 300,
        cwd: str = SOURCE,
    ) -> subprocess.CompletedProcess[str]:
        """Run a piece of shell in it, as root; output and errors come together."""
        words = [f"{key}={value}" for key, value in {**_ENVIRONMENT, **(env or {})}.items()]
        done = subprocess.run(
            [
                *("nsenter", "--all", "--target", str(self._leader), "env", "-i", *words),
                *("sh", "-ec", f"cd {cwd}\n{script}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{script}\n{done.returncode}\n{done.stdout}"
        return done

    def ok(self, script: str, **options: float) -> str:
        """Run what must succeed; returns what it said."""
        return self.run(script, **options).stdout  # type: ignore[arg-type]

    def put(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, from outside."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        target.chmod(mode)

    def wait_for(self, script: str, timeout_s: float = 90) -> str:
        """Poll until a piece of shell succeeds; returns what it said."""
        until_s = time.monotonic() + timeout_s
        while True:
            done = self.run(script, check=False)
            if done.returncode == 0:
                return done.stdout
            if time.monotonic() > until_s:
                journal = self.run(
                    "journalctl -q --no-pager -n 60 -o cat -u bodycam-ingest; "
                    "sudo -u bodycam-ingest bodycam-ingest status",
                    check=False,
                ).stdout
                raise AssertionError(f"it did not come to pass: {script}\n{done.stdout}\n{journal}")
            time.sleep(0.5)


def fill_wheelhouse(directory: Path) -> None:
    """Every package that an installation and a build want, for the Python of Debian 12."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-qq")
    for wanted in ("run.txt", "build.txt"):
        subprocess.run(
            [
                *(*pip, "--require-hashes", "--only-binary=:all:", "--python-version", "3.11"),
                *("--implementation", "cp", "--abi", "cp311", "--abi", "abi3"),
                *("--platform", "any", "--platform", "manylinux2014_x86_64"),
                *("--platform", "manylinux_2_28_x86_64"),
                *("-r", str(image.REPOSITORY / "requirements" / wanted), "-d", str(directory)),
            ],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
