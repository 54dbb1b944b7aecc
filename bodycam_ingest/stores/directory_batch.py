"""Writes many small objects of a directory store together: their flushes share the disk's time.

One object after another costs four flushes each, one waiting for the next. Here all bytes are made
durable side by side, then all names. The order is the same: no name before its bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest.errors import LocalCopyDamagedError, StagingError, StoreError
from bodycam_ingest.linux import durable
from bodycam_ingest.linux.group_commit import GroupCommit
from bodycam_ingest.stores import directory_files as files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bodycam_ingest.model.evidence import StoreObject
    from bodycam_ingest.stores.contract import ByteSource, Pace

DIRECTORY_MODE: Final = 0o750


@dataclass
class _New:
    """An object in a directory that was made for it; note and body have passing names."""

    obj: StoreObject
    place: files.Place
    note: str
    body: str


class Batch:
    """Small objects on their way.

    `open_durable` opens a directory whose name and those above are durable, made where missing.
    With `whole_file_system` all of the store's file system is flushed at once.
    """

    def __init__(
        self, root: Path, open_durable: Callable[[str], int], *, whole_file_system: bool
    ) -> None:
        self._root = root
        self._open_durable = open_durable
        self._whole = whole_file_system
        self._above: dict[str, int] = {}
        self._new: list[_New] = []

    def write(self, batch: Sequence[tuple[StoreObject, ByteSource]], pace: Pace) -> list[str]:
        """Write those for which no directory is there yet; others need more looking.

        Returns the keys of the objects that are durable now. Of another nothing is left but what
        the next try clears away.

        Raises:
            StoreError: as its subclass says.
            OSError: the medium refused.
            AbandonedError: the process must end.
        """
        with contextlib.ExitStack() as opened:
            try:
                written = self._write_bytes(batch, opened, pace)
                return self._name(written)
            finally:
                for one in self._new:
                    files.remove(one.note)
                    files.remove(one.body)

    def _write_bytes(
        self,
        batch: Sequence[tuple[StoreObject, ByteSource]],
        opened: contextlib.ExitStack,
        pace: Pace,
    ) -> list[_New]:
        """Make the bytes of notes and objects durable; returns the objects that have both."""
        with GroupCommit(self._root, mode=files.FILE_MODE, whole_file_system=self._whole) as group:
            for obj, source in batch:
                # What is wrong with one is told when it is sent.
                with contextlib.suppress(LocalCopyDamagedError, StagingError, StoreError):
                    data = source.read_at(0, obj.digests.size_bytes)
                    files.must_be(obj, hashlib.sha256(data).digest())
                    place = self._make_place(obj.key, opened)
                    if place is None:
                        continue
                    pace(len(data))
                    one = _New(obj, place, place.temporary(), place.temporary())
                    number = len(self._new)
                    self._new.append(one)
                    group.add(2 * number, one.note, files.note_of(obj))
                    group.add(2 * number + 1, one.body, data)
            faults = group.commit()
        bad = {key // 2 for key in faults}
        return [one for number, one in enumerate(self._new) if number not in bad]

    def _make_place(self, key: str, opened: contextlib.ExitStack) -> files.Place | None:
        """Make an object's own directory, not durably yet; None where it is there already."""
        directory = key.rpartition("/")[0]
        above, _, name = directory.rpartition("/")
        if above not in self._above:
            self._above[above] = self._open_durable(above)
            opened.callback(os.close, self._above[above])
        try:
            os.mkdir(name, DIRECTORY_MODE, dir_fd=self._above[above])
        except FileExistsError:
            return None
        fd = files.open_directory(self._above[above], name)
        if fd is None:
            return None
        opened.callback(os.close, fd)
        return files.Place(fd, key)

    def _name(self, written: Sequence[_New]) -> list[str]:
        """Give notes and objects their names, durably; returns the keys of those that have both."""
        with GroupCommit(self._root, mode=files.FILE_MODE, whole_file_system=self._whole) as group:
            named: dict[int, str] = {}
            for number, one in enumerate(written):
                with contextlib.suppress(FileExistsError):
                    with durable.act("store.create"):
                        durable.rename_no_replace(one.note, one.place.note)
                    with durable.act("store.put"):
                        durable.rename_no_replace(one.body, one.place.path)
                    named[number] = one.obj.key
                    group.add_open(number, os.dup(one.place.fd))
            for number, fd in enumerate(self._above.values(), 1):
                group.add_open(-number, os.dup(fd))
            faults: Mapping[int, OSError] = group.commit()
        above = [fault for number, fault in faults.items() if number < 0]
        if above:
            raise above[0]
        return [key for number, key in named.items() if number not in faults]
