"""From a temporary file to a sealed copy: claimed by one thread, named by digest, made durable."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Final

import structlog

from bodycam_ingest.errors import ItemMovedError, StagingError
from bodycam_ingest.linux.direct_io import NewFile
from bodycam_ingest.staging.os_errors import staging_faults
from bodycam_ingest.staging.reading import sha256_from_medium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bodycam_ingest.model.evidence import Digests
    from bodycam_ingest.staging.area import StagingArea
    from bodycam_ingest.staging.pump import Pump

log = structlog.get_logger(__name__)

SEALED_MODE: Final = 0o400


class Sealer:
    """Makes sealed copies in a staging area.

    Args:
        staging: where.
        pump: for reading what an earlier try left.
    """

    def __init__(self, staging: StagingArea, pump: Pump) -> None:
        self.staging: Final = staging
        self._pump = pump
        self._lock = threading.Lock()
        self._claimed: set[str] = set()

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

    @contextlib.contextmanager
    def discarding(self, docking_id: str, item_id: str) -> Iterator[None]:
        """Leave no temporary file when the block fails; its own fault is the one that is told."""
        try:
            yield
        except BaseException:
            self.discard(docking_id, item_id)
            raise

    def discard(self, docking_id: str, item_id: str) -> None:
        """Remove a temporary file as far as that is possible."""
        try:
            self.staging.discard_part(docking_id, item_id)
        except StagingError as error:
            # The next try, or the next start, removes it.
            log.warning("staging.part_left", item_id=item_id, error=error.message)

    def seal(self, docking_id: str, item_id: str, digests: Digests) -> str:
        """Name a written, fsynced temporary file by its digest; not durable before `sync_names`.

        Returns:
            The staged path.

        Raises:
            StagingError: the medium refused.
        """
        staged_path = self.staging.sealed_name(docking_id, item_id, digests.sha256)
        with staging_faults(f"naming the copy of item {item_id}"):
            try:
                self.staging.seal(docking_id, item_id, staged_path)
            except FileExistsError:
                self._settle_left_over(docking_id, item_id, staged_path, digests)
        return staged_path

    def _settle_left_over(
        self, docking_id: str, item_id: str, staged_path: str, digests: Digests
    ) -> None:
        """An earlier try got as far as the name: keep its copy if whole, else set it apart."""
        size_bytes, sha256, _ = sha256_from_medium(
            self.staging.path_of(staged_path), self._pump, lambda _: None
        )
        if (size_bytes, sha256) == (digests.size_bytes, digests.sha256):
            self.staging.discard_part(docking_id, item_id)
            return
        self.staging.move_to_quarantine(staged_path)
        self.staging.seal(docking_id, item_id, staged_path)

    def sync_names(self, docking_id: str) -> None:
        """Make the names in a docking's directory durable.

        Raises:
            StagingError: the medium refused; what was sealed stays and is found by the next try.
        """
        with staging_faults(f"making the names of docking {docking_id} durable"):
            self.staging.sync_docking_directory(docking_id)
