"""What is sent: a sealed copy, opened when it is first read, or an object of the daemon's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class LocalCopy(Protocol):
    """A sealed copy in staging, open."""

    def read_at(self, offset: int, length: int) -> bytes:
        """As `ByteSource.read_at`."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class StagedSource:
    """A sealed copy that is opened when it is first read.

    Args:
        open_staged: opens it.
    """

    def __init__(self, open_staged: Callable[[], LocalCopy]) -> None:
        self._open_staged = open_staged
        self._copy: LocalCopy | None = None

    def read_at(self, offset: int, length: int) -> bytes:
        """As `ByteSource.read_at`."""
        if self._copy is None:
            self._copy = self._open_staged()
        return self._copy.read_at(offset, length)

    def close(self) -> None:
        """Close it; it is opened anew when it is read again."""
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.close()


class BytesSource:
    """One of the daemon's own objects as a source."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def read_at(self, offset: int, length: int) -> bytes:
        """As `ByteSource.read_at`."""
        return self._body[offset : offset + length]
