"""Reads sealed copies back from the medium and compares them with what the camera gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import ReadBackMismatchError, StagingMissingError, StagingUnreadableError
from bodycam_ingest.staging.area import StagingArea
from bodycam_ingest.staging.buffers import BufferPool
from bodycam_ingest.staging.digests import Digester
from bodycam_ingest.staging.os_errors import staging_faults
from bodycam_ingest.staging.pump import Pump
from bodycam_ingest.staging.reading import read_from_medium, sha256_from_medium

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bodycam_ingest.model.evidence import Digests
    from bodycam_ingest.staging.pump import Sink
    from bodycam_ingest.staging.reading import ReadMethod


def _ignore(_count: int) -> None:
    """Takes a count and does nothing with it."""


class StagedCopies:
    """Reads sealed copies back from the medium.

    Args:
        staging: where they lie.
        pump: moves the bytes.
    """

    def __init__(self, staging: StagingArea, pump: Pump) -> None:
        self.staging: Final = staging
        self._pump = pump

    def verify(
        self, staged_path: str, digests: Digests, progress: Callable[[int], None]
    ) -> ReadMethod:
        """Read a copy back and compare; a bad copy is moved to quarantine.

        Args:
            staged_path: the copy.
            digests: what it must be.
            progress: called with the bytes read since the last call.

        Returns:
            How it was read.

        Raises:
            ReadBackMismatchError: other bytes came back, or none could be read; `quarantined`
                says where the copy lies now.
            ReadBackUnprovenError: it could only be read from memory.
            StagingMissingError: it is not there.
            StagingError: the medium failed, also for setting the copy apart.
            AbandonedError: the daemon is stopping.
        """
        path = self.staging.path_of(staged_path)
        try:
            with staging_faults(f"reading {staged_path} back", sealed=True):
                size_bytes, sha256, method = sha256_from_medium(path, self._pump, progress)
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
        self,
        staged_path: str,
        path: bytes,
        part_size_bytes: int,
        progress: Callable[[int], None] = _ignore,
    ) -> Digests:
        """Every digest of a sealed copy, from the medium: after a crash they replace what was lost.

        Args:
            staged_path: the copy.
            path: the item's path on its camera, for the sample windows.
            part_size_bytes: upload part size.
            progress: called with the bytes read since the last call.

        Raises:
            StagingMissingError: it is not there.
            StagingError: the medium failed.
            ReadBackUnprovenError: it could only be read from memory.
            AbandonedError: the daemon is stopping.
        """
        taken: list[Digester] = []

        def sinks_for(size_bytes: int) -> Sequence[Sink]:
            taken.append(Digester(path, size_bytes, part_size_bytes))
            return [taken[0].take]

        with staging_faults(f"hashing {staged_path} again", sealed=True):
            read_from_medium(self.staging.path_of(staged_path), self._pump, sinks_for, progress)
        return taken[0].digests()


def open_copies(staging_dir: Path) -> StagedCopies:
    """The copies in a staging directory, for whoever copies nothing there."""
    return StagedCopies(StagingArea(staging_dir), Pump(BufferPool()))
