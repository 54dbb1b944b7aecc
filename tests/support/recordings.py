"""Cards with recordings on them, and the words to have them acquired; for tests."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from ulid import ULID

from bodycam_ingest.acquire.acquirer import Acquirer
from bodycam_ingest.camera import files
from bodycam_ingest.config import CameraLimits
from bodycam_ingest.model.evidence import CopyRequest, Digests, StatSignature
from bodycam_ingest.model.sampling import sample_digest
from bodycam_ingest.staging.pump import BufferPool
from tests.support.patching import fail

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    import pytest

PAGE_BYTES = 4096


def content(size_bytes: int, seed: int = 1) -> bytes:
    """Bytes that do not repeat."""
    return random.Random(seed).randbytes(size_bytes)


def digests_of(path: bytes, data: bytes, part_size_bytes: int) -> Digests:
    """What hashlib says about the bytes."""
    return Digests(
        size_bytes=len(data),
        sha256=hashlib.sha256(data).digest(),
        part_size_bytes=part_size_bytes,
        sample_sha256=sample_digest(
            path, len(data), lambda offset, length: data[offset : offset + length]
        ),
    )


def file_of(fd: int) -> str:
    """The name of an open file."""
    return os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115 - Path has none that is as short


def is_part(fd: int) -> bool:
    """Whether an open file is a copy under way."""
    return file_of(fd).endswith(".part")


def refuse_direct_at_open(patch: pytest.MonkeyPatch) -> None:
    """A file system without direct I/O."""
    real = os.open

    def refusing(path: str, flags: int, mode: int = 0o777, **more: Any) -> int:
        if flags & os.O_DIRECT:
            if flags & os.O_CREAT:
                # Linux makes the file before it finds out.
                os.close(real(path, flags & ~os.O_DIRECT, mode, **more))
            raise OSError(errno.EINVAL, "no direct I/O here")
        return real(path, flags, mode, **more)

    patch.setattr(os, "open", refusing)


def refuse_direct_at_transfer(patch: pytest.MonkeyPatch) -> None:
    """One that takes the flag and refuses the first transfer."""

    def is_direct(fd: int, _data: object) -> bool:
        return bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT)

    for name in ("write", "readv"):
        fail(patch, os, name, errno.EINVAL, is_direct)


def open_files() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - only their number


def limits_of(max_files: int, max_path_bytes: int, max_depth: int) -> CameraLimits:
    """Limits of a listing, also such as no configuration allows."""
    return CameraLimits.model_construct(
        max_files=max_files, max_path_bytes=max_path_bytes, max_depth=max_depth
    )


@dataclass
class Desk:
    """A card and a staging directory."""

    card: Path
    staging: Path
    root_fd: int
    docking_id: str

    @classmethod
    def at(cls, directory: Path) -> Self:
        """Make both below `directory`."""
        card, staging = directory / "card", directory / "staging"
        card.mkdir(exist_ok=True)
        staging.mkdir(exist_ok=True)
        root_fd = os.open(card, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return cls(card, staging, root_fd, str(ULID()))

    def close(self) -> None:
        os.close(self.root_fd)

    def acquirer(
        self,
        *,
        buffer_bytes: int = PAGE_BYTES,
        count_max: int = 8,
        min_free_bytes: int = 0,
        abandon: threading.Event | None = None,
        own_file_system: bool | None = None,
    ) -> Acquirer:
        """An acquirer with buffers so small that small files need many."""
        return Acquirer(
            self.staging,
            min_free_bytes=lambda: min_free_bytes,
            pool=BufferPool(buffer_bytes=buffer_bytes, count_max=count_max),
            abandon=abandon,
            own_file_system=own_file_system,
        )

    def record(self, name: str, data: bytes, part_size_bytes: int = 16 * 2**20) -> CopyRequest:
        """Put a recording on the card and want it."""
        path = self.card / name
        path.write_bytes(data)
        return self.want(name, part_size_bytes)

    def want(self, name: str, part_size_bytes: int = 16 * 2**20) -> CopyRequest:
        """Want a recording that is on the card."""
        return CopyRequest(
            item_id=str(ULID()),
            docking_id=self.docking_id,
            path=os.fsencode(name),
            signature=self.signature(name),
            part_size_bytes=part_size_bytes,
        )

    def signature(self, name: str) -> StatSignature:
        """The recording's signature now."""
        fd = os.open(self.card / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return files.signature_of(fd)
        finally:
            os.close(fd)

    def staged_files(self) -> list[str]:
        """Everything below staging that is a file."""
        return sorted(
            str(path.relative_to(self.staging))
            for path in self.staging.rglob("*")
            if path.is_file()
        )
