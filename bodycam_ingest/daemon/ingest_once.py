"""One pass over a directory that is already mounted: rescue work, without the daemon."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.camera import MountedVolume, disk_health, safe_serial
from bodycam_ingest.daemon.workers import Worker
from bodycam_ingest.db import dockings, items
from bodycam_ingest.errors import IngestError, UsageError
from bodycam_ingest.log import log
from bodycam_ingest.model.lifecycle import COPIED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bodycam_ingest.camera import DiskHealth
    from bodycam_ingest.daemon.components import Components
    from bodycam_ingest.docking import Docking


# A file that still moves after this is left for another pass.
_PATIENCE_S: Final = 60.0
_POLL_S: Final = 0.05
_WATCH_S: Final = 0.2


class FixedSource:
    """A source of one directory, as long as it is the same one."""

    def __init__(self, mounted: MountedVolume) -> None:
        self._mounted = mounted

    def start(self, wake: Callable[[], None]) -> None:
        """Nothing comes or goes by itself."""

    def present(self) -> list[MountedVolume]:
        """The one directory, while it is there."""
        return [self._mounted] if self.is_present(self._mounted) else []

    def is_present(self, mounted: MountedVolume) -> bool:
        """Whether the directory is the one that was named."""
        try:
            status = mounted.mount_path.stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (mounted.device, mounted.inode)

    def disk_health(self, mounted: MountedVolume) -> DiskHealth:
        """How the disk below it stands, where there is one."""
        return disk_health(mounted.device)

    def stop(self) -> None:
        """Nothing runs."""


@dataclass(slots=True)
class RescueReport:
    """What one pass did.

    Args:
        taken: items that were copied in this pass; what lay there already is not among them.
        seconds: how long reading and verifying took.
        not_taken: items that could not be read and verified, with the fault they wait on.
        removed: the directory went away before the end.
    """

    docking_id: str
    camera: str
    states: dict[str, int] = field(default_factory=dict)
    taken: list[dict[str, Any]] = field(default_factory=list)
    read_bytes: int = 0
    seconds: float = 0.0
    not_taken: list[dict[str, Any]] = field(default_factory=list)
    removed: bool = False

    def whole(self) -> bool:
        """Whether everything that was found lies verified in staging."""
        return not self.not_taken and not self.removed


def look_at(path: Path, serial: str) -> MountedVolume:
    """The volume that a directory stands for.

    Raises:
        UsageError: it is no directory that can be read, or the serial is empty.
    """
    if not safe_serial(serial):
        raise UsageError("the camera's serial is empty", hint="--camera SERIAL")
    try:
        status = path.stat()
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="Name a mounted directory.") from error
    return MountedVolume(
        camera=serial,
        bay="rescue",
        volume="",
        mount_path=path.absolute(),
        device=status.st_dev,
        inode=status.st_ino,
        properties={"SOURCE": "rescue"},
    )


def rescue(
    components: Components,
    mounted: MountedVolume,
    *,
    upload: bool,
    progress: Callable[[int, int], None],
) -> RescueReport:
    """Take one directory in, while no daemon runs.

    With `upload` what is due is sent once; the rest is the daemon's. `progress` is told of bytes
    read since the last call, and of how many there are.

    Raises:
        IngestError: only those whose disposition is HALT; a file's own fault is in the report.
    """
    components.recover(lambda: None)
    while components.recovery_step() == 0.0:
        pass
    serial = safe_serial(mounted.camera)
    docking = components.identification.open_docking(
        mounted, serial, source=FixedSource(mounted), reason="rescue pass"
    )
    begun_s = time.monotonic()
    with _verifying(components) as wait_verified:
        with _watched(docking, progress):
            there = _read_all(components, docking)
        wait_verified()
    seconds = time.monotonic() - begun_s
    docking.finish("finished" if there else "removed")
    if upload:
        _upload_due(components)
    report = _report(components, docking.docking_id, serial, removed=not there)
    report.read_bytes, report.seconds = docking.progress.bytes_done, round(seconds, 1)
    return report


@contextlib.contextmanager
def _verifying(components: Components) -> Iterator[Callable[[], None]]:
    """Read back in a thread beside; yields a function that waits until all of it is done."""
    halted: list[IngestError] = []
    worker = Worker("verifier", components.verify_step, halted.append, silence_max_s=_PATIENCE_S)
    worker.start()

    def wait_verified() -> None:
        while not components.verifier.idle() and not halted:
            time.sleep(_POLL_S)

    try:
        yield wait_verified
    finally:
        worker.stop()
        worker.join(_PATIENCE_S)
    if halted:
        raise halted[0]


@contextlib.contextmanager
def _watched(docking: Docking, progress: Callable[[int, int], None]) -> Iterator[None]:
    """Tell how far reading is while one look at the directory reads for an hour."""
    over = threading.Event()

    def watch() -> None:
        shown = 0
        while True:
            last = over.wait(_WATCH_S)
            done = docking.progress.bytes_done
            progress(done - shown, docking.progress.bytes_total)
            shown = done
            if last:
                return

    watcher = threading.Thread(target=watch, name="rescue-progress", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _read_all(components: Components, docking: Docking) -> bool:
    shown = 0
    moved_s = time.monotonic()
    while docking.look_once():
        done = docking.progress.bytes_done
        if done != shown:
            shown, moved_s = done, time.monotonic()
        if not docking.untried():
            return True
        if time.monotonic() - moved_s > _PATIENCE_S:
            log.warning("rescue.files_still_move", docking_id=docking.docking_id)
            return True
        time.sleep(max(_POLL_S, components.config.now.cameras.settle_s / 2))
    return False


def _upload_due(components: Components) -> None:
    for store in components.stores:
        while components.uploader.run_due(store) == 0.0:
            pass
    if components.checkpoints.tick():
        for store in components.stores:
            while components.uploader.run_due(store) == 0.0:
                pass
    components.releaser.tick({})


def _report(components: Components, docking_id: str, serial: str, *, removed: bool) -> RescueReport:
    report = RescueReport(docking_id, serial, removed=removed)
    with components.engine.connect() as conn:
        named = [row["item_id"] for row in dockings.inventory_items(conn, docking_id)]
        for row in items.by_ids(conn, named):
            report.states[row.state.value] = report.states.get(row.state.value, 0) + 1
            if row.docking_id == docking_id and row.state in COPIED:
                report.taken.append(
                    {
                        "item_id": row.item_id,
                        "path": row.path,
                        "size_bytes": row.size_bytes,
                        "sha256": row.sha256.hex() if row.sha256 else None,
                        "state": row.state.value,
                    }
                )
            if row.state not in COPIED:
                report.not_taken.append(
                    {
                        "item_id": row.item_id,
                        "path": row.path,
                        "state": row.state.value,
                        "last_error": row.last_error or row.quarantine_reason,
                    }
                )
    return report
