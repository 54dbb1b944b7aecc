"""Acquire and verify, side by side with the tools that people use for it today.

Every chain does the whole job: copy off the card, make the copy durable, hash the source, read
the copy cold and compare. They run in turns, several rounds, and what counts is the ratio within
a round: a shared disk drifts by a factor of two, ratios hold. The source is warm for everybody,
as if the camera were faster than any; a real one is slower than all of this.

python -m tests.benchmarks.acquire [--scale 0.05] [--rounds 3] [--dir DIRECTORY]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).parents[2]
DROP = "drop the cache"
FILES = "find . -type f -print0 | sort -z | xargs -0"
COPY = ("cp -r {src}/. {dst}", "sync -f {dst}")
HASH = ("cd {src} && " + FILES + " sha256sum > {dst}.src",)
CHECK = ("cd {dst} && sha256sum --quiet -c {dst}.src",)
OPENSSL = FILES + " -P 2 -n 16 openssl dgst -sha256 -r | sort"


@dataclass(frozen=True)
class Case:
    """Files to be taken.

    Args:
        name: for people.
        count: how many.
        size_bytes: of each.
    """

    name: str
    count: int
    size_bytes: int


@dataclass
class Figures:
    """What one run took.

    Args:
        seconds: wall time.
        cpu_s: processor time.
        memory_mb: peak resident memory; 0 where it is not known.
        note: what it says about itself.
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    memory_mb: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Chain:
    """One way to do the job.

    Args:
        name: for people.
        run: does it, from a warm source to an empty destination.
        sha256: whether what it proves is SHA-256.
    """

    name: str
    run: Callable[[Path, Path], Figures]
    sha256: bool = True


def drop_cached(directory: Path) -> None:
    """Have the kernel forget the files below a directory; needs no root."""
    for path in directory.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)


def warm(directory: Path) -> None:
    """Read every file below a directory."""
    for path in directory.iterdir():
        with path.open("rb", buffering=0) as file:
            while file.read(1024 * 1024):
                pass


def shell(command: str) -> Figures:
    """Run a command; its time, and the CPU of all its processes."""
    started = time.perf_counter()
    child = subprocess.Popen(["sh", "-c", command])
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if child.returncode:
        raise SystemExit(f"failed with {child.returncode}: {command}")
    # Its peak memory is not told: a child starts with its parent's, which is larger.
    return Figures(seconds, usage.ru_utime + usage.ru_stime)


def steps(*commands: str) -> Callable[[Path, Path], Figures]:
    """A chain of commands; `DROP` empties the cache of the copy, outside of the time taken."""

    def run(src: Path, dst: Path) -> Figures:
        total = Figures()
        for command in commands:
            if command == DROP:
                drop_cached(dst)
                continue
            one = shell(command.format(src=src, dst=dst))
            total.seconds += one.seconds
            total.cpu_s += one.cpu_s
        return total

    return run


def engine(what: str, *more: str) -> Callable[[Path, Path], Figures]:
    """A chain that runs our own code in a process of its own."""

    def run(src: Path, dst: Path) -> Figures:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.engine", what, str(src), str(dst), *more],
            check=True,
            capture_output=True,
            cwd=ROOT,
        )
        told = json.loads(done.stdout.splitlines()[-1])
        return Figures(told["seconds"], told["cpu_s"], told["memory_mb"], told["note"])

    return run


OURS = Chain("bodycam-ingest, ledger included", engine("daemon"))
COPIER = Chain("bodycam-ingest, no ledger", engine("copier"))
LIMIT = Chain("limit: write, cold read, no hash", engine("limit"), sha256=False)


def chains(case: Case) -> list[Chain]:
    """Who runs: ourselves, the disk's limit, and whatever is installed."""
    found = [OURS, COPIER]
    if case.size_bytes <= SMALL_BYTES:
        run = engine("daemon", "--own-file-system")
        found.append(Chain("bodycam-ingest, staging on its own file system", run))
    found.append(LIMIT)
    if shutil.which("sha256sum"):
        found.append(Chain("cp + sha256sum + cold -c", steps(*COPY, *HASH, DROP, *CHECK)))
    if shutil.which("openssl"):
        hash_source = "cd {src} && " + OPENSSL + " > {dst}.src"
        hash_copy = "cd {dst} && " + OPENSSL + " > {dst}.dst && cmp {dst}.src {dst}.dst"
        run = steps(*COPY, hash_source, DROP, hash_copy)
        found.append(Chain("cp + openssl, 2 processes", run))
    if shutil.which("rsync"):
        copy = "rsync -r -t --fsync {src}/ {dst}/"
        compare = 'test -z "$(rsync -r -t -c -n -i {src}/ {dst}/)"'
        found.append(Chain("rsync --fsync + rsync -c", steps(copy, DROP, compare), sha256=False))
        found.append(Chain("rsync --fsync + sha256sum", steps(copy, *HASH, DROP, *CHECK)))
    if (ascmhl := shutil.which("ascmhl")) is not None:
        seal = ascmhl + " create -n -h xxh128 {%s} > {dst}.mhl"
        again = (seal % "src", *COPY, "rm -r {src}/ascmhl", DROP, seal % "dst")
        found.append(Chain("cp + ascmhl xxh128", steps(*again), sha256=False))
    return found


def peers(directory: Path) -> str:
    """Install what pip has, for this benchmark alone; returns the names of what is missing.

    Args:
        directory: where; removed by whoever made it.
    """
    wanted = ["sha256sum", "openssl", "rsync", "rclone", "ascmhl"]
    if shutil.which("ascmhl") is None:
        made = subprocess.run([sys.executable, "-m", "venv", directory], check=False)
        if not made.returncode:
            pip = [
                str(directory / "bin/pip"),
                "install",
                "-q",
                "--disable-pip-version-check",
                "ascmhl",
            ]
            subprocess.run(pip, check=False, stdout=sys.stderr, stderr=subprocess.DEVNULL)
            os.environ["PATH"] += f"{os.pathsep}{directory / 'bin'}"
    return ", ".join(name for name in wanted if shutil.which(name) is None)


SMALL_BYTES = 256 * 1024


def make_card(case: Case, card: Path) -> None:
    """Files that neither compress nor repeat."""
    card.mkdir()
    block = random.Random(case.name).randbytes(4 * 1024 * 1024)
    number = 0
    for index in range(case.count):
        with (card / f"{index:05}.mp4").open("wb", buffering=0) as file:
            left = case.size_bytes
            while left:
                number += 1
                piece = number.to_bytes(8, "big") + block
                left -= file.write(piece[: min(left, len(block))])


def measure(case: Case, base: Path, rounds: int) -> dict[str, list[Figures]]:
    """Run all chains in turns."""
    card = base / "card"
    make_card(case, card)
    drop_cached(card)
    taken: defaultdict[str, list[Figures]] = defaultdict(list)
    turns = [chain for _ in range(rounds) for chain in chains(case)]
    for number, chain in enumerate(turns):
        if sys.stderr.isatty():
            print(f"\r{case.name}: {number} of {len(turns)}", end="", file=sys.stderr)
        copy = base / f"copy-{number}"
        copy.mkdir()
        warm(card)
        subprocess.run(["sync", "-f", str(base)], check=True)
        taken[chain.name].append(chain.run(card, copy))
        # ext4 is slow to make files where others were deleted minutes ago: many small
        # copies stay until the end, large ones would fill the disk.
        if case.size_bytes > SMALL_BYTES:
            shutil.rmtree(copy)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    for left in base.iterdir():
        if left.name != "peers":
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    return dict(taken)


def report(case: Case, taken: dict[str, list[Figures]]) -> None:
    """Print a table: medians, and ratios taken within each round."""
    megabytes = case.count * case.size_bytes / 1e6
    print(f"\n### {case.name}\n")
    print("| chain | seconds | MB/s | time / ours | time / limit | CPU s | peak MB | SHA-256 |")
    print("|---|---|---|---|---|---|---|---|")
    for chain in chains(case):
        runs = taken[chain.name]
        seconds = statistics.median(run.seconds for run in runs)
        cpu_s = statistics.median(run.cpu_s for run in runs)
        memory_mb = max(run.memory_mb for run in runs)
        cells = [
            chain.name,
            f"{seconds:.2f}",
            f"{megabytes / seconds:.0f}",
            f"{_ratio(runs, taken[OURS.name]):.2f}",
            f"{_ratio(runs, taken[LIMIT.name]):.2f}",
            f"{cpu_s:.1f}",
            f"{memory_mb:.0f}" if memory_mb else "",
            "yes" if chain.sha256 else "no",
        ]
        print(f"| {' | '.join(cells)} |")
    for note in sorted({run.note for runs in taken.values() for run in runs} - {""}):
        print(f"\n{note}")


def _ratio(runs: Sequence[Figures], others: Sequence[Figures]) -> float:
    return statistics.median(
        one.seconds / other.seconds for one, other in zip(runs, others, strict=True)
    )


def options(document: str | None) -> argparse.ArgumentParser:
    """What every benchmark is asked with."""
    parser = argparse.ArgumentParser(description=(document or "").partition("\n")[0])
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full amounts")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each way gets")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="on the disk to measure")
    return parser


def main() -> None:
    asked = options(__doc__).parse_args()
    scale = asked.scale
    cases = [
        Case("One large file", 1, max(1, round(2e9 * scale))),
        Case("40 large files", 40, max(1, round(100e6 * scale))),
        Case("Small files of 16 KB", max(2, round(5000 * scale)), 16_000),
    ]
    with tempfile.TemporaryDirectory(prefix="bodycam-bench-", dir=asked.dir) as base:
        missing = peers(Path(base) / "peers")
        print(f"not installed, and so left out: {missing or 'nothing'}")
        for case in cases:
            amount = f"{case.count} of {case.size_bytes / 1e6:g} MB"
            named = Case(f"{case.name}: {amount}", case.count, case.size_bytes)
            report(named, measure(named, Path(base), asked.rounds))
            sys.stdout.flush()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
