"""A dock for tests: a configuration, the real daemon as a process, and hands that plug cards in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from bodycam_ingest.daemon import control
from bodycam_ingest.errors import NotRunningError
from tests.support import prefork
from tests.support.terminal import Said, said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.support.prefork import Forked

REPOSITORY = Path(__file__).parents[2]
# What is long or handles signals; all else is quicker in the process of the test.
_PROCESSES = {"run", "demo"}
# All that a configuration must say.
SMALL_CONFIG = """
[dock]
id = "dock-7"
agency = "police.example.org"
state_dir = "state"
[cameras]
mount_roots = ["cameras"]
[staging]
dir = "staging"
[[stores]]
name = "archive"
type = "directory"
path = "archive"
"""
# The room that is kept free, as `Dock` configures it, and more than any disk has.
RESERVE = "min_free_bytes = 1000000"
NO_ROOM = f"min_free_bytes = {10**17}"
# What a program ends with that changed the product before.
RUN = """
import sys
from bodycam_ingest.cli import main
sys.argv = ["bodycam-ingest", "run"]
sys.exit(main())
"""
DIRECTORY_STORE = '[[stores]]\nname = "nas"\ntype = "directory"\npath = "store"\n'


class Dock:
    """One dock below a temporary directory.

    Args:
        root: an empty directory, or a dock's.
        stores: the `[[stores]]` tables.
        extra: further tables.
        env: added to the environment of every command.
    """

    def __init__(
        self,
        root: Path,
        *,
        stores: str = DIRECTORY_STORE,
        extra: str = "",
        cameras: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.mnt = root / "mnt"
        self.store = root / "store"
        self.staging = root / "staging"
        self.state_dir = root / "state"
        self.log = root / "daemon.log"
        self.config = root / "config.toml"
        self.env = {**os.environ, **(env or {}), "BODYCAM_INGEST_CONFIG": str(self.config)}
        self._own_env = bool(env)
        self.daemon: subprocess.Popen[bytes] | Forked | None = None
        self.mnt.mkdir(exist_ok=True)
        if self.config.exists():
            # A dock that was left by an earlier version, taken as it is.
            return
        self.config.write_text(
            '[dock]\nid = "dock-1"\nagency = "police.example.org"\nstate_dir = "state"\n'
            '[cameras]\nsource = "folder"\nmount_roots = ["mnt"]\nsettle_s = 0.1\n'
            f"rescan_s = 0.1\n{cameras}"
            f'[staging]\ndir = "staging"\n{RESERVE}\n'
            f"{stores}"
            "[upload]\npart_size_bytes = 5242880\nbackoff_initial_s = 0.1\nbackoff_max_s = 0.5\n"
            f'[log]\nformat = "json"\nlevel = "debug"\n{extra}'
        )

    @classmethod
    def ready(cls, root: Path, **options: Any) -> Self:
        """A dock after `init`, with its one directory as a store."""
        root.mkdir(exist_ok=True)
        made = cls(root, **options)
        made.store.mkdir(exist_ok=True)
        made.init()
        return made

    def edit(self, old: str, new: str) -> None:
        """Change a line of the configuration."""
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def keep_days(self, days: int) -> None:
        """Released copies are kept for so long."""
        self.edit(RESERVE, f"{RESERVE}\nkeep_days = {days}")

    # -- commands --

    def run(
        self, *arguments: str, timeout_s: float = 60
    ) -> subprocess.CompletedProcess[str] | Said:
        """Run one command to its end; `timeout_s` is for what runs as a process.

        What runs in this process is ended by the time limit of the test.
        """
        # Standard output and environment belong to the process: one thread alone may change them.
        alone = threading.current_thread() is threading.main_thread()
        if arguments[0] not in _PROCESSES and alone and not self._own_env:
            return said(*arguments, env=self.env)
        return subprocess.run(
            [sys.executable, "-m", "bodycam_ingest", *arguments],
            cwd=REPOSITORY,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def ok(self, *arguments: str) -> str:
        """Run one command that must succeed; returns what it printed."""
        done = self.run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Run one command with `--json`; `status` of a dock that is down is an answer too."""
        done = self.run(*arguments, "--json")
        good = (0, NotRunningError.exit_code) if arguments[0] == "status" else (0,)
        assert done.returncode in good, (
            f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return json.loads(done.stdout)

    def init(self) -> None:
        self.ok("init")

    # -- the daemon --

    def start(
        self, *, wait: bool = True, command: list[str] | None = None, changed: str = ""
    ) -> None:
        """Start the daemon; returns when it answers. `changed` is what is done to it before."""
        if changed:
            command = [sys.executable, "-c", changed + RUN]
        self.log.touch()
        before = self.events().count("daemon.ready")
        if command is None:
            self.daemon = prefork.shared().start(prefork.program("run"), self.log, self.env)
        else:
            with self.log.open("ab") as log:
                self.daemon = subprocess.Popen(
                    command,
                    cwd=REPOSITORY,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        if wait:
            self.wait_for(lambda: self.events().count("daemon.ready") > before)

    def stop(self, *, kill: bool = False, timeout_s: float = 15) -> int:
        """End the daemon; returns its exit code."""
        assert self.daemon is not None
        daemon, self.daemon = self.daemon, None
        if kill:
            daemon.kill()
        else:
            daemon.terminate()
        try:
            return daemon.wait(timeout_s)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
            raise

    def signal(self, number: int) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(number)

    @contextlib.contextmanager
    def running(self) -> Iterator[Dock]:
        """The daemon runs inside of this block, and ends by SIGTERM after it."""
        self.start()
        try:
            yield self
        finally:
            if self.daemon is not None:
                code = self.stop()
                assert code == 0, self.tail()

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines()]

    def lines(self) -> list[dict[str, Any]]:
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                found.append(json.loads(line))
        return found

    def tail(self) -> str:
        """The last of the log, for failures."""
        return "\n".join(self.log.read_text().splitlines()[-40:])

    def wait_for(self, condition: Callable[[], Any], timeout_s: float = 60) -> Any:
        """Poll until a condition holds; returns its value."""
        began_s = time.monotonic()
        while (elapsed_s := time.monotonic() - began_s) < timeout_s:
            value = condition()
            if value:
                return value
            if self.daemon is not None and self.daemon.poll() is not None:
                break
            # Ever more seldom: asking costs the daemon and its neighbours the processor.
            time.sleep(min(0.5, 0.05 + elapsed_s / 10))
        raise AssertionError(f"it did not come to pass\n{self.tail()}")

    # -- cards --

    def plug(self, camera: str, files: Mapping[str, bytes]) -> Path:
        """Have a card appear at once, as a mount does."""
        aside = self.mnt / f".{camera}"
        for name, content in files.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        aside.mkdir(exist_ok=True)
        card = self.mnt / camera
        aside.rename(card)
        return card

    def unplug(self, camera: str) -> Path:
        """Have a card disappear at once; returns where it lies now."""
        aside = self.mnt / f".{camera}"
        (self.mnt / camera).rename(aside)
        return aside

    def replug(self, camera: str) -> None:
        """Have an unplugged card come back."""
        (self.mnt / f".{camera}").rename(self.mnt / camera)

    # -- what is so --

    def items(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("items")
        return found

    def states(self) -> dict[str, str]:
        """The state of each item, by path."""
        return {item["path"]: item["state"] for item in self.items()}

    def alarms(self) -> dict[str, dict[str, Any]]:
        """What `status` shows as alarms, by code."""
        return {alarm["code"]: alarm for alarm in self.json("status")["alarms"]}

    def bay(self, camera: str) -> dict[str, Any] | None:
        """The bay of a camera, None while it has none."""
        # Of the daemon itself, while it runs: this is asked for all the time.
        status = control.ask(self.state_dir, control.StatusRequest()) or self.json("status")
        bays = status["bays"]
        return next((bay for bay in bays if bay["camera"] == camera), None)

    def wait_state(self, camera: str, state: str, timeout_s: float = 60) -> dict[str, Any]:
        """Poll until a bay shows a state."""

        def reached() -> dict[str, Any] | None:
            bay = self.bay(camera)
            return bay if bay and bay["state"] == state else None

        found: dict[str, Any] = self.wait_for(reached, timeout_s)
        return found

    def stored(self) -> dict[str, str]:
        """SHA-256 of every evidence object in the directory store, by key."""
        found = {}
        for path in (self.store / "evidence").rglob("*"):
            if path.is_file() and not path.name.startswith(".") and path.name != "manifest.json":
                key = str(path.relative_to(self.store))
                found[key] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


def sha256(content: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(content).hexdigest()
