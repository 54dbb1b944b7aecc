"""What one docking knows of its card: what each file is, which still change, which are missing."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from bodycam_ingest.acquire import FOR_SPACE
from bodycam_ingest.camera import being_written, sample
from bodycam_ingest.docking import comparison
from bodycam_ingest.docking.comparison import Compared
from bodycam_ingest.errors import AbandonedError, Disposition, IngestError, SourceGoneError
from bodycam_ingest.linux import clock
from bodycam_ingest.log import log
from bodycam_ingest.model.backoff import is_due
from bodycam_ingest.model.evidence import EntryKind, InventoryEntry, Verdict, printable_path

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from bodycam_ingest.camera import ItemFacts, Settling
    from bodycam_ingest.db.items import ItemRow
    from bodycam_ingest.docking.record import DockingRecord
    from bodycam_ingest.model.evidence import StatSignature


# A file must be missing from two complete listings before anything is concluded from it.
_ABSENCES: Final = 2


@dataclass(slots=True)
class _Seen:
    signature: StatSignature
    item_id: str


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What one listing leads to.

    Args:
        due: items to read now.
        for_space: items that wait for nothing but space in staging.
        signatures: signatures of the files of both, by item.
        unsettled: files that still change, or are held open by a writer.
        unclassified: files that could not be compared yet.
        faults: codes on which unread items wait.
    """

    due: Sequence[ItemRow]
    for_space: Sequence[ItemRow]
    signatures: dict[str, StatSignature]
    unsettled: int
    unclassified: int
    faults: frozenset[str]


@dataclass
class InventoryTracker:
    """Follows a card's content through the listings of one docking; its thread alone uses it.

    Args:
        facts_of: what the camera's profile reads from a path.
        included: whether the profile takes a path.
        bytes_to_read: of all items that this docking has to read.
    """

    record: DockingRecord
    facts_of: Callable[[bytes], ItemFacts]
    included: Callable[[bytes], bool]
    settling: Settling
    bytes_to_read: int = 0
    _seen: dict[bytes, _Seen] = field(default_factory=dict)
    _others: set[bytes] = field(default_factory=set)
    _absent: dict[bytes, int] = field(default_factory=dict)
    _listings: int = 0
    _shift_hours: int = 0
    _last: frozenset[bytes] | None = None
    _reported: set[tuple[str, str]] = field(default_factory=set)
    # As last read from the database; None once something may have changed it.
    _unread: list[ItemRow] | None = None

    def update(
        self, root_fd: int, entries: Sequence[InventoryEntry], *, complete: bool, now_s: float
    ) -> ScanResult:
        """Take in one listing of a volume that was still present after it, at `now_s` (monotonic).

        Raises:
            SourceGoneError: a file, or the camera, went away meanwhile.
        """
        self._unread = None
        if self._last is None:
            self._last = self.record.last_inventory()
        changed = self._ignored(entries)
        files = comparison.files_of(entry for entry in entries if self._is_taken(entry.path))
        self.settling.forget(set(files))
        settled = {
            path
            for path, signature in files.items()
            if self.settling.observe(now_s, path, signature)
        }
        fresh = self._moved(files, settled)
        changed |= self._compare(root_fd, files, fresh)
        self._conclude(files, complete=complete, changed=changed)
        return self._result(root_fd, files, settled)

    @property
    def concluded(self) -> bool:
        """Whether enough complete listings agreed to know what is missing."""
        return self._listings >= _ABSENCES

    def _unread_items(self) -> list[ItemRow]:
        """Items still to be read: asked once a listing, and again after what this one changed."""
        if self._unread is None:
            self._unread = self.record.unread_items()
        return self._unread

    # -- what is ignored --

    def _is_taken(self, path: bytes) -> bool:
        return path in self._seen or self.included(path)

    def _ignored(self, entries: Sequence[InventoryEntry]) -> bool:
        ignored = []
        for entry in entries:
            if entry.path in self._others or entry.kind is EntryKind.DIRECTORY:
                continue
            if entry.kind is not EntryKind.FILE:
                ignored.append(Compared(entry, Verdict.IGNORED, reason=entry.detail))
            elif not self._is_taken(entry.path):
                ignored.append(Compared(entry, Verdict.IGNORED, reason="left out by the profile"))
        if not ignored:
            return False
        self._others.update(one.entry.path for one in ignored)
        self.record.classify(ignored, self.facts_of)
        others = sorted(
            (one.entry.kind.value, one.entry.path)
            for one in ignored
            if one.entry.kind is not EntryKind.FILE
        )
        for kind, entries_of_kind in itertools.groupby(others, key=itemgetter(0)):
            paths = [path for _, path in entries_of_kind]
            level = log.warning if self._is_first("entry_ignored", kind) else log.debug
            level(
                "camera.entry_ignored",
                docking_id=self.record.row.docking_id,
                files=len(paths),
                path=printable_path(paths[0]),
                kind=kind,
            )
        return True

    def _is_first(self, event: str, kind: str) -> bool:
        first = (event, kind) not in self._reported
        self._reported.add((event, kind))
        return first

    # -- what is new or changed --

    def _moved(self, files: Mapping[bytes, StatSignature], settled: set[bytes]) -> list[bytes]:
        """Paths to compare: met for the first time, or changed since they were compared."""
        fresh = [path for path in files if path not in self._seen]
        moved = self._changed(files)
        if not moved:
            return fresh
        unread = {row.item_id: row for row in self._unread_items()}
        for path in moved:
            if path not in settled:
                continue
            seen = self._seen[path]
            row = unread.get(seen.item_id)
            if row is None:
                # It was read already: what lies there now is compared anew.
                fresh.append(path)
                continue
            if _signature(seen.signature) == _signature(files[path]):
                # FAT gives a file another inode number whenever the kernel forgot it meanwhile.
                seen.signature = files[path]
                continue
            self.record.changed(row, files[path])
            self._unread = None
            self.bytes_to_read += files[path].size_bytes - row.size_bytes
            seen.signature = files[path]
        return fresh

    def _changed(self, files: Mapping[bytes, StatSignature]) -> list[bytes]:
        return [p for p, s in files.items() if p in self._seen and self._seen[p].signature != s]

    def _compare(
        self, root_fd: int, files: Mapping[bytes, StatSignature], fresh: Sequence[bytes]
    ) -> bool:
        if not fresh:
            return False
        known = self.record.history()
        if not self._seen:
            self._shift_hours = comparison.hour_shift(files, known)
            if self._shift_hours:
                log.info("camera.hour_shift", hours=self._shift_hours)
        entries = [InventoryEntry(path, EntryKind.FILE, files[path]) for path in sorted(fresh)]
        found = comparison.candidates(entries, known, self._shift_hours)
        compared = comparison.resolve(found, self._samples(root_fd, found))
        items = self.record.classify(compared, self.facts_of)
        self._unread = None
        unread = {row.item_id for row in self._unread_items()}
        for path, item_id in items.items():
            self._seen[path] = _Seen(files[path], item_id)
            if item_id in unread:
                self.bytes_to_read += files[path].size_bytes
        return bool(compared)

    def _samples(self, root_fd: int, found: Sequence[comparison.Candidate]) -> dict[bytes, bytes]:
        samples = {}
        failed: dict[str, list[tuple[bytes, str]]] = {}
        for candidate in found:
            signature = candidate.entry.signature
            if signature is None or not candidate.needs_sample():
                continue
            try:
                samples[candidate.entry.path] = sample(root_fd, candidate.entry.path, signature)
            except SourceGoneError:
                raise
            except IngestError as error:
                if error.disposition is Disposition.HALT or isinstance(error, AbandonedError):
                    raise
                # Judged at the next listing; until then the camera is not released.
                failed.setdefault(error.code, []).append((candidate.entry.path, error.message))
        for code, files in failed.items():
            path, message = files[0]
            level = log.warning if self._is_first("sample_failed", code) else log.debug
            level(
                "camera.sample_failed",
                docking_id=self.record.row.docking_id,
                files=len(files),
                path=printable_path(path),
                error=code,
                message=message,
            )
        return samples

    # -- what went missing --

    def _conclude(
        self, files: Mapping[bytes, StatSignature], *, complete: bool, changed: bool
    ) -> None:
        if not complete:
            if changed:
                self.record.inventoried(complete=False, final=False, hour_shift=self._shift_hours)
            return
        self._listings += 1
        changed |= self._missing(files)
        final = self._listings >= _ABSENCES
        if changed or self._listings <= _ABSENCES:
            self.record.inventoried(complete=True, final=final, hour_shift=self._shift_hours)
        if self._listings == _ABSENCES:
            self._raise_notices(files)

    def _missing(self, files: Mapping[bytes, StatSignature]) -> bool:
        """Count absences; conclude from the second on."""
        unread = self._unread_items()
        mine = {seen.item_id for path, seen in self._seen.items() if path in files}
        suspects = (self._last or frozenset()) | self._seen.keys() | {r.path for r in unread}
        foreign = {row.path for row in unread if row.item_id not in mine}
        gone: set[bytes] = set()
        for path in suspects:
            if path in files and path not in foreign:
                self._absent.pop(path, None)
                continue
            self._absent[path] = self._absent.get(path, 0) + 1
            if self._absent[path] == _ABSENCES:
                gone.add(path)
        if not gone:
            return False
        vanished = [row for row in unread if row.path in gone and row.item_id not in mine]
        if vanished:
            self.record.vanished(vanished)
            self._unread = None
        newest = {one.path: one for one in self.record.history() if one.path in gone}
        missing = [one for path, one in newest.items() if path not in files]
        self.record.missing(missing)
        for one in missing:
            self._seen.pop(one.path, None)
        return True

    def _raise_notices(self, files: Mapping[bytes, StatSignature]) -> None:
        """Findings that need no action by themselves: holes in the numbering, a dead clock."""
        now_ns = clock.now_ms() * 1_000_000
        dead = [p for p, s in files.items() if comparison.is_dead_clock(s.mtime_ns, now_ns)]
        if dead:
            such_as = printable_path(min(dead))
            self.record.notice(
                "camera_clock", f"{len(dead)} files bear impossible times, such as {such_as}"
            )
        # Without anything new in a directory, an earlier docking reported its holes.
        fresh = {_directory(path) for path in files.keys() - (self._last or frozenset())}
        history = self.record.history() if fresh else []
        known = self._numbers(fresh, (one.path for one in history))
        holes = {
            directory: found
            for directory, listed in self._numbers(fresh, files).items()
            if (found := comparison.gaps(listed, known=known.get(directory, ())))
        }
        if holes:
            directory, found = min(holes.items())
            self.record.notice(
                "numbering_gap",
                f"numbers are missing in {len(holes)} directories, such as "
                f"{found[0][0]} to {found[0][1]} in {printable_path(directory) or '/'}",
            )

    def _numbers(
        self, directories: Collection[bytes], paths: Iterable[bytes]
    ) -> dict[bytes, list[int]]:
        """The camera's own numbers in these directories, by directory."""
        numbers: dict[bytes, list[int]] = {}
        for path in paths:
            directory = _directory(path)
            if directory in directories:
                number = self.facts_of(path).number
                if number is not None:
                    numbers.setdefault(directory, []).append(number)
        return numbers

    # -- what is read now --

    def _result(
        self, root_fd: int, files: Mapping[bytes, StatSignature], settled: set[bytes]
    ) -> ScanResult:
        now_ms = clock.now_ms()
        due: list[ItemRow] = []
        for_space: list[ItemRow] = []
        signatures: dict[str, StatSignature] = {}
        unsettled = len(files.keys() - settled)
        unread = self._unread_items()
        for row in unread:
            seen = self._seen.get(row.path)
            if seen is None or seen.item_id != row.item_id or row.path not in settled:
                continue
            if seen.signature != files.get(row.path):
                continue
            if not is_due(row.due_ms, now_ms):
                if row.last_error in FOR_SPACE:
                    for_space.append(row)
                    signatures[row.item_id] = seen.signature
                continue
            if not self.settling.unwritable and being_written(root_fd, row.path):
                unsettled += 1
                continue
            due.append(row)
            signatures[row.item_id] = seen.signature
        return ScanResult(
            due=sorted(due, key=lambda row: (row.mtime_ns, row.path)),
            for_space=for_space,
            signatures=signatures,
            unsettled=unsettled + len(self._changed(files)),
            unclassified=len(files.keys() - self._seen.keys()),
            faults=frozenset(row.last_error for row in unread),
        )


def _directory(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def _signature(signature: StatSignature) -> tuple[int, int, int]:
    return signature.size_bytes, signature.mtime_ns, signature.device
