"""From plug-in to released: the daemon, beside rsync, sha256sum and rclone to the same store.

The card is an image that is mounted read-only where root may mount, else a directory that appears.
The chain does what a script would: copy durably, hash the source, hash the cold copy, send, compare
what the store has. They run in turns; ratios are taken within a turn.

python -m tests.benchmarks.endtoend [--scale 0.1] [--rounds 3] [--dir DIRECTORY] [--store directory]
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.acquire import Case, drop_cached, make_card, options, shell
from tests.support.dock import Dock
from tests.support.seaweedfs import SeaweedServer

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICKS = os.sysconf("SC_CLK_TCK")
_SYNCS = "fsync,fdatasync,syncfs"


@dataclass
class Run:
    """What one run took, from plug-in on.

    Args:
        seconds: by mark: first_byte, copied, released; a chain has `copied` and `released`.
        cpu_s: processor time, children included, without that of a server.
        note: what else was counted.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    cpu_s: float = 0.0
    note: str = ""


class Target:
    """A store that both send to.

    Args:
        server: the S3 server, None for a directory.
    """

    def __init__(self, server: SeaweedServer | None) -> None:
        self.server = server
        self.name = "S3 (SeaweedFS, TLS)" if server else "directory"

    def table(self, root: Path) -> str:
        if self.server is None:
            return '[[stores]]\nname = "nas"\ntype = "directory"\npath = "store"\n'
        return self.server.table(root, root.name)

    def rclone(self, source: Path, root: Path) -> list[str]:
        """Commands that send a directory and compare what is there."""
        if self.server is None:
            store = root / "store"
            store.mkdir()
            copy = f"rclone copy --config /dev/null {source} {store} && sync -f {store}"
            hashed = "find . -type f -print0 | sort -z | xargs -0 sha256sum"
            check = f"cd {store} && sha256sum --quiet -c {source}.src"
            return [copy, f"cd {source} && {hashed} > {source}.src", f"drop {store}", check]
        options = (
            f"--config /dev/null --ca-cert {self.server.ca_bundle} --s3-provider Other "
            f"--s3-endpoint {self.server.url} --s3-access-key-id {self.server.access_key} "
            f"--s3-secret-access-key {self.server.secret_key} --s3-no-check-bucket"
        )
        there = f":s3:{self.server.bucket}/{root.name}-chain"
        return [
            f"env -u AWS_CA_BUNDLE rclone copy {options} {source} {there}",
            f"env -u AWS_CA_BUNDLE rclone check {options} {source} {there} 2>/dev/null",
        ]


@contextlib.contextmanager
def card_image(case: Case, base: Path) -> Iterator[tuple[Path, Path | None]]:
    """The card's files, and an image of them where root may mount one."""
    card = base / "card"
    make_card(case, card)
    image = base / "card.img"
    size = int(case.count * max(case.size_bytes, 4096) * 1.1) + case.count * 1024 + 2**25
    with image.open("wb") as file:
        file.truncate(size)
    made = subprocess.run(
        ["mkfs.ext4", "-q", "-m", "0", "-d", card, "-N", str(case.count + 100), image],
        check=False,
        capture_output=True,
    )
    if os.geteuid() or made.returncode:
        image.unlink()
        yield card, None
    else:
        yield card, image
        image.unlink()
    shutil.rmtree(card)


def plug(dock: Dock, camera: str, card: Path, image: Path | None) -> Path:
    """Have the card appear."""
    at = dock.mnt / camera
    if image is None:
        aside = dock.mnt / f".{camera}"
        subprocess.run(["cp", "-r", card, aside], check=True)
        aside.rename(at)
        return at
    at.mkdir()
    subprocess.run(["mount", "-o", "loop,ro", image, at], check=True)
    return at


def cpu_of(pid: int) -> float:
    """Processor seconds that a process used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def last_entry_s(dock: Dock, kind: str) -> float:
    """When the ledger's last entry of a type was made, s since 1970."""
    with contextlib.closing(sqlite3.connect(dock.state_dir / "bodycam.db")) as found:
        query = "SELECT max(t) FROM ledger_entry WHERE type = ?"
        (moment,) = found.execute(query, (kind,)).fetchone()
    return dt.datetime.fromisoformat(moment).timestamp()


def daemon(root: Path, target: Target, card: Path, image: Path | None, *, count: bool) -> Run:
    dock = Dock(root, stores=target.table(root))
    dock.config.write_text(
        re.sub("settle_s = 0.1\nrescan_s = 0.1\n", "", dock.config.read_text()).replace(
            'level = "debug"', 'level = "info"'
        )
    )
    if target.server is None:
        dock.store.mkdir()
    dock.init()
    dock.staging.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "bodycam_ingest", "run"]
    counted = root / "syscalls"
    if count:
        command = [
            "strace",
            "-D",
            "-f",
            "--seccomp-bpf",
            "-c",
            "-e",
            _SYNCS,
            "-o",
            str(counted),
            *command,
        ]
    dock.start(command=command)
    run = Run()
    assert dock.daemon is not None
    before_s = 0.0 if count else cpu_of(dock.daemon.pid)
    started = time.time()
    at = plug(dock, "CAM1", card, image)
    try:
        while "docking.released" not in dock.log.read_text():
            time.sleep(0.01)
            if "first_byte" not in run.seconds and any(dock.staging.glob("0*/.*.part")):
                run.seconds["first_byte"] = time.time() - started
        run.cpu_s = 0.0 if count else cpu_of(dock.daemon.pid) - before_s
        dock.stop()
    finally:
        if image is not None:
            subprocess.run(["umount", at], check=True)
    run.seconds["copied"] = last_entry_s(dock, "item.verified") - started
    run.seconds["released"] = last_entry_s(dock, "item.released") - started
    if count:
        # The tracer is a process of its own, that ends after the one it looks at.
        while not counted.exists() or not counted.stat().st_size:
            time.sleep(0.1)
        run.note = _syncs(counted)
    return run


def _syncs(counted: Path) -> str:
    found = {}
    for line in counted.read_text().splitlines():
        fields = line.split()
        if fields and fields[-1] in _SYNCS.split(","):
            found[fields[-1]] = int(fields[3])
    return ", ".join(f"{name} {number}" for name, number in sorted(found.items()))


def chain(root: Path, target: Target, card: Path, image: Path | None) -> Run:
    """What a script does: rsync, sha256sum, rclone."""
    mount, staged = root / "mnt", root / "staged"
    mount.mkdir()
    if image is not None:
        subprocess.run(["mount", "-o", "loop,ro", image, mount], check=True)
    source = mount if image is not None else card
    hashed = "find . -type f -print0 | sort -z | xargs -0 sha256sum"
    commands = [
        f"rsync -rt --fsync --exclude lost+found {source}/ {staged}/",
        f"cd {source} && {hashed} > {staged}.src",
        f"drop {staged}",
        f"cd {staged} && sha256sum --quiet -c {staged}.src",
        "copied",
        *target.rclone(staged, root),
        "released",
    ]
    run = Run()
    seconds = 0.0
    try:
        for command in commands:
            if command.startswith("drop "):
                drop_cached(Path(command.removeprefix("drop ")))
            elif command in {"copied", "released"}:
                run.seconds[command] = seconds
            else:
                one = shell(command)
                seconds += one.seconds
                run.cpu_s += one.cpu_s
    finally:
        if image is not None:
            subprocess.run(["umount", mount], check=True)
    return run


def measure(case: Case, target: Target, base: Path, rounds: int) -> None:
    """Run both in turns and print a table."""
    ours: list[Run] = []
    theirs: list[Run] = []
    with card_image(case, base) as (card, image):
        for _ in range(rounds):
            for runs, name, work in ((ours, "daemon", daemon), (theirs, "chain", chain)):
                root = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=base))
                os.sync()
                if work is daemon:
                    runs.append(daemon(root, target, card, image, count=False))
                elif shutil.which("rsync") and shutil.which("rclone"):
                    runs.append(chain(root, target, card, image))
                if case.size_bytes > 2**20:
                    shutil.rmtree(root)
        root = base / "counted"
        root.mkdir()
        counted = Run(note="strace is not installed")
        if shutil.which("strace"):
            counted = daemon(root, target, card, image, count=True)
        shutil.rmtree(root)
    report(case, target, ours, theirs, counted)


def report(case: Case, target: Target, ours: list[Run], theirs: list[Run], counted: Run) -> None:
    """Print medians, and ratios taken within each turn."""
    print(f"\n### {case.name}, {target.name}\n")
    print("| who | first byte s | copied s | released s | CPU s | CPU ms an item |")
    print("|---|---|---|---|---|---|")
    for name, runs in (("bodycam-ingest", ours), ("rsync, sha256sum, rclone", theirs)):
        if not runs:
            print(f"| {name}: not installed | | | | | |")
            continue
        cells = [name]
        for mark in ("first_byte", "copied", "released"):
            found = [run.seconds[mark] for run in runs if mark in run.seconds]
            cells.append(f"{statistics.median(found):.2f}" if found else "")
        cpu_s = statistics.median(run.cpu_s for run in runs)
        cells += [f"{cpu_s:.1f}", f"{1000 * cpu_s / case.count:.2f}"]
        print(f"| {' | '.join(cells)} |")
    if theirs:
        pairs = zip(ours, theirs, strict=True)
        ratio = statistics.median(a.seconds["released"] / b.seconds["released"] for a, b in pairs)
        print(f"\nreleased: {ratio:.2f} times the chain")
    print(f"\nflushes of the whole docking: {counted.note}")
    sys.stdout.flush()


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--store", choices=["directory", "s3", "both"], default="both")
    parser.add_argument("--case", choices=["large", "small", "both"], default="both")
    asked = parser.parse_args()
    cases = {
        "large": Case("10 of 200 MB", max(1, round(10 * asked.scale)), 200_000_000),
        "small": Case("5,000 of 16 KB", max(10, round(5000 * asked.scale)), 16_000),
    }
    chosen = [case for name, case in cases.items() if asked.case in {name, "both"}]
    with (
        tempfile.TemporaryDirectory(prefix="bodycam-bench-", dir=asked.dir) as directory,
        contextlib.ExitStack() as stack,
    ):
        base = Path(directory)
        targets = [Target(None)] if asked.store != "s3" else []
        if asked.store != "directory":
            (base / "server").mkdir()
            targets.append(Target(stack.enter_context(SeaweedServer(base / "server"))))
        for case in chosen:
            for target in targets:
                measure(case, target, base, asked.rounds)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
