"""A directory as a store: a mounted archive, or a disk of its own.

An object is a file; its metadata lies beside it in `.<name>.meta.json`, written first. So a crash
between the two leaves a note without an object, which nobody takes for one. A marker file tells
the store from the empty directory below a mount point.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import mmap
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ulid import ULID

from bodycam_ingest import durable
from bodycam_ingest.diskio.direct import MediumFile, NewFile
from bodycam_ingest.errors import (
    LocalCopyDamagedError,
    StoreConflictError,
    StoreError,
    StoreFullError,
    StoreMisconfiguredError,
    StoreMismatchError,
    StoreUnreachableError,
)
from bodycam_ingest.evidence import (
    Confirmation,
    FoundObject,
    ProofKind,
    StoredObject,
    StoreProbe,
)
from bodycam_ingest.stores.contract import ITEM_ID, check, check_key, is_ours, must_be_ours

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bodycam_ingest.evidence import StoreObject
    from bodycam_ingest.stores.contract import ByteSource, UploadJournal

MARKER: Final = ".bodycam-store"
_CHUNK_BYTES: Final = 4 * 1024 * 1024
_FILE_MODE: Final = 0o440
_DIRECTORY_MODE: Final = 0o750

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


@contextlib.contextmanager
def _faults(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = _CLASSES.get(error.errno or 0, StoreError)
        raise kind(f"{doing}: {error.strerror or error} (errno {error.errno})") from error


def prepare(path: Path) -> str:
    """Make an existing directory a store, once.

    Args:
        path: the directory; it is never made, because a path that is missing is most often a
            file system that is not mounted.

    Returns:
        The store's identity, new or as it was.

    Raises:
        StoreUnreachableError: there is no such directory.
        StoreError: it cannot be written.
    """
    with _faults(f"preparing {path}"):
        if not path.is_dir():
            raise StoreUnreachableError(
                f"{path} is no directory", hint="Mount the archive, or make the directory."
            )
        marker = path / MARKER
        with contextlib.suppress(FileExistsError):
            durable.create_file(marker, f"{ULID()}\n".encode(), mode=0o644)
        return marker.read_text(encoding="ascii").strip()


class DirectoryStore:
    """Objects as files below a directory.

    Args:
        name: the store's name in the configuration.
        path: the directory, prepared by `prepare`.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path

    def send(self, obj: StoreObject, source: ByteSource, journal: UploadJournal) -> StoredObject:
        """Create the object; one that is ours already is left as it is.

        Args:
            obj: what shall stand there.
            source: its bytes.
            journal: not needed: a file is written in one go.

        Returns:
            What stands there.

        Raises:
            StoreConflictError: another object lies at the key.
            LocalCopyDamagedError: the source has other bytes.
            StoreError: as its subclass says.
        """
        del journal
        check(obj)
        with self._root() as root, _faults(f"{self.name}: writing {obj.key}"):
            target = root / obj.key
            found = _look(root, obj.key)
            if found is None:
                self._make_parents(root, target.parent)
                with durable.act("store.create"):
                    _note(target, obj)
                # The key is reserved now: what else lies here was left by tries of our own.
                _clear_leftovers(target)
                found = self._write(root, target, obj, source)
            must_be_ours(obj, found)
            # A file that a crash left behind was renamed, but its name was perhaps never synced.
            durable.fsync_directory(target.parent)
            return StoredObject(key=obj.key)

    def _make_parents(self, root: Path, directory: Path) -> None:
        above = root
        for part in directory.relative_to(root).parts:
            above /= part
            durable.make_directory(above, mode=_DIRECTORY_MODE)

    def _write(self, root: Path, target: Path, obj: StoreObject, source: ByteSource) -> FoundObject:
        temporary = _temporary(target)
        try:
            _copy(temporary, obj, source)
            with durable.act("store.put"), contextlib.suppress(FileExistsError):
                durable.rename_no_replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        found = _look(root, obj.key)
        if found is None:
            raise StoreUnreachableError(f"{self.name}: {obj.key} went away while it was written")
        return found

    def confirm(self, obj: StoreObject, stored: StoredObject) -> Confirmation:
        """Read the object back from the medium and compare.

        Args:
            obj: what it must be.
            stored: what `send` answered.

        Returns:
            The proof.

        Raises:
            StoreMismatchError: other bytes, or none.
            StoreError: as its subclass says.
        """
        with self._root() as root, _faults(f"{self.name}: reading {obj.key} back"):
            found = _look(root, obj.key)
            if found is None or not is_ours(obj, found):
                raise StoreMismatchError(f"{self.name} does not hold {obj.key} as it was stored")
            digest = _sha256_from_medium(root / obj.key)
        if digest != obj.digests.sha256:
            raise StoreMismatchError(
                f"{self.name}: {obj.key} came back with SHA-256 {digest.hex()}, "
                f"{obj.digests.sha256.hex()} was written"
            )
        return Confirmation(stored, ProofKind.READ_BACK, digest.hex())

    def look(self, key: str, version_id: str = "") -> FoundObject | None:
        """What lies at a key, None when nothing does.

        Raises:
            StoreError: as its subclass says.
        """
        del version_id
        check_key(key)
        with self._root() as root, _faults(f"{self.name}: looking at {key}"):
            return _look(root, key)

    def read(self, key: str, version_id: str = "") -> Iterator[bytes]:
        """The bytes of an object.

        Raises:
            StoreError: as its subclass says.
        """
        del version_id
        check_key(key)
        with (
            self._root() as root,
            _faults(f"{self.name}: reading {key}"),
            (root / key).open("rb") as file,
        ):
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys of all objects that begin with `prefix`, sorted within each directory.

        Raises:
            StoreError: as its subclass says.
        """
        with self._root() as root, _faults(f"{self.name}: listing"):
            for base, directories, files in os.walk(root, onerror=_raise):
                directories[:] = sorted(name for name in directories if not name.startswith("."))
                for name in sorted(files):
                    key = (Path(base) / name).relative_to(root).as_posix()
                    if not name.startswith(".") and key.startswith(prefix):
                        yield key

    def probe(self) -> StoreProbe:
        """Find out whether the store can be written; leaves nothing behind.

        Raises:
            StoreError: it cannot, for the reason that its subclass says.
        """
        with self._root() as root, _faults(f"{self.name}: trying to write"):
            trial = root / f".{ULID()}.trial"
            try:
                durable.create_file(trial, b"trial")
            finally:
                trial.unlink(missing_ok=True)
        return StoreProbe(
            verifies_checksum=False, verifies_payload=False, returns_checksum=False, reads_back=True
        )

    def identity(self) -> str:
        """Who this store is, whatever it is mounted on.

        Raises:
            StoreUnreachableError: the store is not there.
        """
        with self._root() as root, _faults(f"{self.name}: reading the marker"):
            return f"directory:{(root / MARKER).read_text(encoding='ascii').strip()}"

    def close(self) -> None:
        """Nothing is held open."""

    @contextlib.contextmanager
    def _root(self) -> Iterator[Path]:
        """The store's directory, held open: nothing lands below a mount point meanwhile."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreUnreachableError(
                f"{self.name}: {self._path}: {error.strerror}",
                hint="Mount the store's file system.",
            ) from error
        try:
            root = Path(f"/proc/self/fd/{fd}")
            with _faults(f"{self.name}: looking for the marker"):
                if not (root / MARKER).is_file():
                    raise StoreUnreachableError(
                        f"{self.name}: {self._path} has no {MARKER}",
                        hint="Mount the store's file system; a new store is made by `init`.",
                    )
            yield root
        finally:
            os.close(fd)


def _raise(error: OSError) -> None:
    raise error


def _temporary(target: Path) -> Path:
    """Each try has its own name: two writers can then never rename each other's half."""
    return target.with_name(f".{target.name}.{ULID()}.part")


def _note_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.meta.json")


def _note(target: Path, obj: StoreObject) -> None:
    """Write the metadata, which reserves the key: create-only too, so that one writer wins."""
    note: dict[str, Any] = {
        "v": 1,
        "size_bytes": obj.digests.size_bytes,
        "content_type": obj.content_type,
        "metadata": dict(obj.metadata),
    }
    data = json.dumps(note, sort_keys=True, indent=1).encode() + b"\n"
    path, temporary = _note_path(target), _temporary(target)
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
            file.flush()
            os.fsync(fd)
        try:
            durable.rename_no_replace(temporary, path)
        except FileExistsError:
            owner = _read_note(target).get(ITEM_ID)
            if owner != obj.metadata[ITEM_ID]:
                raise StoreConflictError(f"{obj.key} is reserved for item {owner!r}") from None
            # An earlier intention of our own, without an object: nothing is lost with it.
            temporary.replace(path)
        durable.fsync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _read_note(target: Path) -> Mapping[str, str]:
    """The metadata beside an object; empty where it is missing or not ours."""
    try:
        note = json.loads(_note_path(target).read_bytes())
        return {str(name): str(value) for name, value in note["metadata"].items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _look(root: Path, key: str) -> FoundObject | None:
    target = root / key
    try:
        size_bytes = target.stat(follow_symlinks=False).st_size
    except (FileNotFoundError, NotADirectoryError):
        return None
    # What has no note was not written by us: it is then nobody's.
    return FoundObject(key=key, size_bytes=size_bytes, metadata=_read_note(target))


def _clear_leftovers(target: Path) -> None:
    """Remove what a try that was cut off left; safe, because every try has its own name."""
    for name in os.listdir(target.parent):  # noqa: PTH208 - names are compared, not opened
        if name.startswith(f".{target.name}.") and name.endswith(".part"):
            (target.parent / name).unlink(missing_ok=True)


def _copy(temporary: Path, obj: StoreObject, source: ByteSource) -> None:
    size_bytes = obj.digests.size_bytes
    digest = hashlib.sha256()
    # Anonymous mappings are aligned to pages, as O_DIRECT wants them.
    with mmap.mmap(-1, _CHUNK_BYTES) as area, NewFile(os.fspath(temporary)) as file:
        with memoryview(area) as buffer:
            for offset in range(0, size_bytes, _CHUNK_BYTES):
                data = source.read_at(offset, min(_CHUNK_BYTES, size_bytes - offset))
                digest.update(data)
                buffer[: len(data)] = data
                file.write(buffer, len(data))
        if digest.digest() != obj.digests.sha256:
            raise LocalCopyDamagedError(f"the copy of {obj.key} is no longer what was read")
        file.finish(_FILE_MODE)


def _sha256_from_medium(path: Path) -> bytes:
    digest = hashlib.sha256()
    with mmap.mmap(-1, _CHUNK_BYTES) as area, MediumFile(os.fspath(path)) as file:
        if not file.in_memory and not file.past_cache():
            raise StoreError(
                f"{path.name} could only be read from memory",
                hint="Find what holds the store's files in memory: a scanner, a backup, a mount.",
            )
        with memoryview(area) as buffer:
            while count := file.read_into(buffer, _CHUNK_BYTES):
                digest.update(buffer[:count])
    return digest.digest()
