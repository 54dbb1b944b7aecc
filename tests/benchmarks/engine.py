"""What a benchmark runs as a process of its own, so that its time, CPU and memory are its alone.

python -m tests.benchmarks.engine (daemon|copier|limit) SOURCE STAGING [--own-file-system]

`daemon` is the daemon's reader, verifier and ledger: discovered items in, verified items out,
each step recorded. `copier` is the same without the ledger; `limit` writes and reads, no more.
"""

from __future__ import annotations

import argparse
import gc
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

from bodycam_ingest import log
from bodycam_ingest.acquire.acquirer import SMALL_FILE_BYTES, Acquirer
from bodycam_ingest.acquire.read_back import ReadBackVerifier
from bodycam_ingest.acquire.reader import Reader
from bodycam_ingest.acquire.records import BATCH_ITEMS, AcquireContext
from bodycam_ingest.acquire.staging_watch import StagingWatch
from bodycam_ingest.camera import SourceFile, files
from bodycam_ingest.cli.group import COLLECTED_AT
from bodycam_ingest.db import items
from bodycam_ingest.db.schema import item
from bodycam_ingest.db.state_dir import initialise, open_ledger
from bodycam_ingest.docking.camera_findings import CameraTrouble
from bodycam_ingest.linux.direct_io import MediumFile, NewFile
from bodycam_ingest.linux.group_commit import GroupCommit
from bodycam_ingest.model import rows
from bodycam_ingest.model.evidence import PART_SIZE_BYTES_DEFAULT, Acquired, CopyRequest
from bodycam_ingest.model.lifecycle import ItemState
from bodycam_ingest.staging.pump import BufferPool, Pump
from tests.benchmarks.uploads import Uploads
from tests.support import facts
from tests.support.dockbench import docked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bodycam_ingest.db.ledger import LedgerWriter
    from bodycam_ingest.errors import IngestError
    from bodycam_ingest.model.evidence import StatSignature

ORIGIN = "pd.example/custody/bench"
CAMERA = "BENCH-0001"


def listed(source: Path) -> list[tuple[bytes, os.stat_result]]:
    """The recordings of a card, in the order of their names."""
    found = [(os.fsencode(path.name), path.stat()) for path in source.iterdir()]
    return sorted(found, key=lambda one: one[0])


class Beside(threading.Thread):
    """Reads copies back beside the copying of the next ones."""

    def __init__(self, acquirer: Acquirer) -> None:
        super().__init__(name="verifier")
        self._acquirer = acquirer
        self.line: queue.SimpleQueue[list[Acquired] | None] = queue.SimpleQueue()
        self.outcomes: list[str | IngestError] = []

    def run(self) -> None:
        while (copies := self.line.get()) is not None:
            self.outcomes += self._acquirer.read_back_batch(copies)


class Camera(threading.Thread):
    """One camera's recordings, copied one after the other and verified beside the next.

    Args:
        acquirer: shared by all cameras.
        source: the card.
        paths: the recordings of this camera.
        verifier: reads the copies back.
        bytes_per_s: what the camera gives; 0 is as fast as it can.
    """

    def __init__(
        self,
        acquirer: Acquirer,
        source: Path,
        paths: Sequence[tuple[bytes, os.stat_result]],
        verifier: Beside,
        bytes_per_s: float,
    ) -> None:
        super().__init__(name="camera")
        self._acquirer = acquirer
        self._source = source
        self._verifier = verifier
        self.bytes_per_s = bytes_per_s
        self.free_at_s = time.monotonic()
        docking_id = str(ULID())
        self._wanted = [
            CopyRequest(
                str(ULID()), docking_id, path, files.signature_from(status), PART_SIZE_BYTES_DEFAULT
            )
            for path, status in paths
        ]
        self.fault: object = None

    def run(self) -> None:
        small = all(one.signature.size_bytes <= SMALL_FILE_BYTES for one in self._wanted)
        step = BATCH_ITEMS if small else 1
        root_fd = files.open_volume(self._source)
        try:
            for start in range(0, len(self._wanted), step):
                outcomes = self._acquirer.acquire_batch(root_fd, self._wanted[start : start + step])
                copies = [one for one in outcomes if isinstance(one, Acquired)]
                if len(copies) != len(outcomes):
                    self.fault = outcomes
                self._verifier.line.put(copies)
        finally:
            os.close(root_fd)


def _slow_down() -> None:
    """Have reads of a camera's thread take as long as its own rate makes them."""
    fill = SourceFile.fill

    def slow(file: SourceFile, buffer: memoryview, length: int) -> int:
        count = fill(file, buffer, length)
        camera = threading.current_thread()
        if isinstance(camera, Camera) and camera.bytes_per_s:
            camera.free_at_s = max(camera.free_at_s, time.monotonic() - 0.05)
            camera.free_at_s += count / camera.bytes_per_s
            time.sleep(max(0.0, camera.free_at_s - time.monotonic()))
        return count

    setattr(SourceFile, "fill", slow)  # noqa: B010 - mypy forbids the plain form


def copier(
    source: Path,
    staging: Path,
    *,
    own_file_system: bool | None,
    cameras: int = 1,
    bytes_per_s: float = 0.0,
    uploads: Uploads | None = None,
) -> dict[str, object]:
    """Acquire and verify every recording, and record nothing."""
    acquirer = Acquirer(staging, own_file_system=own_file_system)
    acquirer.staging.recover()
    _slow_down()
    verifier = Beside(acquirer)
    found = listed(source)
    docked = [
        Camera(acquirer, source, found[number::cameras], verifier, bytes_per_s)
        for number in range(cameras)
    ]
    if uploads is not None:
        uploads.begin(acquirer.activity.is_on)
    started = time.perf_counter()
    verifier.start()
    for camera in docked:
        camera.start()
    for camera in docked:
        camera.join()
    copied_s = time.perf_counter() - started
    verifier.line.put(None)
    verifier.join()
    seconds = time.perf_counter() - started
    note = f"copied after {copied_s:.2f} s"
    if uploads is not None:
        note += f", {uploads.end() / seconds / 1e6:.0f} MB/s uploaded meanwhile"
    if any(camera.fault for camera in docked):
        raise SystemExit(f"not all were acquired: {[camera.fault for camera in docked]}")
    if len(verifier.outcomes) != len(found) or not all(
        isinstance(one, str) for one in verifier.outcomes
    ):
        raise SystemExit("not all were verified")
    methods = sorted({str(one) for one in verifier.outcomes})
    return {"seconds": seconds, "note": f"read back: {', '.join(methods)}; {note}"}


def _a_minute(*_: object, **__: object) -> float:
    return 60.0


def daemon(source: Path, staging: Path, *, own_file_system: bool | None) -> dict[str, object]:
    """Acquire, verify and record every recording as the daemon does, from a docking that stands."""
    state_dir = staging.with_name(f"{staging.name}-state")
    initialise(state_dir, ORIGIN)
    engine, ledger = open_ledger(state_dir, ORIGIN)
    acquirer = Acquirer(staging, own_file_system=own_file_system)
    acquirer.staging.recover()
    abandon = threading.Event()
    context = AcquireContext(
        engine=engine,
        ledger=ledger,
        acquirer=acquirer,
        part_size_bytes=PART_SIZE_BYTES_DEFAULT,
        delay_s=_a_minute,
        watch=StagingWatch(engine, ledger, acquirer.free_space, _a_minute),
    )
    found, signatures = _discovered(ledger, source)
    verifier = ReadBackVerifier(context, abandon)
    done = threading.Event()

    def verify() -> None:
        while not (done.is_set() and verifier.idle()):
            verifier.run_once(0.05)

    started = time.perf_counter()
    root_fd = files.open_volume(source)
    beside = threading.Thread(target=verify, name="verifier")
    beside.start()
    try:
        trouble = CameraTrouble(engine, ledger, "bench")
        reader = Reader(context, verifier, trouble.files_failed, _ignore)
        reader.read(root_fd, found, signatures, lambda: True)
    finally:
        done.set()
        beside.join()
        os.close(root_fd)
    seconds = time.perf_counter() - started
    with engine.connect() as conn:
        verified = items.in_states(conn, [ItemState.VERIFIED])
    if len(verified) != len(found):
        raise SystemExit(f"{len(verified)} of {len(found)} were verified")
    entries = ledger.head.size
    ledger.close()
    engine.dispose()
    return {"seconds": seconds, "note": f"{entries} ledger entries"}


def _discovered(
    ledger: LedgerWriter, source: Path
) -> tuple[list[items.ItemRow], dict[str, StatSignature]]:
    docking_id = str(ULID())
    signatures: dict[str, StatSignature] = {}
    with ledger.transaction() as txn:
        txn.add(docked(CAMERA, docking_id))
        docking = rows.Docking(docking_id, CAMERA, "1", "", os.fsencode(source), "")
        for path, status in listed(source):
            item_id = str(ULID())
            facts.discover(
                txn,
                item_id,
                docking,
                path,
                size_bytes=status.st_size,
                mtime_ns=status.st_mtime_ns,
            )
            signatures[item_id] = files.signature_from(status)
        found = items.select(txn.conn, item.c.camera == CAMERA)
    return found, signatures


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
    return {"seconds": time.perf_counter() - started, "note": ""}


def _ignore(_count: int) -> None:
    pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["daemon", "copier", "limit"])
    parser.add_argument("source", type=Path)
    parser.add_argument("staging", type=Path)
    parser.add_argument("--own-file-system", action="store_true", default=None)
    parser.add_argument("--cameras", type=int, default=1, help="read at the same time")
    parser.add_argument("--rate", type=float, default=0.0, help="of each camera, MB/s")
    parser.add_argument("--uploads", type=Path, help="a store, as JSON, that is sent to meanwhile")
    parser.add_argument("--pushing", action="store_true", help="uploads make no room")
    asked = parser.parse_args()
    gc.set_threshold(*COLLECTED_AT)
    nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    log.configure("info", "json", stream=nowhere)
    before = resource.getrusage(resource.RUSAGE_SELF)
    match asked.what:
        case "limit":
            answer = limit(asked.source, asked.staging)
        case "daemon":
            answer = daemon(asked.source, asked.staging, own_file_system=asked.own_file_system)
        case _:
            uploads = None
            if asked.uploads:
                uploads = Uploads(asked.uploads, asked.source, makes_room=not asked.pushing)
            answer = copier(
                asked.source,
                asked.staging,
                own_file_system=asked.own_file_system,
                cameras=asked.cameras,
                bytes_per_s=asked.rate * 1e6,
                uploads=uploads,
            )
    after = resource.getrusage(resource.RUSAGE_SELF)
    answer["cpu_s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    answer["memory_mb"] = after.ru_maxrss / 1024
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
