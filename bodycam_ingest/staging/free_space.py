"""Free space in staging: what the file system has, less what is reserved for copies under way."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bodycam_ingest.errors import (
    StagingError,
    StagingForbiddenError,
    StagingFullError,
    StagingReadOnlyError,
)
from bodycam_ingest.staging.os_errors import staging_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Space:
    """The space at one moment: for new copies, and of the whole file system.

    `free_bytes` comes beside all reservations and what is always left; it is negative where more
    is used already.
    """

    free_bytes: int
    whole_bytes: int


class FreeSpace:
    """The free space on the staging directory's file system.

    `min_free_bytes` says what is always left, as configured now.
    """

    def __init__(self, directory: Path, *, min_free_bytes: Callable[[], int]) -> None:
        self._directory = directory
        self._min_free_bytes = min_free_bytes
        self._lock = threading.Lock()
        self._reserved_bytes = 0

    def look(self) -> Space:
        """The space now, in a directory that can be written.

        Raises:
            StagingError: it is not there or no directory, may not be written, is read-only, or
                could not be asked.
        """
        with staging_faults(f"looking at {self._directory}"):
            mode = self._directory.stat().st_mode
            flags = os.statvfs(self._directory).f_flag
        if not stat.S_ISDIR(mode):
            raise StagingError(f"{self._directory} is no directory")
        if flags & os.ST_RDONLY:
            raise StagingReadOnlyError(f"{self._directory} is mounted read-only")
        if not os.access(self._directory, os.R_OK | os.W_OK | os.X_OK):
            raise StagingForbiddenError(f"{self._directory} may not be written")
        with self._lock:
            return self._space()

    def _space(self) -> Space:
        with staging_faults("asking staging for free space"):
            status = os.statvfs(self._directory)
        free_bytes = status.f_bavail * status.f_frsize
        return Space(
            free_bytes=free_bytes - self._reserved_bytes - self._min_free_bytes(),
            whole_bytes=status.f_blocks * status.f_frsize,
        )

    @contextlib.contextmanager
    def reserve(self, size_bytes: int) -> Iterator[Callable[[int], None]]:
        """Reserve space for a copy for the length of a `with` block.

        The block, in one thread, calls what it is given with each number of bytes that are on the
        disk now: they need no reservation any more.

        Raises:
            StagingFullError: there is not so much.
            StagingError: the file system could not be asked.
        """
        with self._lock:
            if size_bytes > self._space().free_bytes:
                raise StagingFullError(
                    f"{size_bytes} bytes do not fit into {self._directory} "
                    f"with {self._min_free_bytes()} left free"
                )
            self._reserved_bytes += size_bytes
        left_bytes = size_bytes

        def used(count: int) -> None:
            nonlocal left_bytes
            count = min(count, left_bytes)
            left_bytes -= count
            with self._lock:
                self._reserved_bytes -= count

        try:
            yield used
        finally:
            used(left_bytes)
