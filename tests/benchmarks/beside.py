"""What copying keeps of its speed: beside seven other cameras, and beside uploads.

Eight cameras give 35 MB/s (USB 2) or 200 MB/s (USB 3) each, beside the rate that they have together
and what the disk takes. Uploads run as the daemon's do, and once more without making room; what
counts is the speed beside them over the speed alone, within one turn.

python -m tests.benchmarks.beside [--scale 0.1] [--rounds 3] [--dir DIRECTORY]
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bodycam_ingest.stores.directory import prepare
from tests.benchmarks.acquire import Case, drop_cached, engine, make_card, options, warm
from tests.support.seaweedfs import SeaweedServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.benchmarks.acquire import Figures

_CAMERAS = 8


class Card:
    """A card, and copies of it that come and go.

    Args:
        case: what lies on it.
        base: where.
    """

    def __init__(self, case: Case, base: Path) -> None:
        self.case = case
        self.base = base
        self.path = base / "card"
        make_card(case, self.path)
        drop_cached(self.path)

    def copy(self, what: str, *more: str) -> Figures:
        """Run the engine once, from a warm card to an empty directory."""
        to = self.base / "copy"
        to.mkdir()
        warm(self.path)
        os.sync()
        found = engine(what, *more)(self.path, to)
        shutil.rmtree(to)
        return found

    def remove(self) -> None:
        shutil.rmtree(self.path)


def cameras(base: Path, scale: float, rounds: int) -> None:
    """Print what eight cameras at once come to."""
    print(f"\n### {_CAMERAS} cameras at once\n")
    print(
        "| each gives | seconds | cameras alone would take | disk alone | of the slower of both |"
    )
    print("|---|---|---|---|---|")
    for rate, size in ((35, 250e6), (200, 500e6)):
        card = Card(Case("cameras", _CAMERAS, round(size * scale)), base)
        taken = []
        for _ in range(rounds):
            ours = card.copy("copier", "--cameras", str(_CAMERAS), "--rate", str(rate)).seconds
            taken.append((ours, card.copy("limit").seconds))
        own_s = card.case.size_bytes / rate / 1e6
        ours_s, disk_s = (statistics.median(one) for one in zip(*taken, strict=True))
        ratio = statistics.median(ours / max(own_s, disk) for ours, disk in taken)
        print(f"| {rate} MB/s | {ours_s:.2f} | {own_s:.2f} | {disk_s:.2f} | {ratio:.2f} |")
        card.remove()


def uploads(base: Path, scale: float, rounds: int, table: Mapping[str, object], name: str) -> None:
    """Print what copying keeps beside uploads to one store."""
    config = base / "store.json"
    config.write_text(json.dumps(table))
    card = Card(Case("uploads", max(2, round(16 * scale)), 100_000_000), base)
    ways: dict[str, Sequence[str]] = {
        "alone": (),
        "uploads make room": ("--uploads", str(config)),
        "uploads push": ("--uploads", str(config), "--pushing"),
    }
    runs: dict[str, list[Figures]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, more in ways.items():
            runs[way].append(card.copy("copier", *more))
            shutil.rmtree(base / "archive" / "bench", ignore_errors=True)
    print(f"\n### Copying beside uploads: {name}\n")
    print("| | seconds | speed kept | |")
    print("|---|---|---|---|")
    for way, taken in runs.items():
        pairs = zip(runs["alone"], taken, strict=True)
        kept = statistics.median(alone.seconds / one.seconds for alone, one in pairs)
        seconds = statistics.median(one.seconds for one in taken)
        print(f"| {way} | {seconds:.2f} | {kept:.2f} | {taken[-1].note} |")
    card.remove()


def main() -> None:
    asked = options(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="bodycam-bench-", dir=asked.dir) as directory:
        base = Path(directory)
        cameras(base, asked.scale, asked.rounds)
        (base / "archive").mkdir()
        prepare(base / "archive")
        archive = {"name": "nas", "type": "directory", "path": str(base / "archive")}
        uploads(base, asked.scale, asked.rounds, archive, "a directory on the same disk")
        (base / "server").mkdir()
        with SeaweedServer(base / "server") as server:
            bucket = {
                "name": "cloud",
                "type": "s3",
                "bucket": server.bucket,
                "endpoint_url": server.url,
                "region": "us-east-1",
                "ca_bundle": str(server.ca_bundle),
                "credentials": {
                    "source": "file",
                    "path": str(server.write_keys_file(base / "keys.ini")),
                    "profile": "default",
                },
            }
            name = "S3, the server on the same processors"
            uploads(base, asked.scale, asked.rounds, bucket, name)
        subprocess.run(["sync", "-f", str(base)], check=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
