"""The files of a directory store: objects, the notes beside them, and what tries leave behind.

Whoever else may write to the archive can put anything there. So nothing is opened that is no
regular file, nothing is waited for, no link is followed, and what is read whole has a limit. Where
the medium fails, all of it raises `OSError`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
import re
import stat
from typing import TYPE_CHECKING, Any, Final

from ulid import ULID

from bodycam_ingest.errors import (
    LocalCopyDamagedError,
    ReadBackUnprovenError,
    StoreConflictError,
    StoreError,
    StoreMismatchError,
    StoreObstructedError,
)
from bodycam_ingest.linux import durable
from bodycam_ingest.linux.beneath import open_beneath
from bodycam_ingest.linux.direct_io import ALIGNMENT_BYTES, MediumFile, NewFile
from bodycam_ingest.model.evidence import FoundObject
from bodycam_ingest.stores.contract import ITEM_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bodycam_ingest.model.evidence import StoreObject
    from bodycam_ingest.stores.contract import ByteSource, Pace

CHUNK_BYTES: Final = 4 * 1024 * 1024
FILE_MODE: Final = 0o440
# Ours have 4 KB at most.
_NOTE_BYTES_MAX: Final = 64 * 1024
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Up to here writing past the cache costs one wait more than it saves.
SMALL_BYTES: Final = 256 * 1024
_TRIAL: Final = re.compile(r"\.{1,2}[0-9A-HJKMNP-TV-Z]{26}\.trial(\.tmp)?")
# Another dock's trial, in an archive that they share, lasts moments.
_TRIAL_AGE_S: Final = 600


def read_small(path: Path | str, most_bytes: int) -> bytes | None:
    """A small file's bytes; None for what is missing, no regular file, or larger.

    Raises:
        OSError: the medium failed.
    """
    try:
        fd = os.open(path, _READ)
    except OSError as error:
        # A link, a socket, a device that is not there, a parent that is no directory.
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR}:
            return None
        raise
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > most_bytes:
            return None
        # One byte more than may be: the file may have grown since.
        data = b""
        while len(data) <= most_bytes and (more := os.read(fd, most_bytes + 1 - len(data))):
            data += more
    finally:
        os.close(fd)
    return data if len(data) <= most_bytes else None


class Place:
    """Where an object lies; `fd` is its directory, closed by whoever opened it."""

    def __init__(self, fd: int, key: str) -> None:
        self.fd = fd
        self.key = key
        self._name = key.rpartition("/")[2]
        # Whatever is done to the directory's own path meanwhile, these lead into that directory.
        self._base = f"/proc/self/fd/{fd}/"
        self.path = f"{self._base}{self._name}"
        self.note = f"{self._base}.{self._name}.meta.json"

    def temporary(self) -> str:
        """A name for a try: each has its own, so that no two rename each other's half."""
        return f"{self._base}.{self._name}.{ULID()}.part"

    def clear_leftovers(self) -> None:
        """Remove what a try that was cut off left; safe, because every try has its own name."""
        for name in os.listdir(self.fd):  # noqa: PTH208 - of a descriptor
            if name.startswith(f".{self._name}.") and name.endswith(".part"):
                remove(f"{self._base}{name}")


def remove(path: str) -> None:
    """Remove a file; one that is not there is fine."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - a plain string


def open_directory(root_fd: int, directory: str) -> int | None:
    """A descriptor of a directory below another of the store, None when it is not there.

    Raises:
        StoreObstructedError: something else lies there or on the way: a link, a FIFO, a file.
        OSError: the medium failed.
    """
    try:
        return open_beneath(root_fd, directory.encode() or b".", _DIRECTORY, one_device=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in {errno.ENOTDIR, errno.ELOOP}:
            raise StoreObstructedError(
                f"{directory}, or what lies above it, is no directory of the store"
            ) from error
        raise


@contextlib.contextmanager
def place_of(root_fd: int, key: str) -> Iterator[Place | None]:
    """Where an object lies, None when its directory is not there; faults as `open_directory`."""
    fd = open_directory(root_fd, key.rpartition("/")[0])
    if fd is None:
        yield None
        return
    try:
        yield Place(fd, key)
    finally:
        os.close(fd)


def look(place: Place) -> FoundObject | None:
    """What lies there, None when nothing does."""
    try:
        found = os.stat(place.path, follow_symlinks=False)  # noqa: PTH116 - a plain string
    except FileNotFoundError:
        return None
    # What has no note was not written by us, nor was what is no file: it is then nobody's.
    metadata = read_note(place) if stat.S_ISREG(found.st_mode) else {}
    return FoundObject(key=place.key, size_bytes=found.st_size, metadata=metadata)


def open_object(place: Place) -> int:
    """A descriptor of an object's file for reading.

    Raises:
        StoreMismatchError: there is none, or something else lies there.
        OSError: the medium failed.
    """
    try:
        fd = os.open(place.path, _READ)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR}:
            raise StoreMismatchError(f"there is no file {place.key}: {error.strerror}") from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreMismatchError(f"{place.key} is no regular file")
    return fd


def note_of(obj: StoreObject) -> bytes:
    """The note that lies beside an object: what else would be lost with a name and bytes alone."""
    note: dict[str, Any] = {
        "v": 1,
        "size_bytes": obj.digests.size_bytes,
        "content_type": obj.content_type,
        "metadata": dict(obj.metadata),
    }
    return json.dumps(note, sort_keys=True, indent=1).encode() + b"\n"


def write_note(place: Place, obj: StoreObject) -> None:
    """Write the metadata, which reserves the key: create-only too, so that one writer wins.

    The note's bytes are durable when this returns, its name is not yet.

    Raises:
        StoreConflictError: the key is reserved for another item.
        OSError: the medium refused.
    """
    temporary = place.temporary()
    try:
        _write_small(temporary, note_of(obj))
        try:
            durable.rename_no_replace(temporary, place.note)
        except FileExistsError:
            owner = read_note(place).get(ITEM_ID)
            if owner != obj.metadata[ITEM_ID]:
                raise StoreConflictError(f"{obj.key} is reserved for item {owner!r}") from None
            # An earlier intention of our own, without an object: nothing is lost with it.
            os.replace(temporary, place.note)  # noqa: PTH105 - plain strings
    except BaseException:
        remove(temporary)
        raise


def read_note(place: Place) -> Mapping[str, str]:
    """The metadata beside an object; empty where it is missing or not ours."""
    data = read_small(place.note, _NOTE_BYTES_MAX)
    if data is None:
        return {}
    try:
        note = json.loads(data)
        return {str(name): str(value) for name, value in note["metadata"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _write_small(path: str, data: bytes) -> None:
    """Write a new small file, through the cache: its bytes are durable, its name is not yet."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        os.fchmod(fd, FILE_MODE)
        os.fsync(fd)
    finally:
        os.close(fd)


def try_to_write(root: Path) -> None:
    """Write a small file and remove it, and what trials that were killed left."""
    trial = root / f".{ULID()}.trial"
    try:
        durable.create_file(trial, b"trial")
        # The file system's own clock, whatever the dock's says.
        _sweep_trials(root, trial.stat().st_mtime - _TRIAL_AGE_S)
    finally:
        trial.unlink(missing_ok=True)


def _sweep_trials(root: Path, before_s: float) -> None:
    with os.scandir(root) as entries:
        old = [
            entry.name
            for entry in entries
            if _TRIAL.fullmatch(entry.name)
            and entry.is_file(follow_symlinks=False)
            and entry.stat(follow_symlinks=False).st_mtime < before_s
        ]
    for name in old:
        (root / name).unlink(missing_ok=True)


def _area(size_bytes: int) -> memoryview:
    """A buffer for so many bytes, or for one piece of more.

    Anonymous mappings are aligned to pages, as O_DIRECT wants them. It is let go of with its last
    reader: closing it while the traceback of a failed write holds a slice would hide that fault.
    """
    wanted = min(CHUNK_BYTES, max(1, size_bytes))
    return memoryview(mmap.mmap(-1, wanted + -wanted % ALIGNMENT_BYTES))


def write(place: Place, obj: StoreObject, source: ByteSource, pace: Pace) -> bool:
    """Write an object's bytes under its name, never over another; the name is not durable yet.

    Returns whether the object is this one's; False where something lay there already.

    Raises:
        LocalCopyDamagedError: the source has other bytes.
        OSError: the medium refused.
        AbandonedError: the process must end.
    """
    temporary = place.temporary()
    copy = _copy_small if obj.digests.size_bytes <= SMALL_BYTES else _copy
    try:
        copy(temporary, obj, source, pace)
        with durable.act("store.put"):
            durable.rename_no_replace(temporary, place.path)
    except FileExistsError:
        remove(temporary)
        return False
    except BaseException:
        remove(temporary)
        raise
    return True


def _copy_small(temporary: str, obj: StoreObject, source: ByteSource, pace: Pace) -> None:
    data = source.read_at(0, obj.digests.size_bytes)
    must_be(obj, hashlib.sha256(data).digest())
    pace(len(data))
    _write_small(temporary, data)


def _copy(temporary: str, obj: StoreObject, source: ByteSource, pace: Pace) -> None:
    size_bytes = obj.digests.size_bytes
    digest = hashlib.sha256()
    buffer = _area(size_bytes)
    with NewFile(temporary) as file:
        for offset in range(0, size_bytes, CHUNK_BYTES):
            data = source.read_at(offset, min(CHUNK_BYTES, size_bytes - offset))
            pace(len(data))
            digest.update(data)
            buffer[: len(data)] = data
            file.write(buffer, len(data))
        must_be(obj, digest.digest())
        file.finish(FILE_MODE)


def must_be(obj: StoreObject, sha256: bytes) -> None:
    """Refuse bytes of another digest, by `LocalCopyDamagedError`."""
    if sha256 != obj.digests.sha256:
        raise LocalCopyDamagedError(f"the copy of {obj.key} is no longer what was read")


def is_unclaimed(place: Place, obj: StoreObject, found: FoundObject, pace: Pace) -> bool:
    """Whether what lies there is this object but for its note: a crash may lose its name alone."""
    return (
        not found.metadata
        and found.size_bytes == obj.digests.size_bytes
        and stat.S_ISREG(os.stat(place.path, follow_symlinks=False).st_mode)  # noqa: PTH116 - as above
        and sha256_from_medium(place, pace) == obj.digests.sha256
    )


def sha256_from_medium(place: Place, pace: Pace) -> bytes:
    """A file's digest, as the medium gives its bytes.

    Raises:
        StoreError: it could only be read from memory.
        OSError: the medium failed.
        AbandonedError: the process must end.
    """
    digest = hashlib.sha256()
    unproven = StoreError(
        f"{place.key} could only be read from memory",
        hint="Find what holds the store's files in memory: a scanner, a backup, a mount.",
    )
    with MediumFile(place.path) as file:
        if not file.in_memory and not file.past_cache():
            raise unproven
        buffer = _area(file.size_bytes)
        try:
            while count := file.read_into(buffer, len(buffer)):
                digest.update(buffer[:count])
                pace(count)
        except ReadBackUnprovenError as error:
            raise unproven from error
    return digest.digest()
