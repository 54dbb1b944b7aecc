"""Copies items off a camera into staging and proves the copies.

What either leaves behind at a crash shows in the names alone; see `bodycam_ingest.staging.area`.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import math
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from bodycam_ingest.camera import SourceFile
from bodycam_ingest.errors import IngestError, StagingFullError
from bodycam_ingest.linux import durable
from bodycam_ingest.linux.group_commit import GroupCommit, syncfs_tells_errors
from bodycam_ingest.log import log
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
    staging_error,
    staging_faults,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bodycam_ingest.model.evidence import CopyRequest, Digests
    from bodycam_ingest.staging import Progress

T = TypeVar("T")

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

    def acquire(self, root_fd: int, request: CopyRequest, progress: Progress = ignore) -> Acquired:
        """Copy one item; when this returns, the copy is durable under its final name.

        The source is read once, hashed while it is read, and written past the page cache. Whatever
        is raised, nothing stands under a final name that is not complete.

        Args:
            root_fd: directory of the volume's root.
            request: the item.
            progress: called from this thread.

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

    def acquire_batch(
        self, root_fd: int, requests: Sequence[CopyRequest], progress: Progress = ignore
    ) -> list[Acquired | IngestError]:
        """As `acquire` for many items; several small ones are made durable together.

        Returns:
            One outcome for each, in order; an item's fault is its own alone.
        """
        small = {
            index: one
            for index, one in enumerate(requests)
            if one.signature.size_bytes <= SMALL_FILE_BYTES
        }
        outcomes: dict[int, Acquired | IngestError] = {}
        if len(small) > 1:
            # Where there is not space for all, each is asked whether it fits alone.
            with contextlib.suppress(StagingFullError), self.activity.busy():
                total_bytes = sum(one.signature.size_bytes for one in small.values())
                with self.free_space.reserve(total_bytes):
                    batch = _SmallFiles(self.copies, root_fd, small, progress, self._abandon)
                    outcomes = batch.run(whole_file_system=self._whole_file_system)
        for index, one in enumerate(requests):
            if index not in outcomes:
                outcomes[index] = _outcome(partial(self.acquire, root_fd, one, progress))
        return [outcomes[index] for index in range(len(requests))]

    def read_back(self, acquired: Acquired, progress: Progress = ignore) -> str:
        """Read a copy back from the medium and compare it with what was read off the camera.

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
        """As `read_back` for many copies, two at a time; `progress` is called from several threads.

        Returns:
            One outcome for each, in order: how it was read, or its fault.
        """

        def outcomes(some: Sequence[Acquired]) -> list[str | IngestError]:
            return [_outcome(partial(self.read_back, one, progress)) for one in some]

        if len(acquired) == 1:
            return outcomes(acquired)
        # In slices, because handing over each one costs as much as reading a small one.
        slices = [acquired[at : at + _SLICE] for at in range(0, len(acquired), _SLICE)]
        with concurrent.futures.ThreadPoolExecutor(_READ_BACK_THREADS, "read-back") as threads:
            return [one for found in threads.map(outcomes, slices) for one in found]


def _outcome(do: Callable[[], T]) -> T | IngestError:
    try:
        return do()
    except IngestError as error:
        return error


class _SmallFiles:
    """A batch of small items under any keys: read one after the other, made durable together."""

    def __init__(
        self,
        copies: StagedCopies,
        root_fd: int,
        requests: Mapping[int, CopyRequest],
        progress: Progress,
        abandon: threading.Event | None,
    ) -> None:
        self._copies = copies
        self._root_fd = root_fd
        self._requests = requests
        self._progress = progress
        self._abandon = abandon
        self._read: dict[int, Digests] = {}
        self._outcomes: dict[int, Acquired | IngestError] = {}

    def run(self, *, whole_file_system: bool) -> dict[int, Acquired | IngestError]:
        """Copy the items, with one flush of the whole file system or one of each file.

        An item without an outcome must be copied alone: the batch failed as a whole, or something
        of the item's name was in the way.
        """
        with contextlib.ExitStack() as claims:
            try:
                try:
                    with durable.act("item.write"):
                        self._write(claims, whole_file_system=whole_file_system)
                except OSError as error:
                    log.warning("staging.batch_failed", items=len(self._requests), error=str(error))
                    self._forget(list(self._read))
                sealed = self._seal()
            except BaseException:
                self._forget(list(self._read))
                raise
            self._sync_names(sealed)
        return self._outcomes

    def _write(self, claims: contextlib.ExitStack, *, whole_file_system: bool) -> None:
        staging = self._copies.staging
        made: set[str] = set()
        with GroupCommit(
            staging.directory, mode=SEALED_MODE, whole_file_system=whole_file_system
        ) as group:
            for index, one in self._requests.items():
                try:
                    check_abandoned(self._abandon)
                    claims.enter_context(self._copies.claim(one.item_id))
                    data, digests = self._read_one(one)
                    if one.docking_id not in made:
                        with staging_faults(f"making the directory of docking {one.docking_id}"):
                            staging.make_docking_directory(one.docking_id)
                        made.add(one.docking_id)
                except IngestError as error:
                    self._outcomes[index] = error
                else:
                    self._read[index] = digests
                    group.add(index, staging.part_path(one.docking_id, one.item_id), data)
            faults = group.commit()
        self._forget(faults)
        for index, fault in faults.items():
            # A temporary file in the way is gone now: the item can be copied alone.
            if not isinstance(fault, FileExistsError):
                doing = f"writing item {self._requests[index].item_id}"
                self._outcomes[index] = staging_error(fault, doing)

    def _read_one(self, one: CopyRequest) -> tuple[bytearray, Digests]:
        size_bytes = one.signature.size_bytes
        data = bytearray(size_bytes)
        with SourceFile(self._root_fd, one.path, one.signature) as source, memoryview(data) as view:
            source.confirm(source.fill(view, size_bytes))
            digester = Digester(one.path, size_bytes, one.part_size_bytes)
            digester.update(view, size_bytes)
        self._progress(size_bytes)
        return data, digester.digests()

    def _forget(self, indices: Iterable[int]) -> None:
        for index in indices:
            del self._read[index]
            self._copies.discard(self._requests[index].docking_id, self._requests[index].item_id)

    def _seal(self) -> dict[int, Acquired]:
        sealed: dict[int, Acquired] = {}
        for index, digests in list(self._read.items()):
            one = self._requests[index]
            try:
                staged_path = self._copies.seal(one.docking_id, one.item_id, digests)
            except IngestError as error:
                self._forget([index])
                self._outcomes[index] = error
            else:
                sealed[index] = Acquired(one.item_id, digests, staged_path)
        return sealed

    def _sync_names(self, sealed: Mapping[int, Acquired]) -> None:
        for docking_id in sorted({self._requests[index].docking_id for index in sealed}):
            outcome: IngestError | None = None
            try:
                self._copies.sync_names(docking_id)
            except IngestError as error:
                outcome = error
            for index, acquired in sealed.items():
                if self._requests[index].docking_id == docking_id:
                    self._outcomes[index] = outcome or acquired
