"""The staging area: where copies lie, under which names, and how they come and go.

    <docking id>/.<item id>.part            being written
    <docking id>/<item id>-<sha256 hex>     sealed: complete, durable, mode 0400
    quarantine/<item id>-<ulid>             a bad copy, kept

A sealed name carries the digest that was taken while reading, so that name and content become
durable in one rename and a crash right after it loses neither. No name comes from a camera.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ulid import ULID

from bodycam_ingest.errors import LocalCopyDamagedError, StagingError, StagingMissingError
from bodycam_ingest.linux import durable
from bodycam_ingest.log import log
from bodycam_ingest.staging.os_errors import staging_faults

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


QUARANTINE: Final = "quarantine"
_ID: Final = r"[0-9A-HJKMNP-TV-Z]{26}"
_DOCKING_NAME: Final = re.compile(_ID)
_PART_NAME: Final = re.compile(rf"\.({_ID})\.part")
_SEALED_NAME: Final = re.compile(rf"({_ID})-([0-9a-f]{{64}})")


@dataclass(frozen=True, slots=True)
class SealedCopy:
    """A sealed file as described by its name.

    `staged_path` is relative to the staging directory; `sha256` is of what was read off the camera.
    """

    staged_path: str
    docking_id: str
    item_id: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class UnexpectedName:
    """Something in staging that cannot be used; `docking_id` where a directory was not listed."""

    why: str
    docking_id: str = ""


@dataclass(slots=True)
class Recovered:
    """What a start found in staging.

    Args:
        sealed: every sealed copy; whether the ledger knows it is for the caller to find out.
        faults: what could not be looked at or is no regular file.
    """

    sealed: list[SealedCopy] = field(default_factory=list)
    faults: list[UnexpectedName] = field(default_factory=list)


class StagedCopy:
    """A sealed copy, open for reading by several threads at once; owns `fd`."""

    def __init__(self, fd: int, staged_path: str) -> None:
        self._fd = fd
        self._staged_path = staged_path

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`.

        Raises:
            LocalCopyDamagedError: the copy ends before.
            StagingError: the medium failed.
        """
        with staging_faults(f"reading {self._staged_path}"):
            data = os.pread(self._fd, length, offset)
            while len(data) < length:
                more = os.pread(self._fd, length - len(data), offset + len(data))
                if not more:
                    raise LocalCopyDamagedError(
                        f"{self._staged_path} ends {length - len(data)} bytes early"
                    )
                data += more
        return data

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class StagingArea:
    """The files below the staging directory, which is never made here: a mount may be missing."""

    def __init__(self, directory: Path) -> None:
        self.directory: Final = directory
        # Many small files are slow enough without building a Path for each.
        self._directory_name: Final = str(directory)
        self._lock = threading.Lock()
        self._made: set[str] = set()

    # -- names --

    def path_of(self, staged_path: str) -> str:
        """Where a sealed copy lies.

        Raises:
            StagingMissingError: `staged_path` is not of the form that this module makes.
        """
        self._parse(staged_path)
        return f"{self._directory_name}/{staged_path}"

    def part_path(self, docking_id: str, item_id: str) -> str:
        """Where an item is written to before it is sealed.

        Raises:
            ValueError: an id is not a ULID.
        """
        name = f".{item_id}.part"
        if not _PART_NAME.fullmatch(name) or not _DOCKING_NAME.fullmatch(docking_id):
            raise ValueError(f"not ULIDs: {docking_id!r}, {item_id!r}")
        return f"{self._directory_name}/{docking_id}/{name}"

    @staticmethod
    def sealed_name(docking_id: str, item_id: str, sha256: bytes) -> str:
        """The staged path of a sealed copy."""
        return f"{docking_id}/{item_id}-{sha256.hex()}"

    @staticmethod
    def _parse(staged_path: str) -> SealedCopy:
        docking_id, _, name = staged_path.partition("/")
        match = _SEALED_NAME.fullmatch(name)
        if match is None or not _DOCKING_NAME.fullmatch(docking_id):
            raise StagingMissingError(f"{staged_path!r} is no path of a staged copy")
        return SealedCopy(staged_path, docking_id, match[1], bytes.fromhex(match[2]))

    # -- coming --

    def make_docking_directory(self, docking_id: str) -> None:
        """Make sure that a docking's directory stands, durably.

        Raises:
            OSError: as mkdir(2), fsync(2).
        """
        path = self.directory / docking_id
        with self._lock:
            # Asked all the same: the directory may have been removed under the daemon.
            if docking_id in self._made and path.is_dir():
                return
        with durable.act("docking.directory"):
            durable.make_directory(path)
            # It may be left from a process that died before it had made the name durable.
            durable.fsync_directory(self.directory)
        with self._lock:
            self._made.add(docking_id)

    def seal(self, docking_id: str, item_id: str, staged_path: str) -> None:
        """Give a written, fsynced file its name; never over another.

        Raises:
            FileExistsError: the name is taken; nothing changed.
            OSError: as renameat2(2).
        """
        with durable.act("item.rename"):
            durable.rename_no_replace(
                self.part_path(docking_id, item_id), self.path_of(staged_path)
            )

    def discard_part(self, docking_id: str, item_id: str) -> None:
        """Remove an item's temporary file, if there is one.

        Raises:
            StagingError: it could not be removed.
        """
        with staging_faults(f"removing the temporary file of {item_id}"):
            _unlink_if_there(self.part_path(docking_id, item_id))

    # -- at start --

    def recover(
        self, *, discard: bool = True, progress: Callable[[], None] | None = None
    ) -> Recovered:
        """Clear away what a crash left, list what stands.

        Names not of this module's making stay. What is wrong with one directory holds up no other.
        With `discard`, only before anything is written, temporary files go. `progress` is called
        for each docking's directory.

        Raises:
            StagingError: staging as a whole could not be read or written.
        """
        found = Recovered()
        with staging_faults(f"looking through {self.directory}"):
            durable.make_directory(self.directory / QUARANTINE)
            names = sorted(os.listdir(self.directory))  # noqa: PTH208 - names are matched
        for name in names:
            if not _DOCKING_NAME.fullmatch(name):
                continue
            if progress is not None:
                progress()
            try:
                with staging_faults(f"looking through {self.directory / name}"):
                    if self.directory.joinpath(name).is_dir():
                        self._recover_docking(name, found, discard=discard)
            except StagingError as error:
                found.faults.append(UnexpectedName(error.message, name))
        return found

    def _recover_docking(self, docking_id: str, found: Recovered, *, discard: bool) -> None:
        directory = self.directory / docking_id
        names = sorted(os.listdir(directory))  # noqa: PTH208 - names are matched
        if not names and discard:
            directory.rmdir()
            return
        for name in names:
            if _PART_NAME.fullmatch(name):
                if discard:
                    (directory / name).unlink()
                    log.info("staging.part_discarded", staged=f"{docking_id}/{name}")
            elif _SEALED_NAME.fullmatch(name):
                if stat.S_ISREG((directory / name).lstat().st_mode):
                    found.sealed.append(self._parse(f"{docking_id}/{name}"))
                else:
                    found.faults.append(UnexpectedName(f"{docking_id}/{name}, no regular file"))
        # A crash may have come between a rename and this.
        durable.fsync_directory(directory)

    # -- using and going --

    def open_staged(self, staged_path: str) -> StagedCopy:
        """Open a sealed copy for reading.

        Raises:
            StagingMissingError: it is not there.
            StagingError: it could not be opened.
        """
        path = self.path_of(staged_path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with staging_faults(f"opening {staged_path}", sealed=True):
                fd = os.open(path, flags)
        except StagingMissingError:
            self.forbid_gone()
            raise
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise LocalCopyDamagedError(f"{staged_path} is no regular file")
        return StagedCopy(fd, staged_path)

    def forbid_gone(self) -> None:
        """Refuse to conclude anything from a copy that is not there while staging is not.

        Raises:
            StagingError: the staging directory itself is not there.
        """
        with staging_faults(f"looking for {self.directory}"):
            self.directory.stat()

    def move_to_quarantine(self, staged_path: str) -> str:
        """Move a sealed copy to quarantine; returns its new path, relative to `directory`.

        Raises:
            StagingMissingError: it is not there.
            StagingError: it could not be moved.
        """
        copy = self._parse(staged_path)
        target = f"{QUARANTINE}/{copy.item_id}-{ULID()}"
        with staging_faults(f"moving {staged_path} to quarantine", sealed=True):
            durable.make_directory(self.directory / QUARANTINE)
            with durable.act("item.quarantine"):
                durable.rename_no_replace(self.path_of(staged_path), self.directory / target)
                durable.fsync_directory(self.directory / QUARANTINE)
                durable.fsync_directory(self.directory / copy.docking_id)
        log.error("staging.copy_quarantined", staged=staged_path, quarantined=target)
        return target

    def put_back(self, quarantined: str, staged_path: str) -> None:
        """Undo `move_to_quarantine`.

        Raises:
            StagingError: it could not be moved.
        """
        copy = self._parse(staged_path)
        with staging_faults(f"moving {quarantined} back", sealed=True):
            durable.rename_no_replace(str(self.directory / quarantined), self.path_of(staged_path))
            durable.fsync_directory(self.directory / copy.docking_id)
            durable.fsync_directory(self.directory / QUARANTINE)

    def purge(self, staged_path: str) -> bool:
        """Delete a sealed copy, durably; whether it may go is for the caller to know.

        Returns whether it was there: after a crash it may be gone already.

        Raises:
            StagingError: it could not be deleted.
        """
        copy = self._parse(staged_path)
        with staging_faults(f"purging {staged_path}"), durable.act("item.unlink"):
            was_there = _unlink_if_there(self.path_of(staged_path))
            with contextlib.suppress(FileNotFoundError):
                durable.fsync_directory(self.directory / copy.docking_id)
        return was_there


def _unlink_if_there(path: str) -> bool:
    try:
        os.unlink(path)  # noqa: PTH108 - a plain string
    except FileNotFoundError:
        return False
    return True
