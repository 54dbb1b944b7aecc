"""Sealed copies: how they are named and made durable, hashed, and read back from the medium."""

from __future__ import annotations

import contextlib
import enum
import hashlib
import threading
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import (
    ItemMovedError,
    ReadBackMismatchError,
    ReadBackUnprovenError,
    StagingError,
    StagingMissingError,
    StagingUnreadableError,
)
from bodycam_ingest.linux import durable
from bodycam_ingest.linux.direct_io import MediumFile, NewFile
from bodycam_ingest.log import log
from bodycam_ingest.model.evidence import Digests
from bodycam_ingest.model.sampling import SampleHasher
from bodycam_ingest.staging.area import StagingArea
from bodycam_ingest.staging.os_errors import staging_faults
from bodycam_ingest.staging.pump import BufferPool, Pump, ignore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bodycam_ingest.staging.pump import Progress

SEALED_MODE: Final = 0o400


class ReadMethod(enum.StrEnum):
    """How bytes were read back: what the claim "from the medium" rests on."""

    DIRECT = "direct"
    CACHE_DROPPED = "cache_dropped"
    MEMORY = "memory"


class Digester:
    """Takes an item's digests in one pass over its bytes: of the whole, and of the sample windows.

    The sample windows are chosen by the path on the camera and the length that the file is
    expected to have. `part_size_bytes`, for uploads, is kept with the digests.
    """

    def __init__(self, path: bytes, size_bytes: int, part_size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._part_size_bytes = part_size_bytes
        self._whole = hashlib.sha256()
        self._sample = SampleHasher(path, size_bytes)

    def update(self, buffer: memoryview, length: int) -> None:
        """Add the next `length` bytes."""
        view = buffer[:length]
        self._whole.update(view)
        self._sample.update(view)

    def digests(self) -> Digests:
        """The digests, once all `size_bytes` bytes were given."""
        return Digests(
            size_bytes=self._size_bytes,
            sha256=self._whole.digest(),
            part_size_bytes=self._part_size_bytes,
            sample_sha256=self._sample.digest(),
        )


class StagedCopies:
    """Makes sealed copies in a staging area and reads them back; several threads use one."""

    def __init__(self, staging: StagingArea, pump: Pump) -> None:
        self.staging: Final = staging
        self._pump = pump
        self._lock = threading.Lock()
        self._claimed: set[str] = set()

    # -- from a temporary file to a sealed copy --

    @contextlib.contextmanager
    def claim(self, item_id: str) -> Iterator[None]:
        """Keep other threads from the item for the length of a `with` block.

        Raises:
            ItemMovedError: another thread has it.
        """
        with self._lock:
            if item_id in self._claimed:
                raise ItemMovedError(f"item {item_id} is being copied by another thread")
            self._claimed.add(item_id)
        try:
            yield
        finally:
            with self._lock:
                self._claimed.discard(item_id)

    def new_part(self, docking_id: str, item_id: str) -> NewFile:
        """Open the temporary file of a claimed item.

        Raises:
            OSError: as mkdir(2), open(2).
            StagingError: a left-over could not be removed.
        """
        self.staging.make_docking_directory(docking_id)
        path = self.staging.part_path(docking_id, item_id)
        try:
            return NewFile(path)
        except FileExistsError:
            # Left by a try whose clearing away failed; the claim says that nobody writes to it.
            self.staging.discard_part(docking_id, item_id)
        return NewFile(path)

    def discard(self, docking_id: str, item_id: str) -> None:
        """Remove a temporary file as far as that is possible."""
        try:
            self.staging.discard_part(docking_id, item_id)
        except StagingError as error:
            # The next try, or the next start, removes it.
            log.warning("staging.part_left", item_id=item_id, error=error.message)

    def seal(self, docking_id: str, item_id: str, digests: Digests) -> str:
        """Name a written, fsynced temporary file by its digest; returns the staged path.

        The name is not durable before `sync_names`.

        Raises:
            StagingError: the medium refused.
        """
        staged_path = self.staging.sealed_name(docking_id, item_id, digests.sha256)
        with staging_faults(f"naming the copy of item {item_id}"):
            try:
                self.staging.seal(docking_id, item_id, staged_path)
            except FileExistsError:
                # An earlier try got as far as the name: its copy stays if it is whole.
                size_bytes, sha256, _ = self._hash(staged_path, ignore)
                if (size_bytes, sha256) == (digests.size_bytes, digests.sha256):
                    self.staging.discard_part(docking_id, item_id)
                else:
                    self.staging.move_to_quarantine(staged_path)
                    self.staging.seal(docking_id, item_id, staged_path)
        return staged_path

    def sync_names(self, docking_id: str) -> None:
        """Make the names in a docking's directory durable.

        Raises:
            StagingError: the medium refused; what was sealed stays and is found by the next try.
        """
        with (
            staging_faults(f"making the names of docking {docking_id} durable"),
            durable.act("item.directory_sync"),
        ):
            durable.fsync_directory(self.staging.directory / docking_id)

    # -- read back --

    def verify(self, staged_path: str, digests: Digests, progress: Progress) -> ReadMethod:
        """Read a copy back and compare; returns how it was read.

        Raises:
            ReadBackMismatchError: other bytes came back, or none could be read; the copy lies in
                quarantine now, where `quarantined` says.
            ReadBackUnprovenError: it could only be read from memory.
            StagingMissingError: it is not there.
            StagingError: the medium failed, also for moving the copy to quarantine.
            AbandonedError: the daemon is stopping.
        """
        try:
            with staging_faults(f"reading {staged_path} back", sealed=True):
                size_bytes, sha256, method = self._hash(staged_path, progress)
        except StagingMissingError:
            self.staging.forbid_gone()
            raise
        except StagingUnreadableError as error:
            # The sectors under it are bad. In quarantine it keeps them from being used again.
            raise self._reject(staged_path, error.message) from error
        if (size_bytes, sha256) != (digests.size_bytes, digests.sha256):
            raise self._reject(
                staged_path,
                f"{staged_path} came back as {size_bytes} bytes with SHA-256 {sha256.hex()}, "
                f"{digests.size_bytes} bytes with {digests.sha256.hex()} were written",
            )
        return method

    def _reject(self, staged_path: str, message: str) -> ReadBackMismatchError:
        return ReadBackMismatchError(
            message, quarantined=self.staging.move_to_quarantine(staged_path)
        )

    def rehash(
        self, staged_path: str, path: bytes, part_size_bytes: int, progress: Progress = ignore
    ) -> Digests:
        """Every digest of a sealed copy, from the medium: after a crash they replace what was lost.

        `path` is the item's on its camera; it chooses the sample windows.

        Raises:
            StagingMissingError: it is not there.
            StagingError: the medium failed.
            ReadBackUnprovenError: it could only be read from memory.
            AbandonedError: the daemon is stopping.
        """
        with (
            staging_faults(f"hashing {staged_path} again", sealed=True),
            self._on_medium(staged_path) as file,
        ):
            digester = Digester(path, file.size_bytes, part_size_bytes)
            self._pump.run(file.read_into, file.size_bytes, [digester.update], progress)
        return digester.digests()

    def _hash(self, staged_path: str, progress: Progress) -> tuple[int, bytes, ReadMethod]:
        whole = hashlib.sha256()

        def update(buffer: memoryview, length: int) -> None:
            whole.update(buffer[:length])

        with self._on_medium(staged_path) as file:
            count = self._pump.run(file.read_into, file.size_bytes, [update], progress)
            # Asked last: past the cache may be refused as late as at the first transfer.
            direct = ReadMethod.DIRECT if file.direct else ReadMethod.CACHE_DROPPED
            return count, whole.digest(), ReadMethod.MEMORY if file.in_memory else direct

    @contextlib.contextmanager
    def _on_medium(self, staged_path: str) -> Iterator[MediumFile]:
        """Open a copy whose bytes come from the medium, or where that is memory, from there."""
        path = self.staging.path_of(staged_path)
        with MediumFile(path) as file:
            if not file.in_memory and not file.past_cache():
                raise ReadBackUnprovenError(f"{path} stays in the page cache")
            yield file


def open_copies(staging_dir: Path) -> StagedCopies:
    """The copies in a staging directory, for whoever copies nothing there."""
    return StagedCopies(StagingArea(staging_dir), Pump(BufferPool()))
