"""Listing a camera's volume.

Nothing is followed: links, sockets, FIFOs, devices and other mounts are listed as what they are.
A listing that met a fault is never complete, and what it lacks is never taken for missing.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bodycam_ingest.camera import files
from bodycam_ingest.errors import AbandonedError, IngestError, SourceChangedError, SourceLimitError
from bodycam_ingest.linux.open_writers import held_open_for_writing
from bodycam_ingest.model.evidence import EntryKind, InventoryEntry, StatSignature, printable_path
from bodycam_ingest.model.sampling import sample_digest

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from bodycam_ingest.config import CameraLimits
    from bodycam_ingest.model.evidence import StatSignature


_KINDS: Final = {
    stat.S_IFREG: EntryKind.FILE,
    stat.S_IFDIR: EntryKind.DIRECTORY,
    stat.S_IFLNK: EntryKind.SYMLINK,
    stat.S_IFSOCK: EntryKind.SOCKET,
    stat.S_IFIFO: EntryKind.FIFO,
    stat.S_IFBLK: EntryKind.DEVICE,
    stat.S_IFCHR: EntryKind.DEVICE,
}


@dataclass(slots=True)
class Listing:
    """One walk over a volume.

    Args:
        entries: everything that was found, in no particular order.
        complete: every directory was listed to its end, and no limit was passed.
        fault: why not, the first one; None where it is complete.
    """

    entries: list[InventoryEntry] = field(default_factory=list)
    complete: bool = True
    fault: IngestError | None = None

    def failed(self, error: IngestError) -> None:
        """Note a fault."""
        self.complete = False
        self.fault = self.fault or error


def list_volume(
    root_fd: int, limits: CameraLimits, abandon: threading.Event | None = None
) -> Listing:
    """List a volume; whether its device is still there is for the caller to find out, after this.

    When `abandon` is set, the walk ends at the next directory with `AbandonedError`.
    """
    listing = Listing()
    try:
        device = os.fstat(root_fd).st_dev
    except OSError as error:
        listing.failed(files.source_error(error, b"/"))
        return listing
    waiting: list[tuple[bytes, int]] = [(b"", 0)]
    while waiting:
        if abandon is not None and abandon.is_set():
            raise AbandonedError("the daemon is stopping")
        path, depth = waiting.pop()
        # Filled while listing: what came before a fault in a directory is gone on with.
        inner: list[bytes] = []
        try:
            _list_directory(root_fd, path, device, limits, listing, inner)
        except OSError as error:
            fault = _directory_fault(error, path)
            listing.failed(fault)
            if path:
                listing.entries.append(
                    InventoryEntry(path, EntryKind.UNREADABLE, detail=fault.message)
                )
        except SourceLimitError as error:
            listing.failed(error)
            break
        if depth + 1 > limits.max_depth and inner:
            listing.failed(
                SourceLimitError(f"{printable_path(path)}: deeper than {limits.max_depth}")
            )
            continue
        waiting.extend((name, depth + 1) for name in inner)
    return listing


def _directory_fault(error: OSError, path: bytes) -> IngestError:
    fault = files.source_error(error, path or b"/")
    if path and error.errno in {errno.ENOENT, errno.ENOTDIR}:
        # A name that cannot be entered is this directory's trouble, as on a damaged FAT, or it
        # was removed just now. Whether the camera is there is asked of its source, after the walk.
        return SourceChangedError(fault.message)
    return fault


def _list_directory(
    root_fd: int,
    path: bytes,
    device: int,
    limits: CameraLimits,
    listing: Listing,
    found: list[bytes],
) -> None:
    """Take a directory's entries into the listing, its directories into `found`."""
    fd = files.open_directory_beneath(root_fd, path)
    try:
        with os.scandir(fd) as names:
            for name in names:
                if len(listing.entries) >= limits.max_files:
                    raise SourceLimitError(f"more than {limits.max_files} entries on the volume")
                raw = os.fsencode(name.name)
                inner = path + b"/" + raw if path else raw
                if len(inner) > limits.max_path_bytes:
                    listing.failed(
                        SourceLimitError(
                            f"{printable_path(inner[:64])}…: a path of {len(inner)} bytes"
                        )
                    )
                    continue
                entry = _entry(fd, raw, inner, device)
                listing.entries.append(entry)
                if entry.kind is EntryKind.UNREADABLE:
                    listing.complete = False
                if entry.kind is EntryKind.DIRECTORY:
                    found.append(inner)
    finally:
        os.close(fd)


def _entry(fd: int, name: bytes, path: bytes, device: int) -> InventoryEntry:
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError as error:
        fault = files.source_error(error, path)
        return InventoryEntry(path, EntryKind.UNREADABLE, detail=fault.message)
    if status.st_dev != device:
        return InventoryEntry(path, EntryKind.OTHER_MOUNT, detail="another mount, not entered")
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), EntryKind.DEVICE)
    if kind is EntryKind.FILE and status.st_size < 0:
        detail = f"{printable_path(path)}: a length of {status.st_size} bytes"
        return InventoryEntry(path, EntryKind.UNREADABLE, detail=detail)
    if kind is EntryKind.FILE:
        return InventoryEntry(path, kind, files.signature_from(status))
    if kind is EntryKind.DIRECTORY:
        return InventoryEntry(path, kind)
    return InventoryEntry(path, kind, detail=f"a {kind.value}, not opened")


def sample(root_fd: int, path: bytes, signature: StatSignature) -> bytes:
    """The sample digest of a file on a camera, by reading its windows alone.

    Raises:
        SourceChangedError: it is not the file that was listed.
        SourceError: it could not be read.
    """
    fd = files.open_beneath(root_fd, path)
    try:
        with files.source_faults(path):
            digest = sample_digest(
                path,
                signature.size_bytes,
                lambda offset, length: files.read_exactly_at(fd, offset, length, path),
            )
            # Looked at after reading: a writer in between is seen, one before it as well.
            now = files.signature_of(fd)
    finally:
        os.close(fd)
    if now != signature:
        raise SourceChangedError(f"{printable_path(path)} is not the file that was listed")
    return digest


class Settling:
    """Which files have stood still for long enough (pure: time is given).

    Args:
        settle_s: how long size and time must not have changed, s, as configured now.
        unwritable: nobody on this machine can write to the volume: two looks that agree suffice.
    """

    def __init__(self, settle_s: Callable[[], float], *, unwritable: bool = False) -> None:
        self._settle_s = settle_s
        self.unwritable = unwritable
        self._since: dict[bytes, tuple[StatSignature, float]] = {}

    def observe(self, now_s: float, path: bytes, signature: StatSignature) -> bool:
        """Take a look at a file at `now_s` (monotonic); returns whether it has settled."""
        known = self._since.get(path)
        if known is None or known[0] != signature:
            self._since[path] = (signature, now_s)
            return self._settle_s() <= 0
        return self.unwritable or now_s - known[1] >= self._settle_s()

    def forget(self, keep: set[bytes]) -> None:
        """Drop every file that is not in `keep`."""
        self._since = {path: seen for path, seen in self._since.items() if path in keep}


def being_written(root_fd: int, path: bytes) -> bool:
    """Whether a process of this machine is known to hold the file open for writing.

    A file that cannot be asked is not known to be: reading it meets the same fault, with a time
    for the next try that is its own, and holds up no other file.
    """
    try:
        fd = files.open_beneath(root_fd, path)
    except IngestError:
        return False
    try:
        return held_open_for_writing(fd)
    except OSError:
        return False
    finally:
        os.close(fd)
