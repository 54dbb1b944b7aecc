"""What a benchmark runs as a process of its own, so that its time, CPU and memory are its alone.

python -m tests.benchmarks.engine (ours|limit) SOURCE STAGING [--own-file-system]
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import resource
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ulid import ULID

from bodycam_ingest import volume
from bodycam_ingest.acquire import SMALL_FILE_BYTES, Acquirer, Wanted
from bodycam_ingest.diskio.buffers import BufferPool
from bodycam_ingest.diskio.direct import MediumFile, NewFile
from bodycam_ingest.diskio.groupcommit import GroupCommit
from bodycam_ingest.diskio.pumping import Pump
from bodycam_ingest.evidence import PART_SIZE_BYTES_DEFAULT, Acquired

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bodycam_ingest.errors import IngestError

# As the daemon takes them.
BATCH_ITEMS = 1000
BATCH_BYTES = 64 * 1024 * 1024


def listed(source: Path) -> list[tuple[bytes, os.stat_result]]:
    """The recordings of a card, in the order of their names."""
    found = [(os.fsencode(path.name), path.stat()) for path in source.iterdir()]
    return sorted(found, key=lambda one: one[0])


def crowds(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Small items together, every large one alone."""
    crowd: list[Wanted] = []
    crowd_bytes = 0
    for one in wanted:
        if one.stamp.size_bytes > SMALL_FILE_BYTES:
            yield [one]
            continue
        if len(crowd) == BATCH_ITEMS or crowd_bytes + one.stamp.size_bytes > BATCH_BYTES:
            yield crowd
            crowd, crowd_bytes = [], 0
        crowd.append(one)
        crowd_bytes += one.stamp.size_bytes
    if crowd:
        yield crowd


class Verifier(threading.Thread):
    """Reads copies back beside the copying of the next ones."""

    def __init__(self, acquirer: Acquirer) -> None:
        super().__init__(name="verifier")
        self._acquirer = acquirer
        self.line: queue.SimpleQueue[list[Acquired] | None] = queue.SimpleQueue()
        self.outcomes: list[str | IngestError] = []

    def run(self) -> None:
        while (copies := self.line.get()) is not None:
            self.outcomes += self._acquirer.read_back_batch(copies)


def ours(source: Path, staging: Path, *, own_file_system: bool | None) -> dict[str, object]:
    """Acquire and verify every recording."""
    acquirer = Acquirer(staging, min_free_bytes=0, own_file_system=own_file_system)
    acquirer.recover()
    docking_id = str(ULID())
    started = time.perf_counter()
    root_fd = volume.open_volume(source)
    wanted = [
        Wanted(str(ULID()), docking_id, path, volume.stamp_from(status), PART_SIZE_BYTES_DEFAULT)
        for path, status in listed(source)
    ]
    verifier = Verifier(acquirer)
    verifier.start()
    try:
        for crowd in crowds(wanted):
            outcomes = acquirer.acquire_batch(root_fd, crowd)
            copies = [one for one in outcomes if isinstance(one, Acquired)]
            if len(copies) != len(crowd):
                raise SystemExit(f"not all were acquired: {outcomes}")
            verifier.line.put(copies)
    finally:
        verifier.line.put(None)
        verifier.join()
        os.close(root_fd)
    seconds = time.perf_counter() - started
    if len(verifier.outcomes) != len(wanted) or not all(
        isinstance(one, str) for one in verifier.outcomes
    ):
        raise SystemExit("not all were verified")
    methods = sorted({str(one) for one in verifier.outcomes})
    return {
        "seconds": seconds,
        "read_back": ", ".join(methods),
        "buffers": acquirer.pool.in_use_max,
    }


def limit(source: Path, staging: Path) -> dict[str, object]:
    """The disk's own limit: the same bytes written and read cold by the same code, unhashed."""
    pool = BufferPool()
    pump = Pump(pool)
    started = time.perf_counter()
    names: list[bytes] = []
    with GroupCommit(staging, mode=0o400, whole_file_system=True) as group:
        for index, (name, status) in enumerate(listed(source)):
            names.append(name)
            path = os.fsdecode(name)
            if status.st_size <= SMALL_FILE_BYTES:
                group.add(index, str(staging / path), (source / path).read_bytes())
                continue
            with (
                (source / path).open("rb", buffering=0) as file,
                NewFile(str(staging / path)) as new,
            ):

                def fill(buffer: memoryview, length: int, fd: int = file.fileno()) -> int:
                    return os.readv(fd, [buffer[:length]])

                pump.run(fill, status.st_size, [new.write], _ignore)
                new.finish(0o400)
        group.commit()
    for name in names:
        with MediumFile(str(staging / os.fsdecode(name))) as copy:
            pump.run(copy.read_into, copy.size_bytes, [lambda *_: None], _ignore)
    return {"seconds": time.perf_counter() - started, "buffers": pool.in_use_max}


def _ignore(_count: int) -> None:
    pass


def main() -> None:
    """Run one and print what it took, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["ours", "limit"])
    parser.add_argument("source", type=Path)
    parser.add_argument("staging", type=Path)
    parser.add_argument("--own-file-system", action="store_true", default=None)
    asked = parser.parse_args()
    before = resource.getrusage(resource.RUSAGE_SELF)
    if asked.what == "ours":
        answer = ours(asked.source, asked.staging, own_file_system=asked.own_file_system)
    else:
        answer = limit(asked.source, asked.staging)
    after = resource.getrusage(resource.RUSAGE_SELF)
    answer["cpu_s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    answer["memory_mb"] = after.ru_maxrss / 1024
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
