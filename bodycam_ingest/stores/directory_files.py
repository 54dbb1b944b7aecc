"""The files of a directory store: objects, the notes beside them, and what tries leave behind.

Whoever else may write to the archive can put anything there. So nothing is opened that is no
regular file, nothing is waited for, no link is followed, and what is read whole has a limit.
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
    StoreFullError,
    StoreMisconfiguredError,
    StoreMismatchError,
    StoreObstructedError,
    StoreUnreachableError,
)
from bodycam_ingest.linux import durable
from bodycam_ingest.linux.direct_io import ALIGNMENT_BYTES, MediumFile, NewFile
from bodycam_ingest.model.evidence import FoundObject
from bodycam_ingest.stores.contract import ITEM_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bodycam_ingest.model.evidence import StoreObject
    from bodycam_ingest.stores.contract import ByteSource, Pace

CHUNK_BYTES: Final = 4 * 1024 * 1024
_FILE_MODE: Final = 0o440
# Ours have 4 KB at most.
_NOTE_BYTES_MAX: Final = 64 * 1024
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_TRIAL: Final = re.compile(r"\.{1,2}[0-9A-HJKMNP-TV-Z]{26}\.trial(\.tmp)?")
# Another dock's trial, in an archive that they share, lasts moments.
_TRIAL_AGE_S: Final = 600

_CLASSES: Final[Mapping[int, type[StoreError]]] = {
    errno.ENOSPC: StoreFullError,
    errno.EDQUOT: StoreFullError,
    errno.EROFS: StoreMisconfiguredError,
    errno.EACCES: StoreMisconfiguredError,
    errno.EPERM: StoreMisconfiguredError,
    errno.ENOTDIR: StoreMisconfiguredError,
    errno.ENOENT: StoreUnreachableError,
    errno.EIO: StoreUnreachableError,
    errno.ENODEV: StoreUnreachableError,
    errno.ENXIO: StoreUnreachableError,
    errno.ESTALE: StoreUnreachableError,
    errno.ENOTCONN: StoreUnreachableError,
    errno.EHOSTDOWN: StoreUnreachableError,
    errno.EHOSTUNREACH: StoreUnreachableError,
    errno.ENETUNREACH: StoreUnreachableError,
    errno.ECONNREFUSED: StoreUnreachableError,
    errno.ECONNRESET: StoreUnreachableError,
    errno.ETIMEDOUT: StoreUnreachableError,
    errno.EINTR: StoreUnreachableError,
    errno.EAGAIN: StoreUnreachableError,
    errno.EMFILE: StoreUnreachableError,
    errno.ENFILE: StoreUnreachableError,
}
_HINTS: Final[Mapping[int, str]] = {
    errno.ENOSPC: "Make room below {path}; uploads go on by themselves.",
    errno.EDQUOT: "Raise the quota of the daemon's user on {path}, or make room.",
    errno.EROFS: "Mount {path} writable. Where it is, the service may not write there: name it in "
    "ReadWritePaths= of the unit.",
    errno.EACCES: "Give {path} and all below it to the daemon's user (chown, chmod u+rwX).",
    errno.EPERM: "Give {path} and all below it to the daemon's user (chown, chmod u+rwX).",
    errno.EIO: "Look at the disk or share below {path}; uploads go on by themselves.",
}


@contextlib.contextmanager
def faults(doing: str, path: Path) -> Iterator[None]:
    """Translate what the operating system says about a store's files.

    Args:
        doing: what is being done, for people.
        path: the store's directory, named in what is to be done about it.

    Raises:
        StoreError: as its subclass says, for every `OSError` of the block.
    """
    try:
        yield
    except OSError as error:
        kind = _CLASSES.get(error.errno or 0, StoreError)
        hint = _HINTS.get(error.errno or 0, "").format(path=path)
        text = f"{doing}: {error.strerror or error} (errno {error.errno})"
        raise kind(text, hint=hint) from error


def read_small(path: Path, most_bytes: int) -> bytes | None:
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


def check_way(root: Path, directory: Path) -> bool:
    """Whether all directories down to one are there.

    Args:
        root: the store's directory.
        directory: a directory below it.

    Raises:
        StoreObstructedError: something else lies in the place of one: a link, a FIFO, a file.
        OSError: the medium failed.
    """
    above = root
    for part in directory.relative_to(root).parts:
        above /= part
        try:
            mode = above.stat(follow_symlinks=False).st_mode
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(mode):
            raise StoreObstructedError(f"{above.relative_to(root)} is no directory of the store")
    return True


def look(root: Path, key: str) -> FoundObject | None:
    """What lies at a key, None when nothing does.

    Raises:
        StoreObstructedError: what should be a directory above it is none.
        OSError: the medium failed.
    """
    target = root / key
    if not check_way(root, target.parent):
        return None
    try:
        found = target.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    # What has no note was not written by us, nor was what is no file: it is then nobody's.
    metadata = read_note(target) if stat.S_ISREG(found.st_mode) else {}
    return FoundObject(key=key, size_bytes=found.st_size, metadata=metadata)


def open_object(path: Path) -> int:
    """A descriptor of an object's file for reading.

    Raises:
        StoreMismatchError: there is none, or something else lies there.
        OSError: the medium failed.
    """
    try:
        fd = os.open(path, _READ)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTDIR}:
            raise StoreMismatchError(f"there is no file {path.name}: {error.strerror}") from error
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StoreMismatchError(f"{path.name} is no regular file")
    return fd


def temporary_of(target: Path) -> Path:
    """Each try has its own name: two writers can then never rename each other's half."""
    return target.with_name(f".{target.name}.{ULID()}.part")


def _note_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.meta.json")


def write_note(target: Path, obj: StoreObject) -> None:
    """Write the metadata, which reserves the key: create-only too, so that one writer wins.

    Raises:
        StoreConflictError: the key is reserved for another item.
        OSError: the medium failed.
    """
    note: dict[str, Any] = {
        "v": 1,
        "size_bytes": obj.digests.size_bytes,
        "content_type": obj.content_type,
        "metadata": dict(obj.metadata),
    }
    data = json.dumps(note, sort_keys=True, indent=1).encode() + b"\n"
    path, temporary = _note_path(target), temporary_of(target)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
            file.flush()
            os.fsync(fd)
        try:
            durable.rename_no_replace(temporary, path)
        except FileExistsError:
            owner = read_note(target).get(ITEM_ID)
            if owner != obj.metadata[ITEM_ID]:
                raise StoreConflictError(f"{obj.key} is reserved for item {owner!r}") from None
            # An earlier intention of our own, without an object: nothing is lost with it.
            temporary.replace(path)
        durable.fsync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def read_note(target: Path) -> Mapping[str, str]:
    """The metadata beside an object; empty where it is missing or not ours.

    Raises:
        OSError: the medium failed.
    """
    data = read_small(_note_path(target), _NOTE_BYTES_MAX)
    if data is None:
        return {}
    try:
        note = json.loads(data)
        return {str(name): str(value) for name, value in note["metadata"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def clear_leftovers(target: Path) -> None:
    """Remove what a try that was cut off left; safe, because every try has its own name."""
    for name in os.listdir(target.parent):  # noqa: PTH208 - names are compared, not opened
        if name.startswith(f".{target.name}.") and name.endswith(".part"):
            (target.parent / name).unlink(missing_ok=True)


def try_to_write(root: Path) -> None:
    """Write a small file and remove it, and what trials that were killed left.

    Raises:
        OSError: the medium refused.
    """
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


def copy(temporary: Path, obj: StoreObject, source: ByteSource, pace: Pace) -> None:
    """Write an object's bytes, durably.

    Args:
        temporary: where; must not exist.
        obj: what its bytes must be.
        source: the bytes.
        pace: called before they are written.

    Raises:
        LocalCopyDamagedError: the source has other bytes.
        OSError: the medium refused.
        AbandonedError: the process must end.
    """
    size_bytes = obj.digests.size_bytes
    digest = hashlib.sha256()
    buffer = _area(size_bytes)
    with NewFile(os.fspath(temporary)) as file:
        for offset in range(0, size_bytes, CHUNK_BYTES):
            data = source.read_at(offset, min(CHUNK_BYTES, size_bytes - offset))
            pace(len(data))
            digest.update(data)
            buffer[: len(data)] = data
            file.write(buffer, len(data))
        if digest.digest() != obj.digests.sha256:
            raise LocalCopyDamagedError(f"the copy of {obj.key} is no longer what was read")
        file.finish(_FILE_MODE)


def sha256_from_medium(path: Path, pace: Pace) -> bytes:
    """A file's digest, as the medium gives its bytes.

    Args:
        path: the file.
        pace: called as its bytes come.

    Raises:
        StoreError: it could only be read from memory.
        OSError: the medium failed.
        AbandonedError: the process must end.
    """
    digest = hashlib.sha256()
    unproven = StoreError(
        f"{path.name} could only be read from memory",
        hint="Find what holds the store's files in memory: a scanner, a backup, a mount.",
    )
    with MediumFile(os.fspath(path)) as file:
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
