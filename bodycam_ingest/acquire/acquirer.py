"""Copies items off a camera into staging and proves the copies.

`acquire` reads the source once, hashes while it reads, writes past the page cache, makes the copy
durable and names it by its digest. `read_back` reads the copy from the medium and compares. What
either leaves behind at a crash shows in the names alone; see `bodycam_ingest.staging.area`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import threading
import time
from typing import TYPE_CHECKING, Final

from bodycam_ingest.acquire.batch import SmallFileBatch
from bodycam_ingest.camera import SourceFile
from bodycam_ingest.errors import IngestError, StagingFullError
from bodycam_ingest.linux import durable
from bodycam_ingest.linux.group_commit import syncfs_tells_errors
from bodycam_ingest.model.evidence import Acquired
from bodycam_ingest.staging import (
    SEALED_MODE,
    BufferPool,
    Digester,
    FreeSpace,
    Pump,
    StagedCopies,
    StagingArea,
    check_abandoned,
    ignore,
    staging_faults,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bodycam_ingest.model.evidence import CopyRequest, Digests
    from bodycam_ingest.staging import Progress

SMALL_FILE_BYTES: Final = 256 * 1024
_READ_BACK_THREADS: Final = 2
_SLICE: Final = 16
# Between two files nothing is copied for as long as it takes to record the first.
_LINGER_S: Final = 0.5


class Activity:
    """Whether a camera is being copied from: uploads leave the machine to copying meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = 0
        self._ended_s = -math.inf

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Copying goes on for the length of the `with` block."""
        with self._lock:
            self._busy += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1
                self._ended_s = time.monotonic()

    def is_on(self) -> bool:
        """Whether something is copied or read back now, or was a moment ago."""
        with self._lock:
            return self._busy > 0 or time.monotonic() - self._ended_s < _LINGER_S


class Acquirer:
    """Copies and proves items; several threads may use one, each for items of its own.

    Args:
        staging_dir: must exist.
        min_free_bytes: what is always left free on its file system, as configured now.
        pool: buffers; one pool for the whole process bounds its memory.
        abandon: when set, copying and reading back stop at the next buffer with `AbandonedError`.
        own_file_system: whether staging has a file system to itself, so that flushing all of it
            disturbs nobody; None: found out (it has when it is a mount point).
    """

    def __init__(
        self,
        staging_dir: Path,
        *,
        min_free_bytes: Callable[[], int] = lambda: 0,
        pool: BufferPool | None = None,
        abandon: threading.Event | None = None,
        own_file_system: bool | None = None,
    ) -> None:
        self.staging: Final = StagingArea(staging_dir)
        self.pool: Final = pool or BufferPool()
        self.free_space: Final = FreeSpace(staging_dir, min_free_bytes=min_free_bytes)
        self.activity: Final = Activity()
        self._abandon = abandon
        self._pump = Pump(self.pool, abandon)
        self.copies: Final = StagedCopies(self.staging, self._pump)
        if own_file_system is None:
            own_file_system = staging_dir.is_mount()
        self._whole_file_system = own_file_system and syncfs_tells_errors()

    # -- one item --

    def acquire(self, root_fd: int, request: CopyRequest, progress: Progress = ignore) -> Acquired:
        """Copy one item; when this returns, the copy is durable under its final name.

        Whatever is raised, nothing stands under a final name that is not complete.

        Args:
            root_fd: directory of the volume's root.
            request: the item.
            progress: called from this thread with the bytes read since the last call.

        Raises:
            SourceChangedError: the file is not what was listed, or changed while it was read.
            SourceError: the camera's side failed.
            StagingFullError: there is no space for it.
            StagingError: the dock's side failed.
            ItemMovedError: another thread is copying this item.
            AbandonedError: the daemon is stopping.
        """
        check_abandoned(self._abandon)
        with (
            self.activity.busy(),
            self.copies.claim(request.item_id),
            self.free_space.reserve(request.signature.size_bytes) as used,
        ):
            try:
                digests = self._write(root_fd, request, used, progress)
                staged_path = self.copies.seal(request.docking_id, request.item_id, digests)
            except BaseException:
                self.copies.discard(request.docking_id, request.item_id)
                raise
            self.copies.sync_names(request.docking_id)
        return Acquired(request.item_id, digests, staged_path)

    def _write(
        self, root_fd: int, request: CopyRequest, used: Callable[[int], None], progress: Progress
    ) -> Digests:
        size_bytes = request.signature.size_bytes
        digester = Digester(request.path, size_bytes, request.part_size_bytes)

        def moved(count: int) -> None:
            used(count)
            progress(count)

        with (
            SourceFile(root_fd, request.path, request.signature) as source,
            staging_faults(f"writing item {request.item_id}"),
            durable.act("item.write"),
            self.copies.new_part(request.docking_id, request.item_id) as file,
        ):
            sinks = (digester.update, file.write)
            source.confirm(self._pump.run(source.fill, size_bytes, sinks, moved))
            file.finish(SEALED_MODE)
        return digester.digests()

    # -- batches of small items --

    def acquire_batch(
        self, root_fd: int, requests: Sequence[CopyRequest], progress: Progress = ignore
    ) -> list[Acquired | IngestError]:
        """Copy many items, the small ones made durable together.

        Args:
            root_fd: directory of the volume's root.
            requests: the items; those over `SMALL_FILE_BYTES` are copied one by one.
            progress: called from this thread with the bytes read since the last call.

        Returns:
            One outcome for each, in order; an item's fault is its own alone.
        """
        small = {
            index: one
            for index, one in enumerate(requests)
            if one.signature.size_bytes <= SMALL_FILE_BYTES
        }
        outcomes: dict[int, Acquired | IngestError] = {}
        # Where there is not space for all, each is asked whether it fits alone.
        with contextlib.suppress(StagingFullError), self.activity.busy():
            total_bytes = sum(one.signature.size_bytes for one in small.values())
            with self.free_space.reserve(total_bytes):
                batch = SmallFileBatch(self.copies, root_fd, progress, self._abandon)
                outcomes = batch.run(small, whole_file_system=self._whole_file_system)
        for index, one in enumerate(requests):
            if index not in outcomes:
                outcomes[index] = self._outcome(root_fd, one, progress)
        return [outcomes[index] for index in range(len(requests))]

    def _outcome(
        self, root_fd: int, request: CopyRequest, progress: Progress
    ) -> Acquired | IngestError:
        try:
            return self.acquire(root_fd, request, progress)
        except IngestError as error:
            return error

    # -- proof --

    def read_back(self, acquired: Acquired, progress: Progress = ignore) -> str:
        """Read a copy back from the medium and compare it with what was read off the camera.

        Args:
            acquired: the copy.
            progress: called with the bytes read since the last call.

        Returns:
            How it was read, a value of `ReadMethod`.

        Raises:
            ReadBackMismatchError: the copy is bad or cannot be read; it lies in quarantine now.
            ReadBackUnprovenError: it could only be read from memory.
            StagingError: the dock's side failed.
            AbandonedError: the daemon is stopping.
        """
        with self.activity.busy():
            return self.copies.verify(acquired.staged_path, acquired.digests, progress).value

    def read_back_batch(
        self, acquired: Sequence[Acquired], progress: Progress = ignore
    ) -> list[str | IngestError]:
        """Read many copies back, two at a time.

        Args:
            acquired: the copies.
            progress: called with the bytes read since the last call, from several threads.

        Returns:
            One outcome for each, in order: how it was read, or its fault.
        """

        def outcome(one: Acquired) -> str | IngestError:
            try:
                return self.read_back(one, progress)
            except IngestError as error:
                return error

        def outcomes(some: Sequence[Acquired]) -> list[str | IngestError]:
            return [outcome(one) for one in some]

        if len(acquired) == 1:
            return outcomes(acquired)
        # In slices, because handing over each one costs as much as reading a small one.
        slices = [acquired[at : at + _SLICE] for at in range(0, len(acquired), _SLICE)]
        with concurrent.futures.ThreadPoolExecutor(_READ_BACK_THREADS, "read-back") as threads:
            return [one for found in threads.map(outcomes, slices) for one in found]
