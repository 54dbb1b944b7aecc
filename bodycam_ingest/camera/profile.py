"""What a camera's properties and names mean: profiles, identity, facts of a path (pure)."""

from __future__ import annotations

import collections
import datetime as dt
import fnmatch
import functools
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import regex

from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bodycam_ingest.config import CameraProfile

SERIAL_MAX: Final = 64
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
# A hostile name must not make an admin's pattern work for ever.
_PATH_MAX: Final = 1024
_SEARCH_MAX_S: Final = 0.1
_DIGITS_MAX: Final = 18


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What a path says of an item; empty or None where it does not say.

    `recorded_at` is the camera's own time, ISO 8601 without offset, `number` its own count.
    """

    recorded_at: str = ""
    number: int | None = None
    officer: str = ""


def safe_serial(raw: str) -> str:
    """A serial that can stand in a ledger subject, a key and a log line; `raw` may be hostile.

    Returns:
        1 to 64 letters, digits, `.`, `_`, `-`; not beginning with a dot. A serial that had to be
        altered ends in part of its digest, so that two of them never become one. Empty for empty.
    """
    stripped = raw.strip()
    if not stripped:
        return ""
    safe = _UNSAFE.sub("_", stripped)
    if safe == stripped and len(safe) <= SERIAL_MAX and not safe.startswith("."):
        return safe
    mark = hashlib.sha256(stripped.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{safe.lstrip('.')[: SERIAL_MAX - 13]}-{mark}"


def profile_for(
    properties: Mapping[str, str], profiles: Sequence[CameraProfile]
) -> CameraProfile | None:
    """The first profile all of whose patterns match a device; None for an unknown camera."""
    for profile in profiles:
        if all(
            fnmatch.fnmatchcase(properties.get(name, ""), pattern)
            for name, pattern in profile.match.items()
        ):
            return profile
    return None


def is_taken(
    properties: Mapping[str, str], profiles: Sequence[CameraProfile], *, only_profiled: bool
) -> bool:
    """Whether a device is taken for a camera at all."""
    return not only_profiled or profile_for(properties, profiles) is not None


@functools.lru_cache(maxsize=512)
def _glob(pattern: str) -> re.Pattern[str]:
    """A shell pattern as a regular expression that no name makes work for long.

    Between two `**` and between two `*` stands a text of fixed length. Its leftmost place is as
    good as any, so each search for one is atomic: it is never taken back to look for another place.
    """
    crossings: list[tuple[str, list[str]]] = [("", [""])]
    # Several "any directories" in a row are one.
    once = re.sub(r"(?:\*\*/)+", "**/", pattern)
    for piece in re.split(r"(\*\*/?|\*|\?|\[[^\]]*\])", once):
        text = crossings[-1][1][-1]
        if piece == "**/" and (text.endswith("/") or crossings == [("", [""])]):
            crossings.append(("(?:.*?/)??", [""]))
        elif piece in {"**", "**/"}:
            # `**/` crosses "no directory" only where one could begin; else the slash is a text.
            crossings.append((".*?", [piece[2:]]))
        elif piece == "*":
            crossings[-1][1].append("")
        else:
            crossings[-1][1][-1] += _fixed(piece)
    last = len(crossings) - 1
    found = [_stretch(texts, last=i == last) for i, (_, texts) in enumerate(crossings)]
    parts = [
        f"{crossing}{stretch}" if i in {0, last} else f"(?>{crossing}{stretch})"
        for i, ((crossing, _), stretch) in enumerate(zip(crossings, found, strict=True))
    ]
    return re.compile("".join(parts) + r"\Z", re.DOTALL | re.IGNORECASE)


def _stretch(texts: Sequence[str], *, last: bool) -> str:
    """Texts of fixed length with anything but a slash between them."""
    parts = [texts[0]] + [f"(?>[^/]*?{text})" for text in texts[1:]]
    if last and len(texts) > 1:
        # The very last one stands at the end of the path.
        parts[-1] = f"[^/]*{texts[-1]}"
    return "".join(parts)


def _fixed(piece: str) -> str:
    if piece == "?":
        return "[^/]"
    if re.fullmatch(r"\[!?[^\]]+\]", piece):
        inner = re.sub(r"([\[\\^&~|])", r"\\\1", piece[1:-1].removeprefix("!"))
        return f"[^/{inner}]" if piece.startswith("[!") else f"[{inner}]"
    return re.escape(piece)


def is_included(profile: CameraProfile | None, path: bytes) -> bool:
    """Whether a path is to be taken; everything is where no profile says otherwise."""
    if profile is None:
        return True
    text = _text(path)
    return any(_glob(p).match(text) for p in profile.include) and not any(
        _glob(p).match(text) for p in profile.exclude
    )


class LimitedSearch:
    """Looks for an admin's patterns in a camera's texts, each time for so long at most.

    An honest text takes microseconds. A pattern that needed too long `tries` times is given up, so
    that a card full of hostile names costs no more than one of them. One thread uses it.
    """

    def __init__(
        self, given_up: Callable[[str], None] = lambda _pattern: None, tries: int = 3
    ) -> None:
        self._given_up = given_up
        self._tries = tries
        self._slow: collections.Counter[str] = collections.Counter()

    def __call__(self, pattern: str, text: str) -> regex.Match[str] | None:
        """What a pattern finds; nothing where it is given up or took too long."""
        if self._slow[pattern] >= self._tries:
            return None
        try:
            # The time is the processor's, of all threads; the interpreter's lock is not held.
            return regex.search(pattern, text, timeout=_SEARCH_MAX_S, concurrent=True)
        except TimeoutError:
            self._slow[pattern] += 1
            if self._slow[pattern] == self._tries:
                self._given_up(pattern)
            return None


def facts_of(
    profile: CameraProfile | None, path: bytes, search: LimitedSearch | None = None
) -> ItemFacts:
    """What a path says, by the profile's patterns; nothing for an unknown camera.

    One search serves all paths of a card.
    """
    if profile is None or len(path) > _PATH_MAX:
        return ItemFacts()
    text = _text(path)
    search = search or LimitedSearch()
    for pattern in profile.patterns:
        match = search(pattern, text)
        if match is not None:
            groups = {name: _clean(value or "") for name, value in match.groupdict().items()}
            number = groups.get("number", "")
            # A date that stands in the directory's name alone, a time in the file's.
            split = f"{groups.get('date', '')} {groups.get('time', '')}".strip()
            return ItemFacts(
                recorded_at=_recorded_at(groups.get("recorded_at") or split, profile),
                number=int(number) if number.isdecimal() and len(number) <= _DIGITS_MAX else None,
                officer=groups.get("officer", ""),
            )
    return ItemFacts()


def serial_in_text(profile: CameraProfile, text: str, search: LimitedSearch | None = None) -> str:
    """The serial in a camera's own file, empty where the pattern finds none."""
    search = search or LimitedSearch()
    match = search(profile.serial_pattern, text) if profile.serial_pattern else None
    return _clean((match.groupdict().get("serial") or "").strip()) if match else ""


def _recorded_at(text: str, profile: CameraProfile) -> str:
    try:
        # The camera's clock has no zone: it is recorded as it is written.
        moment = dt.datetime.strptime(text, profile.recorded_at_format)  # noqa: DTZ007 - see above
    except ValueError:
        return ""
    return moment.isoformat(timespec="seconds")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _clean(text: str) -> str:
    """Part of a camera's text for ledger and logs: bytes that are no UTF-8 are shown escaped."""
    return printable_path(text.encode("utf-8", "surrogateescape"))
