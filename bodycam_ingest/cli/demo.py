"""`demo`: the real daemon, a simulated camera, two dockings, and the proof of all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from bodycam_ingest.cli.output import say
from bodycam_ingest.demo import cards
from bodycam_ingest.errors import DemoError, NotRunningError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_WAIT_S: Final = 60.0
_POLL_S: Final = 0.3
_STOP_S: Final = 15.0
_CONFIG: Final = """\
[dock]
id = "demo-dock"
agency = "police.example.org"
state_dir = "state"

[cameras]
source = "folder"
mount_roots = ["mnt"]
settle_s = 0.3
rescan_s = 0.3

[[cameras.profile]]
name = "timestamped"
match = { FOLDER_NAME = "BWC*" }
patterns = ['(?P<recorded_at>\\d{8}_\\d{6})_NF\\.mp4$']
recorded_at_format = "%Y%m%d_%H%M%S"

[staging]
dir = "staging"
min_free_bytes = 100_000_000

[[stores]]
name = "evidence-room"
type = "directory"
path = "store"

[log]
format = "json"
"""


class _Demo:
    """One run in one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mnt = root / "mnt"
        self.log = root / "daemon.log"
        self.env = {**os.environ, "BODYCAM_INGEST_CONFIG": str(root / "config.toml")}

    def prepare(self) -> None:
        """Directories, configuration, `init`."""
        self.mnt.mkdir(parents=True)
        (self.root / "store").mkdir()
        (self.root / "config.toml").write_text(_CONFIG, encoding="utf-8")
        self.command("init")

    def command(self, *arguments: str, good: tuple[int, ...] = (0,)) -> str:
        """Run a command of this very program, as an admin would."""
        done = subprocess.run(  # noqa: S603 - our own command with our own words
            [sys.executable, "-m", "bodycam_ingest", *arguments],
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in good:
            raise DemoError(f"`{' '.join(arguments)}` failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self) -> subprocess.Popen[bytes]:
        """The daemon, as systemd would start it."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bodycam_ingest", "run"],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def status(self) -> dict[str, Any]:
        """What `status --json` says."""
        found: dict[str, Any] = json.loads(
            self.command("status", "--json", good=(0, NotRunningError.exit_code))
        )
        return found

    def wait(self, what: str, reached: Callable[[dict[str, Any]], bool]) -> None:
        """Show every change of the bays until a status is reached."""
        shown = ""
        until_s = time.monotonic() + _WAIT_S
        while time.monotonic() < until_s:
            status = self.status()
            text = "; ".join(
                f"{bay['camera']} {bay['state']}"
                + (f" {bay['percent']} %" if bay["state"] == "reading" else "")
                for bay in status["bays"]
            )
            if text != shown:
                say(f"  bays: {text or 'empty'}")
                shown = text
            if reached(status):
                return
            time.sleep(_POLL_S)
        raise DemoError(f"{what} was not reached within {_WAIT_S:.0f} s; see {self.log}")


def _all_confirmed(bays: int) -> Callable[[dict[str, Any]], bool]:
    def reached(status: dict[str, Any]) -> bool:
        shown = status["bays"]
        return len(shown) == bays and all(bay["release"] for bay in shown)

    return reached


def _dock_twice(demo: _Demo) -> None:
    names = {"BWC00001": cards.Layout.TIMESTAMPED, "CAM01": cards.Layout.NUMBERED}
    written = {}
    for number, (name, layout) in enumerate(names.items()):
        card = demo.root / f"card-{name}"
        written[name] = cards.build_card(card, layout, seed=10 * number, clip_bytes=2_000_000)
        say(f"An officer plugs in camera {name}: {len(written[name])} files.")
        cards.plug_in(card, demo.mnt, name)
    demo.wait("everything confirmed", _all_confirmed(2))
    say("Both cameras are pulled out and go back on patrol.")
    for name in names:
        cards.pull_out(demo.mnt, name, demo.root / f"card-{name}")
    demo.wait("empty bays", lambda status: not status["bays"])
    card = demo.root / "card-CAM01"
    cards.next_shift(card, written["CAM01"], seed=500)
    say("CAM01 comes back: one new file, one name used again, one file gone.")
    cards.plug_in(card, demo.mnt, "CAM01")
    demo.wait("everything confirmed", _all_confirmed(1))


def _show(demo: _Demo) -> None:
    for title, arguments in (
        ("Every item", ["items"]),
        ("The custody report of the last one", ["items", _last_item(demo)]),
        ("The proof", ["verify", "--files", "--stores"]),
    ):
        click.echo(f"\n{title}: bodycam-ingest {' '.join(arguments)}\n")
        click.echo(demo.command(*arguments).rstrip())


def _last_item(demo: _Demo) -> str:
    found: str = json.loads(demo.command("items", "--json"))[-1]["item_id"]
    return found


@click.command("demo")
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="An empty place to run in; a temporary directory by default.",
)
def command(directory: Path | None) -> None:
    """Show the whole way with a simulated camera, in a temporary directory.

    Needs no network, no root and no camera. Everything stays afterwards, to be looked at.
    """
    root = (directory or Path(tempfile.mkdtemp(prefix="bodycam-demo-"))).absolute()
    if root.exists() and any(root.iterdir()):
        raise UsageError(f"{root} is not empty", hint="Name a directory that is empty or new.")
    say(f"Everything lies in {root}")
    demo = _Demo(root)
    demo.prepare()
    daemon = demo.start()
    try:
        demo.wait("a running daemon", lambda status: bool(status["running"]))
        _dock_twice(demo)
    finally:
        daemon.terminate()
        daemon.wait(_STOP_S)
    _show(demo)
    click.echo(
        f"\nLook around in {root}:\n"
        "  config.toml   the configuration\n"
        "  daemon.log    what the daemon logged, one JSON object a line\n"
        "  staging/      the dock's own copies, named by item and digest\n"
        "  store/        the store: evidence/, with a manifest a docking, and ledger/\n"
        "  state/        ledger, keys, last signed checkpoint\n"
        f"Any command works on it: bodycam-ingest --config {root}/config.toml status"
    )
