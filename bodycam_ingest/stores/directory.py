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

from bodycam_ingest.errors import (
    StoreError,
    StoreMisconfiguredError,
    StoreMismatchError,
    StoreUnreachableError,
)
from bodycam_ingest.linux import durable
from bodycam_ingest.linux.group_commit import syncfs_tells_errors
from bodycam_ingest.model.evidence import Confirmation, ProofKind, StoredObject, StoreProbe
from bodycam_ingest.stores import directory_files as files
from bodycam_ingest.stores.contract import at_once, check, check_key, is_ours, must_be_ours
from bodycam_ingest.stores.directory_batch import DIRECTORY_MODE, Batch
from bodycam_ingest.stores.directory_errors import faults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bodycam_ingest.model.evidence import FoundObject, StoreObject
    from bodycam_ingest.stores.contract import ByteSource, Pace, UploadJournal

MARKER: Final = ".bodycam-store"
_MARKER_BYTES_MAX: Final = 64
_DURABLE_MAX: Final = 10_000


def prepare(path: Path) -> str:
    """Make an existing directory a store, once; returns its identity, new or as it was.

    The directory is never made: a path that is missing is most often a file system that is not
    mounted.

    Raises:
        StoreUnreachableError: there is no such directory.
        StoreError: it cannot be written.
    """
    with faults(f"preparing {path}", path):
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
    """Objects as files below a directory that `prepare` prepared."""

    on_disk = True

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        # Device and inode of directories whose names this process saw synced.
        self._durable: set[tuple[int, int]] = set()
        self._directories = durable.DirectorySync()
        # Digests of what `write_together` wrote and nobody sent yet, by key.
        self._written: dict[str, bytes] = {}

    def write_together(
        self, batch: Sequence[tuple[StoreObject, ByteSource]], pace: Pace = at_once
    ) -> None:
        """As `ObjectStore.write_together`; raises `AbandonedError` when the process must end."""
        wanted = {
            obj.key: (obj, source)
            for obj, source in batch
            if obj.digests.size_bytes <= files.SMALL_BYTES and _is_sound(obj)
        }
        with contextlib.suppress(OSError, StoreError), self._root() as root_fd:
            # Not of a share: that a flush of all of it reports every fault is known of disks alone.
            on_disk = bool(os.major(_identity(root_fd)[0]))
            whole = on_disk and self._path.is_mount() and syncfs_tells_errors()
            writing = Batch(
                _path(root_fd),
                lambda directory: self._open_durable(root_fd, directory)[0],
                whole_file_system=whole,
            )
            for key in writing.write(list(wanted.values()), pace):
                self._written[key] = wanted[key][0].digests.sha256

    def send(
        self, obj: StoreObject, source: ByteSource, journal: UploadJournal, pace: Pace = at_once
    ) -> StoredObject:
        """As `ObjectStore.send`, in one go: there is no journal."""
        del journal
        check(obj)
        if self._written.pop(obj.key, b"") == obj.digests.sha256:
            return StoredObject(key=obj.key)
        with self._root() as root_fd, faults(f"{self.name}: writing {obj.key}", self._path):
            directory_fd, fresh = self._open_durable(root_fd, obj.key.rpartition("/")[0])
            try:
                place = files.Place(directory_fd, obj.key)
                found = None if fresh else files.look(place)
                if found is None:
                    self._create(place, obj, source, pace, fresh=fresh)
                else:
                    if files.is_unclaimed(place, obj, found, pace):
                        files.write_note(place, obj)
                        found = self._there(place)
                    must_be_ours(obj, found)
                # The names of note and object, also where a crash came between a rename and this.
                durable.fsync_directory(f"/proc/self/fd/{directory_fd}")
            finally:
                os.close(directory_fd)
            return StoredObject(key=obj.key)

    def _create(
        self, place: files.Place, obj: StoreObject, source: ByteSource, pace: Pace, *, fresh: bool
    ) -> None:
        """Write note and object; their names are not durable yet."""
        with durable.act("store.create"):
            files.write_note(place, obj)
        if not fresh:
            # The key is reserved now: what else lies here was left by tries of our own.
            place.clear_leftovers()
        if not files.write(place, obj, source, pace):
            must_be_ours(obj, self._there(place))

    def _there(self, place: files.Place) -> FoundObject:
        """What lies where something lay a moment ago."""
        found = files.look(place)
        if found is None:
            raise StoreUnreachableError(f"{self.name}: {place.key} went away while it was written")
        return found

    def _open_durable(self, root_fd: int, directory: str) -> tuple[int, bool]:
        """Open a directory, its name and those above durable; whether it was made just now."""
        fd = files.open_directory(root_fd, directory)
        if fd is not None:
            if not directory or _identity(fd) in self._durable:
                return fd, False
            os.close(fd)
        above, _, name = directory.rpartition("/")
        above_fd, _ = self._open_durable(root_fd, above)
        try:
            fresh = True
            try:
                os.mkdir(name, DIRECTORY_MODE, dir_fd=above_fd)
            except FileExistsError:
                # Perhaps made by a process that did not live to sync its name.
                fresh = False
            self._directories.sync(above_fd)
            fd = files.open_directory(above_fd, name)
        finally:
            os.close(above_fd)
        if fd is None:
            raise StoreUnreachableError(f"{self.name}: {directory} went away as it was made")
        if len(self._durable) >= _DURABLE_MAX:
            self._durable.clear()
        self._durable.add(_identity(fd))
        return fd, fresh

    def confirm(
        self,
        obj: StoreObject,
        stored: StoredObject,
        pace: Pace = at_once,
        source: ByteSource | None = None,
    ) -> Confirmation:
        """As `ObjectStore.confirm`, by reading the object back from the medium."""
        del source
        with (
            self._root() as root_fd,
            faults(f"{self.name}: reading {obj.key} back", self._path),
            files.place_of(root_fd, obj.key) as place,
        ):
            found = None if place is None else files.look(place)
            if place is None or found is None or not is_ours(obj, found):
                raise StoreMismatchError(f"{self.name} does not hold {obj.key} as it was stored")
            digest = files.sha256_from_medium(place, pace)
        if digest != obj.digests.sha256:
            raise StoreMismatchError(
                f"{self.name}: {obj.key} came back with SHA-256 {digest.hex()}, "
                f"{obj.digests.sha256.hex()} was written"
            )
        return Confirmation(stored, ProofKind.READ_BACK, digest.hex())

    def look(self, key: str, version_id: str = "") -> FoundObject | None:
        """As `ObjectStore.look`; there are no versions."""
        del version_id
        check_key(key)
        with (
            self._root() as root_fd,
            faults(f"{self.name}: looking at {key}", self._path),
            files.place_of(root_fd, key) as place,
        ):
            return None if place is None else files.look(place)

    def read(self, key: str, version_id: str = "") -> Iterator[bytes]:
        """As `ObjectStore.read`."""
        del version_id
        check_key(key)
        with (
            self._root() as root_fd,
            faults(f"{self.name}: reading {key}", self._path),
            files.place_of(root_fd, key) as place,
        ):
            if place is None:
                raise StoreMismatchError(f"there is no file {key}")
            with open(files.open_object(place), "rb") as file:  # noqa: PTH123 - a descriptor
                while chunk := file.read(files.CHUNK_BYTES):
                    yield chunk

    def keys(self, prefix: str) -> Iterator[str]:
        """As `ObjectStore.keys`; sorted within each directory."""
        with self._root() as root_fd, faults(f"{self.name}: listing", self._path):
            # Only below the prefix: a store may hold millions of objects.
            below = prefix.rpartition("/")[0]
            fd = files.open_directory(root_fd, below)
            if fd is None:
                return
            os.close(fd)
            root = _path(root_fd)
            start = root / below
            for base, directories, names in os.walk(start, onerror=_raise):
                directories[:] = sorted(name for name in directories if not name.startswith("."))
                for name in sorted(names):
                    key = (Path(base) / name).relative_to(root).as_posix()
                    if not name.startswith(".") and key.startswith(prefix):
                        yield key

    def probe(self) -> StoreProbe:
        """As `ObjectStore.probe`: whether the store can be written."""
        with self._root() as root_fd, faults(f"{self.name}: trying to write", self._path):
            files.try_to_write(_path(root_fd))
        return StoreProbe(
            verifies_checksum=False,
            verifies_payload=False,
            returns_checksum=False,
            reads_back=True,
            creates_only=True,
        )

    def identity(self, *, first: bool = True) -> str:
        """As `ObjectStore.identity`, whatever the store is mounted on; `init` made the marker."""
        del first
        with self._root() as root_fd, faults(f"{self.name}: reading the marker", self._path):
            return f"directory:{_mark_of(_path(root_fd))}"

    def close(self) -> None:
        """Nothing is held open."""

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
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
            with faults(f"{self.name}: looking for the marker", self._path):
                if not (_path(fd) / MARKER).is_file():
                    raise StoreUnreachableError(
                        f"{self.name}: {self._path} has no {MARKER}",
                        hint="Mount the store's file system; a new store is made by `init`.",
                    )
            yield fd
        finally:
            os.close(fd)


def _path(fd: int) -> Path:
    """A path that leads into an open directory, whatever is done to its own path meanwhile."""
    return Path(f"/proc/self/fd/{fd}")


def _is_sound(obj: StoreObject) -> bool:
    try:
        check(obj)
    except StoreError:
        return False
    return True


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _raise(error: OSError) -> None:
    raise error
