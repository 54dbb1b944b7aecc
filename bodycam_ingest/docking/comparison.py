"""Comparing a camera's inventory with its history (pure).

Known-ness is decided by content and history, never by name, time or size alone. A file is the
same as one met before only if path and size are equal, its time is equal or moved by the same
whole number of hours as the others', and its sample digest is what it was when it was acquired.
"""

from __future__ import annotations

import bisect
import collections
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from bodycam_ingest.model.evidence import EntryKind, StatSignature, Verdict
from bodycam_ingest.model.lifecycle import NEVER_READ

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bodycam_ingest.model.evidence import InventoryEntry, KnownItem

_HOUR_NS: Final = 3_600_000_000_000
_SHIFT_MAX_HOURS: Final = 14
_NEARLY_ALL: Final = 0.75
# The highest number in a name before the count begins again at 1 (DCF).
NAME_WRAP: Final = 9999


@dataclass(frozen=True, slots=True)
class Candidate:
    """A listed file and what it may be.

    Args:
        items: known items whose path, size and time fit, newest first.
        used_name: the path was met before, whether anything fits or not.
    """

    entry: InventoryEntry
    items: tuple[KnownItem, ...]
    used_name: bool

    def needs_sample(self) -> bool:
        """Whether the content has to be looked at."""
        return any(item.sample_sha256 is not None for item in self.items)


class Compared(NamedTuple):
    """What a listed entry turned out to be.

    Args:
        item_id: the known item that it is; None for a new one or what is not ingested.
        reason: why, for people.
    """

    entry: InventoryEntry
    verdict: Verdict
    item_id: str | None = None
    reason: str = ""


def hour_shift(files: Mapping[bytes, StatSignature], known: Iterable[KnownItem]) -> int:
    """By how many whole hours all times moved against the history: daylight saving on FAT.

    Returns:
        Whole hours from -14 to 14; 0 unless nearly every file that was met before with the same
        size (three of four; names with sizes that never differ are reused) moved by exactly that.
    """
    newest = {item.path: item for item in known}
    shifts: collections.Counter[int | None] = collections.Counter()
    for path, signature in files.items():
        item = newest.get(path)
        if item is not None and item.size_bytes == signature.size_bytes:
            shifts[_whole_hours(signature.mtime_ns - item.mtime_ns)] += 1
    if not shifts:
        return 0
    hours, count = shifts.most_common(1)[0]
    return hours if hours is not None and count >= shifts.total() * _NEARLY_ALL else 0


def _whole_hours(difference_ns: int) -> int | None:
    hours, rest_ns = divmod(difference_ns, _HOUR_NS)
    return None if rest_ns or abs(hours) > _SHIFT_MAX_HOURS else hours


def candidates(
    entries: Sequence[InventoryEntry], known: Sequence[KnownItem], shift_hours: int
) -> list[Candidate]:
    """What each listed file may be, in order; `known` are the camera's items, oldest first."""
    by_path: dict[bytes, list[KnownItem]] = {}
    for item in known:
        by_path.setdefault(item.path, []).append(item)
    found = []
    for entry in entries:
        items = by_path.get(entry.path, [])
        fitting = tuple(
            item
            for item in reversed(items)
            if entry.signature is not None and _fits(entry.signature, item, shift_hours)
        )
        found.append(Candidate(entry, fitting, used_name=bool(items)))
    return found


def _fits(signature: StatSignature, item: KnownItem, shift_hours: int) -> bool:
    if signature.size_bytes != item.size_bytes:
        return False
    # Not shifted fits as well: files written since the clocks changed.
    return signature.mtime_ns - item.mtime_ns in {0, shift_hours * _HOUR_NS}


def resolve(found: Iterable[Candidate], samples: Mapping[bytes, bytes]) -> list[Compared]:
    """What each candidate is that can be judged, in order.

    A file whose sample was needed and could not be taken is left out: the next listing judges it.
    """
    resolved = []
    for candidate in found:
        entry = candidate.entry
        if candidate.needs_sample() and entry.path not in samples:
            continue
        match = _match(candidate.items, samples.get(entry.path))
        if match is not None:
            resolved.append(Compared(entry, Verdict.SAME, match.item_id))
        elif candidate.items:
            reason = "same name, size and time as before, other content"
            resolved.append(Compared(entry, Verdict.CHANGED, None, reason))
        elif candidate.used_name:
            reason = "a name met before, another size or time"
            resolved.append(Compared(entry, Verdict.CHANGED, None, reason))
        else:
            resolved.append(Compared(entry, Verdict.NEW))
    return resolved


def _match(items: Sequence[KnownItem], sample: bytes | None) -> KnownItem | None:
    """The item whose content this is, else the newest that was never read, else None."""
    read = (item for item in items if item.sample_sha256 is not None)
    unread = (i for i in items if i.sample_sha256 is None and i.state in NEVER_READ)
    # An item read once is known by its content for good, also when its copy was lost since.
    same = (item for item in read if item.sample_sha256 == sample)
    return next(same, None) or next(unread, None)


def gaps(numbers: Iterable[int], *, known: Iterable[int] = ()) -> list[tuple[int, int]]:
    """Holes in a camera's own file numbering within one directory.

    Numbers in `known` were met there before: a file that was ingested and is gone since leaves no
    hole.

    Returns:
        `(first, last)` of each run of missing numbers, ascending. A hole wider than half of the
        count is where a count that wrapped has not come to yet; then what lacks to its end and
        from its beginning is missing.
    """
    present = sorted(set(numbers))
    holes = [(low + 1, high - 1) for low, high in itertools.pairwise(present) if high - low > 1]
    widest = max(holes, key=_width, default=(1, 0))
    if _width(widest) > NAME_WRAP // 2 and present[-1] <= NAME_WRAP:
        holes.remove(widest)
        holes += [(1, present[0] - 1), (present[-1] + 1, NAME_WRAP)]
    met = sorted(set(known))
    return sorted(left for hole in holes for left in _without(hole, met) if _width(left) > 0)


def _width(hole: tuple[int, int]) -> int:
    return hole[1] - hole[0] + 1


def _without(hole: tuple[int, int], met: Sequence[int]) -> list[tuple[int, int]]:
    first, last = hole
    inside = met[bisect.bisect_left(met, first) : bisect.bisect_right(met, last)]
    return [(low + 1, high - 1) for low, high in itertools.pairwise([first - 1, *inside, last + 1])]


def is_dead_clock(mtime_ns: int, now_ns: int) -> bool:
    """Whether a time can only come from a camera clock that is dead or set wrong.

    That is before 2010, or more than a day ahead of the dock.
    """
    return mtime_ns < _YEAR_2010_NS or mtime_ns > now_ns + 24 * _HOUR_NS


_YEAR_2010_NS: Final = 1_262_304_000_000_000_000


def files_of(entries: Iterable[InventoryEntry]) -> dict[bytes, StatSignature]:
    """The regular files of a listing, by path."""
    return {
        entry.path: entry.signature
        for entry in entries
        if entry.kind is EntryKind.FILE and entry.signature is not None
    }
