"""What grows with the ledger: commands, `verify`, an idle daemon, a camera that is known.

A history is made of the product's own entries: cameras docked, recordings taken, confirmed,
released and purged. Then commands and the daemon run on it as on a dock of that age. Processor
time is what counts: it holds on a machine that does other things too.

python -m tests.benchmarks.growth [--entries 10000 100000 1000000] [--card 10000] [--dir DIRECTORY]
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ulid import ULID

from bodycam_ingest.custody import item_entries
from bodycam_ingest.custody.inventory import Line
from bodycam_ingest.db import known_stores
from bodycam_ingest.db.state_dir import open_ledger
from bodycam_ingest.docking.undock import DockContext, end_docking
from bodycam_ingest.model import rows
from bodycam_ingest.model.evidence import Digests, EntryKind, Verdict
from tests.benchmarks.acquire import Case
from tests.benchmarks.endtoend import card_image, cpu_of, plug
from tests.support import facts
from tests.support.dock import REPOSITORY, Dock
from tests.support.dockbench import docked

_ORIGIN: Final = "police.example.org/custody/dock-1"
_STORE: Final = "nas"
_CAMERA: Final = "CAM1"
_RECORDINGS: Final = 200
_CAMERAS: Final = 50
_SIZE_BYTES: Final = 16_384
_PART_SIZE_BYTES: Final = 1 << 24
_LOOK_S: Final = 30.0
_PATIENCE_S: Final = 900.0
# An idle daemon of which nothing is left to do at its start.
_QUIET: Final = 0.04


@dataclass
class Growth:
    """What one size came to.

    Args:
        entries: of the ledger when the commands ran.
        values: by row of the table.
    """

    entries: int
    values: dict[str, str] = field(default_factory=dict)


def one_docking(dock: DockContext, number: int) -> None:
    """A camera is docked, its recordings are taken, proven, released and purged, and it goes."""
    ledger = dock.ledger
    camera, docking_id = f"HIST-{number % _CAMERAS:03}", str(ULID())
    docking = rows.Docking(docking_id, camera, "1", "", b"/none", "")
    ids = [str(ULID()) for _ in range(_RECORDINGS)]
    digests = [_digests(item_id) for item_id in ids]
    paths = [
        f"{docking_id}/{item_id}-{one.sha256.hex()}"
        for item_id, one in zip(ids, digests, strict=True)
    ]
    with ledger.transaction() as txn:
        first = txn.rows.get(rows.Camera, camera) is None
        txn.add(docked(camera, docking_id, first_seen=first))
        lines = []
        for at, item_id in enumerate(ids):
            name = f"DCIM/100MEDIA/F{number * _RECORDINGS + at:08}.MP4".encode()
            facts.discover(txn, item_id, docking, name, size_bytes=_SIZE_BYTES)
            lines.append(Line(name, EntryKind.FILE, _SIZE_BYTES, 0, Verdict.NEW, item_id))
        facts.inventory_of(txn, camera, docking_id, lines)
    with ledger.transaction() as txn:
        txn.rows.prefetch(rows.Item, ids)
        for item_id, one, path in zip(ids, digests, paths, strict=True):
            facts.acquire(txn, item_id, one, path)
    with ledger.transaction() as txn:
        txn.rows.prefetch(rows.Item, ids)
        for item_id, one in zip(ids, digests, strict=True):
            facts.verify(txn, item_id, one)
    with ledger.transaction() as txn:
        txn.rows.prefetch(rows.Item, ids)
        txn.rows.prefetch(rows.Upload, ids)
        for item_id in ids:
            facts.confirm(txn, item_id, _STORE)
    with ledger.transaction() as txn:
        txn.rows.prefetch(rows.Item, ids)
        for item_id, path in zip(ids, paths, strict=True):
            facts.release(txn, item_id, docking_id, docked=True)
            txn.add(item_entries.purging(item_id, path))
            txn.add(item_entries.purged(item_id, path))
    end_docking(dock, docking_id, "removed")


def _digests(item_id: str) -> Digests:
    sha256 = hashlib.sha256(item_id.encode()).digest()
    return Digests(_SIZE_BYTES, sha256, _PART_SIZE_BYTES, sha256[::-1])


def make_history(dock: Dock, size: int) -> Growth:
    """Append dockings to a new dock's ledger until it has so many entries."""
    engine, ledger = open_ledger(dock.state_dir, _ORIGIN)
    with ledger.transaction() as txn:
        known_stores.note(txn, [known_stores.Wanted(_STORE, "directory", required=True)])
    context = DockContext("dock-1", engine, ledger, [(_STORE, True)])
    began_s, number = time.process_time(), 0
    while ledger.head.size < size:
        one_docking(context, number)
        number += 1
    cpu_s, found = time.process_time() - began_s, Growth(ledger.head.size)
    ledger.close()
    engine.dispose()
    made = number * _RECORDINGS
    size_bytes = (dock.state_dir / "bodycam.db").stat().st_size
    found.values["entry appended, ms CPU"] = f"{1000 * cpu_s / found.entries:.2f}"
    found.values["all entries of a recording, ms CPU"] = f"{1000 * cpu_s / made:.2f}"
    found.values["database a recording, bytes"] = f"{size_bytes / made:,.0f}"
    return found


def command(dock: Dock, *arguments: str) -> tuple[float, float, float, bytes]:
    """Run a command; returns seconds, processor seconds, MB, and what it printed."""
    told = subprocess.run(
        [sys.executable, "-c", _MEASURED, sys.executable, "-m", "bodycam_ingest", *arguments],
        cwd=REPOSITORY,
        env=dock.env,
        capture_output=True,
        check=False,
    )
    figures = json.loads(told.stderr.splitlines()[-1])
    return figures["seconds"], figures["cpu_s"], figures["memory_mb"], told.stdout


# A process of its own, so that the children whose use it asks for are one command's alone.
_MEASURED: Final = """
import json, resource, subprocess, sys, time
began = time.perf_counter()
subprocess.run(sys.argv[1:])
seconds = time.perf_counter() - began
used = resource.getrusage(resource.RUSAGE_CHILDREN)
told = dict(seconds=seconds, cpu_s=used.ru_utime + used.ru_stime, memory_mb=used.ru_maxrss / 1024)
print("\\n" + json.dumps(told), file=sys.stderr)
"""


def commands(dock: Dock, found: Growth) -> None:
    """Time the commands that read, without a daemon."""
    for arguments in (("--help",), ("status",), ("items", "--limit", "10")):
        best = min(command(dock, *arguments)[:2] for _ in range(3))
        found.values[f"`{' '.join(arguments)}`, s (s CPU)"] = f"{best[0]:.2f} ({best[1]:.2f})"
    _, cpu_s, memory_mb, told = command(dock, "items", "--limit", "0", "--json")
    found.values["`items --limit 0 --json`, s CPU (MB)"] = f"{cpu_s:.1f} ({memory_mb:.0f})"
    assert told.endswith(b"]\n"), told[-100:]
    seconds, cpu_s, memory_mb, told = command(dock, "verify", "--json")
    report = json.loads(told)
    assert report["result"] == "holds", report["findings"][:3]
    per_s = report["checked"]["entries"] / cpu_s
    found.values["`verify`, s (s CPU, MB)"] = f"{seconds:.1f} ({cpu_s:.1f}, {memory_mb:.0f})"
    found.values["`verify`, entries a second of CPU"] = f"{per_s:,.0f}"


def used_s(dock: Dock, seconds: float) -> float:
    """Processor seconds that the daemon uses in some time."""
    assert dock.daemon is not None
    before_s = cpu_of(dock.daemon.pid)
    time.sleep(seconds)
    return cpu_of(dock.daemon.pid) - before_s


def settle(dock: Dock) -> None:
    """Wait until the daemon has nothing to do but to watch."""
    while (busy_s := used_s(dock, 3)) > 3 * _QUIET:
        print(f"the daemon settles: {100 * busy_s / 3:.0f} % of a core", file=sys.stderr)


def daemon(dock: Dock, found: Growth, card: int) -> None:
    """Run the daemon idle, then dock one camera twice and let it sit."""
    dock.config.write_text(
        dock.config.read_text()
        .replace("settle_s = 0.1\nrescan_s = 0.1\n", "")
        .replace('level = "debug"', 'level = "info"')
    )
    began_s = time.monotonic()
    dock.start(command=[sys.executable, "-m", "bodycam_ingest", "run"])
    found.values["daemon started, s"] = f"{time.monotonic() - began_s:.1f}"
    try:
        settle(dock)
        found.values["idle, % of a core"] = f"{100 * used_s(dock, _LOOK_S) / _LOOK_S:.2f}"
        with card_image(Case("known", card, _SIZE_BYTES), dock.root) as (files, image):
            put_in(dock, files, image)
            logged(dock, "docking.copied", 1)
            logged(dock, "docking.released", 1)
            take_out(dock, image)
            logged(dock, "camera.undocked", 1)
            settle(dock)
            assert dock.daemon is not None
            cpu_s, began_s = cpu_of(dock.daemon.pid), time.monotonic()
            put_in(dock, files, image)
            logged(dock, "docking.copied", 2)
            took = f"{time.monotonic() - began_s:.1f} ({cpu_of(dock.daemon.pid) - cpu_s:.1f})"
            found.values[f"{card:,} known files docked again, s (s CPU)"] = took
            settle(dock)
            sitting = f"{100 * used_s(dock, _LOOK_S) / _LOOK_S:.2f}"
            found.values["the same camera sitting there, % of a core"] = sitting
            take_out(dock, image)
            logged(dock, "camera.undocked", 2)
    finally:
        dock.stop(timeout_s=120)


def put_in(dock: Dock, files: Path, image: Path | None) -> None:
    """Have the camera appear, again with what it had."""
    aside = dock.mnt / f".{_CAMERA}"
    if aside.exists():
        dock.replug(_CAMERA)
    else:
        plug(dock, _CAMERA, files, image)


def take_out(dock: Dock, image: Path | None) -> None:
    """Have the camera go."""
    if image is None:
        dock.unplug(_CAMERA)
        return
    at = dock.mnt / _CAMERA
    subprocess.run(["umount", at], check=True)
    at.rmdir()


def logged(dock: Dock, event: str, times: int) -> None:
    """Wait until the daemon has logged an event so often."""
    until_s = time.monotonic() + _PATIENCE_S
    while dock.log.read_text().count(f'"{event}"') < times:
        assert dock.daemon is not None
        assert time.monotonic() < until_s, f"no {event}\n{dock.tail()}"
        assert dock.daemon.poll() is None, dock.tail()
        time.sleep(0.02)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--entries", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--card", type=int, default=10_000, help="files of the known camera")
    parser.add_argument("--dir", type=Path, default=Path("/var/tmp"), help="on the disk to measure")
    asked = parser.parse_args()
    # As an installed program's: whether modules are compiled on the way counts for nothing.
    compileall.compile_dir(REPOSITORY / "bodycam_ingest", quiet=1)
    taken: list[Growth] = []
    for size in asked.entries:
        with tempfile.TemporaryDirectory(prefix="bodycam-bench-", dir=asked.dir) as directory:
            dock = Dock(Path(directory))
            dock.store.mkdir()
            dock.init()
            found = make_history(dock, size)
            commands(dock, found)
            daemon(dock, found, asked.card)
            taken.append(found)
    print("\n### What grows with the ledger\n")
    print(f"| entries | {' | '.join(f'{one.entries:,}' for one in taken)} |")
    print(f"|---|{'---|' * len(taken)}")
    for row in taken[0].values:
        print(f"| {row} | {' | '.join(one.values[row] for one in taken)} |")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
