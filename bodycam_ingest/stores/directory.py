"""A directory as a store: a mounted archive, or a disk of its own.

An object is a file; its metadata lies beside it in `.<name>.meta.json`, written first. So a crash
between the two leaves a note without an object, which nobody takes for one. A marker file tells
the store from the empty directory below a mount point.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ulid import ULID

from bodycam_ingest.errors import StoreMisconfiguredError, StoreMismatchError, StoreUnreachableError
from bodycam_ingest.linux import durable
from bodycam_ingest.model.evidence import Confirmation, ProofKind, StoredObject, StoreProbe
from bodycam_ingest.stores import directory_files as files
from bodycam_ingest.stores.contract import at_once, check, check_key, is_ours, must_be_ours

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bodycam_ingest.model.evidence import FoundObject, StoreObject
    from bodycam_ingest.stores.contract import ByteSource, Pace, UploadJournal

MARKER: Final = ".bodycam-store"
_DIRECTORY_MODE: Final = 0o750
_MARKER_BYTES_MAX: Final = 64
_DURABLE_MAX: Final = 10_000


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
    with files.faults(f"preparing {path}", path):
        if not path.is_dir():
            raise StoreUnreachableError(
                f"{path} is no directory", hint="Mount the archive, or make the directory."
            )
        marker = path / MARKER
        if not os.path.lexists(marker):
            with contextlib.suppress(FileExistsError):
                durable.create_file(marker, f"{ULID()}\n".encode(), mode=0o644)
        return _mark_of(path)


def _mark_of(root: Path) -> str:
    """What the marker says.

    Raises:
        StoreUnreachableError: there is none, or something else lies in its place.
        OSError: the medium failed.
    """
    mark = files.read_small(root / MARKER, _MARKER_BYTES_MAX)
    if mark is None:
        raise StoreUnreachableError(f"{MARKER} is no small file")
    return mark.decode("ascii", "replace").strip()


class DirectoryStore:
    """Objects as files below a directory.

    Args:
        name: the store's name in the configuration.
        path: the directory, prepared by `prepare`.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        # Device and inode of directories whose names this process saw synced.
        self._durable: set[tuple[int, int]] = set()

    def send(
        self, obj: StoreObject, source: ByteSource, journal: UploadJournal, pace: Pace = at_once
    ) -> StoredObject:
        """Create the object; one that is ours already is left as it is.

        Args:
            obj: what shall stand there.
            source: its bytes.
            journal: not needed: a file is written in one go.
            pace: called before bytes are written.

        Returns:
            What stands there.

        Raises:
            StoreConflictError: another object lies at the key.
            LocalCopyDamagedError: the source has other bytes.
            StoreError: as its subclass says.
        """
        del journal
        check(obj)
        with self._root() as root, files.faults(f"{self.name}: writing {obj.key}", self._path):
            target = root / obj.key
            found = files.look(root, obj.key)
            if found is None:
                self._make_parents(root, target.parent)
                with durable.act("store.create"):
                    files.write_note(target, obj)
                # The key is reserved now: what else lies here was left by tries of our own.
                files.clear_leftovers(target)
                found = self._write(root, target, obj, source, pace)
            must_be_ours(obj, found)
            # A file that a crash left behind was renamed, but its name was perhaps never synced.
            durable.fsync_directory(target.parent)
            return StoredObject(key=obj.key)

    def _make_parents(self, root: Path, directory: Path) -> None:
        files.check_way(root, directory)
        above = root
        for part in directory.relative_to(root).parts:
            above /= part
            if self._is_durable(above):
                continue
            durable.make_directory(above, mode=_DIRECTORY_MODE)
            if len(self._durable) >= _DURABLE_MAX:
                self._durable.clear()
            found = above.stat(follow_symlinks=False)
            self._durable.add((found.st_dev, found.st_ino))

    def _is_durable(self, directory: Path) -> bool:
        """Whether this process saw the directory's name synced."""
        try:
            found = directory.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) in self._durable

    def _write(
        self, root: Path, target: Path, obj: StoreObject, source: ByteSource, pace: Pace
    ) -> FoundObject:
        temporary = files.temporary_of(target)
        try:
            files.copy(temporary, obj, source, pace)
            with durable.act("store.put"), contextlib.suppress(FileExistsError):
                durable.rename_no_replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        found = files.look(root, obj.key)
        if found is None:
            raise StoreUnreachableError(f"{self.name}: {obj.key} went away while it was written")
        return found

    def confirm(
        self,
        obj: StoreObject,
        stored: StoredObject,
        pace: Pace = at_once,
        source: ByteSource | None = None,
    ) -> Confirmation:
        """Read the object back from the medium and compare.

        Args:
            obj: what it must be.
            stored: what `send` answered.
            pace: called as its bytes come.
            source: not needed: the proof is the bytes themselves.

        Returns:
            The proof.

        Raises:
            StoreMismatchError: other bytes, or none.
            StoreError: as its subclass says.
        """
        del source
        with self._root() as root, files.faults(f"{self.name}: reading {obj.key} back", self._path):
            found = files.look(root, obj.key)
            if found is None or not is_ours(obj, found):
                raise StoreMismatchError(f"{self.name} does not hold {obj.key} as it was stored")
            digest = files.sha256_from_medium(root / obj.key, pace)
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
        with self._root() as root, files.faults(f"{self.name}: looking at {key}", self._path):
            return files.look(root, key)

    def read(self, key: str, version_id: str = "") -> Iterator[bytes]:
        """The bytes of an object.

        Raises:
            StoreError: as its subclass says.
        """
        del version_id
        check_key(key)
        with self._root() as root, files.faults(f"{self.name}: reading {key}", self._path):
            files.check_way(root, (root / key).parent)
            with open(files.open_object(root / key), "rb") as file:  # noqa: PTH123 - a descriptor
                while chunk := file.read(files.CHUNK_BYTES):
                    yield chunk

    def keys(self, prefix: str) -> Iterator[str]:
        """Keys of all objects that begin with `prefix`, sorted within each directory.

        Raises:
            StoreError: as its subclass says.
        """
        with self._root() as root, files.faults(f"{self.name}: listing", self._path):
            # Only below the prefix: a store may hold millions of objects.
            start = root / prefix.rpartition("/")[0]
            if not files.check_way(root, start):
                return
            for base, directories, names in os.walk(start, onerror=_raise):
                directories[:] = sorted(name for name in directories if not name.startswith("."))
                for name in sorted(names):
                    key = (Path(base) / name).relative_to(root).as_posix()
                    if not name.startswith(".") and key.startswith(prefix):
                        yield key

    def probe(self) -> StoreProbe:
        """Find out whether the store can be written; leaves nothing behind.

        Raises:
            StoreError: it cannot, for the reason that its subclass says.
        """
        with self._root() as root, files.faults(f"{self.name}: trying to write", self._path):
            files.try_to_write(root)
        return StoreProbe(
            verifies_checksum=False, verifies_payload=False, returns_checksum=False, reads_back=True
        )

    def identity(self, *, first: bool = True) -> str:
        """Who this store is, whatever it is mounted on.

        Args:
            first: no matter here: `init` makes the marker.

        Raises:
            StoreUnreachableError: the store is not there.
        """
        del first
        with self._root() as root, files.faults(f"{self.name}: reading the marker", self._path):
            return f"directory:{_mark_of(root)}"

    def close(self) -> None:
        """Nothing is held open."""

    @contextlib.contextmanager
    def _root(self) -> Iterator[Path]:
        """The store's directory, held open: nothing lands below a mount point meanwhile."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except PermissionError as error:
            raise StoreMisconfiguredError(
                f"{self.name}: {self._path}: {error.strerror}",
                hint=f"Let the daemon's user enter {self._path} and all above it (chmod, chown).",
            ) from error
        except OSError as error:
            raise StoreUnreachableError(
                f"{self.name}: {self._path}: {error.strerror}",
                hint="Mount the store's file system.",
            ) from error
        try:
            root = Path(f"/proc/self/fd/{fd}")
            with files.faults(f"{self.name}: looking for the marker", self._path):
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
