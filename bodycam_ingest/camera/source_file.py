"""One recording on a camera, open for its one read, watched for changes from first to last."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bodycam_ingest.camera import files
from bodycam_ingest.errors import SourceChangedError, SourceUnreadableError
from bodycam_ingest.linux.direct_io import read_fully
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from bodycam_ingest.model.evidence import StatSignature


class SourceFile:
    """A file on a camera that must be what it was when it was listed, until it has been read.

    Args:
        root_fd: directory of the volume's root.
        path: path relative to it.
        signature: what the file was when it was listed.

    Raises:
        SourceChangedError: it is not that file any more.
        SourceError: it could not be opened.
    """

    def __init__(self, root_fd: int, path: bytes, signature: StatSignature) -> None:
        self._path = path
        self._signature = signature
        self._fd = files.open_beneath(root_fd, path)
        try:
            self._compare("before it was read")
        except BaseException:
            self.close()
            raise

    def _compare(self, when: str) -> None:
        try:
            now = files.signature_of(self._fd)
        except OSError as error:
            raise files.source_error(error, self._path) from error
        if now != self._signature:
            raise SourceChangedError(
                f"{printable_path(self._path)} changed {when}: {self._signature} became {now}"
            )

    def fill(self, buffer: memoryview, length: int) -> int:
        """Read the next `length` bytes; fewer only at the file's end.

        Raises:
            SourceError: the medium failed or is gone.
        """
        return read_fully(self._read_some, buffer[:length], length)

    def _read_some(self, view: memoryview) -> int:
        try:
            return os.readv(self._fd, [view])
        except OSError as error:
            raise files.source_error(error, self._path) from error

    def confirm(self, count: int) -> None:
        """Make sure that the bytes read are the whole of an unchanged file.

        Args:
            count: bytes read.

        Raises:
            SourceChangedError: size, mtime, inode or device differ from before.
            SourceUnreadableError: the file ended early though its size says otherwise.
            SourceError: the file could not be asked.
        """
        self._compare("while it was read")
        if count != self._signature.size_bytes:
            raise SourceUnreadableError(
                f"{printable_path(self._path)} gave {count} of {self._signature.size_bytes} bytes"
            )

    def close(self) -> None:
        """Close the file and have the kernel forget it, so that a second read asks the medium."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
