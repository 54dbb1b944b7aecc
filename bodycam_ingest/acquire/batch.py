"""Copies a batch of small items: read one after the other, made durable together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from bodycam_ingest.camera import SourceFile
from bodycam_ingest.errors import IngestError
from bodycam_ingest.linux import durable
from bodycam_ingest.linux.group_commit import GroupCommit
from bodycam_ingest.log import log
from bodycam_ingest.model.evidence import Acquired
from bodycam_ingest.staging import (
    SEALED_MODE,
    Digester,
    check_abandoned,
    staging_error,
    staging_faults,
)

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Mapping

    from bodycam_ingest.model.evidence import CopyRequest, Digests
    from bodycam_ingest.staging import Progress, StagedCopies


class SmallFileBatch:
    """One batch of small items.

    Args:
        copies: makes the sealed copies.
        root_fd: directory of the volume's root.
        progress: called with the bytes read since the last call.
        abandon: when set, what has not been read yet is left.
    """

    def __init__(
        self,
        copies: StagedCopies,
        root_fd: int,
        progress: Progress,
        abandon: threading.Event | None,
    ) -> None:
        self._copies = copies
        self._root_fd = root_fd
        self._progress = progress
        self._abandon = abandon
        self._requests: Mapping[int, CopyRequest] = {}
        self._read: dict[int, Digests] = {}
        self._outcomes: dict[int, Acquired | IngestError] = {}

    def run(
        self, requests: Mapping[int, CopyRequest], *, whole_file_system: bool
    ) -> dict[int, Acquired | IngestError]:
        """Copy the items.

        Args:
            requests: the items, under any keys.
            whole_file_system: flush all of staging's file system at once.

        Returns:
            Outcomes under the same keys. An item without one must be copied alone: the batch
            failed as a whole, or something of the item's name was in the way.
        """
        self._requests = requests
        with contextlib.ExitStack() as claims:
            try:
                try:
                    with durable.act("item.write"):
                        self._write(claims, whole_file_system=whole_file_system)
                except OSError as error:
                    log.warning("staging.batch_failed", items=len(requests), error=str(error))
                    self._forget(list(self._read))
                sealed = self._seal()
            except BaseException:
                self._forget(list(self._read))
                raise
            self._sync_names(sealed)
        return self._outcomes

    def _write(self, claims: contextlib.ExitStack, *, whole_file_system: bool) -> None:
        staging = self._copies.staging
        made: set[str] = set()
        with GroupCommit(
            staging.directory, mode=SEALED_MODE, whole_file_system=whole_file_system
        ) as group:
            for index, one in self._requests.items():
                try:
                    check_abandoned(self._abandon)
                    claims.enter_context(self._copies.claim(one.item_id))
                    data, digests = self._read_one(one)
                    if one.docking_id not in made:
                        with staging_faults(f"making the directory of docking {one.docking_id}"):
                            staging.make_docking_directory(one.docking_id)
                        made.add(one.docking_id)
                except IngestError as error:
                    self._outcomes[index] = error
                else:
                    self._read[index] = digests
                    group.add(index, staging.part_path(one.docking_id, one.item_id), data)
            faults = group.commit()
        self._forget(faults)
        for index, fault in faults.items():
            # A temporary file in the way is gone now: the item can be copied alone.
            if not isinstance(fault, FileExistsError):
                doing = f"writing item {self._requests[index].item_id}"
                self._outcomes[index] = staging_error(fault, doing)

    def _read_one(self, one: CopyRequest) -> tuple[bytearray, Digests]:
        size_bytes = one.signature.size_bytes
        data = bytearray(size_bytes)
        with SourceFile(self._root_fd, one.path, one.signature) as source, memoryview(data) as view:
            source.confirm(source.fill(view, size_bytes))
            digester = Digester(one.path, size_bytes, one.part_size_bytes)
            digester.update(view, size_bytes)
        self._progress(size_bytes)
        return data, digester.digests()

    def _forget(self, indices: Iterable[int]) -> None:
        for index in indices:
            del self._read[index]
            self._copies.discard(self._requests[index].docking_id, self._requests[index].item_id)

    def _seal(self) -> dict[int, Acquired]:
        sealed: dict[int, Acquired] = {}
        for index, digests in list(self._read.items()):
            one = self._requests[index]
            try:
                staged_path = self._copies.seal(one.docking_id, one.item_id, digests)
            except IngestError as error:
                self._forget([index])
                self._outcomes[index] = error
            else:
                sealed[index] = Acquired(one.item_id, digests, staged_path)
        return sealed

    def _sync_names(self, sealed: Mapping[int, Acquired]) -> None:
        for docking_id in sorted({self._requests[index].docking_id for index in sealed}):
            outcome: IngestError | None = None
            try:
                self._copies.sync_names(docking_id)
            except IngestError as error:
                outcome = error
            for index, acquired in sealed.items():
                if self._requests[index].docking_id == docking_id:
                    self._outcomes[index] = outcome or acquired
