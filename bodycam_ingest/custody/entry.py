"""Ledger entries: canonical bytes that are the record (pure; docs/ledger-format.md).

Verification hashes the stored bytes and never serialises again.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from bodycam_ingest.errors import LedgerEntryError

VERSION: Final = 2
BODY_BYTES_MAX: Final = 65_535
_INTEGER_MAX: Final = 2**53 - 1
_TYPE: Final = re.compile(r"[a-z]+(\.[a-z_]+)+")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_FIGURE: Final = re.compile(r"-?[1-9][0-9]{15,39}", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_ORIGIN: Final = re.compile(r"[^\s+]+")
_ACTORS: Final = frozenset({"system", "user"})
_KEYS: Final = frozenset(
    {"v", "log", "seq", "prev", "t", "boot", "mono", "type", "actor", "subj", "data"}
)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it.

    Args:
        kind: `system` for the daemon itself, `user` for a person.
        id: which one.
    """

    kind: str
    id: str


SYSTEM: Final = Actor("system", "bodycam-ingest")


@dataclass(frozen=True, slots=True)
class Position:
    """Where an entry stands.

    Args:
        log: the log's origin.
        seq: its number, from 0.
        prev: leaf hash of the entry before, 32 zero bytes for the first.
        subject: what it is about.
        ordinal: its number within the subject, from 0.
        subject_prev: number of the subject's entry before, None for its first.
    """

    log: str
    seq: int
    prev: bytes
    subject: str
    ordinal: int
    subject_prev: int | None


@dataclass(frozen=True, slots=True)
class Moment:
    """When an entry was made.

    Args:
        t: time of day, RFC 3339 with milliseconds, UTC.
        boot: the kernel's id of this boot.
        mono: CLOCK_BOOTTIME, ms.
    """

    t: str
    boot: str
    mono: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A parsed entry; the arguments are the format's own.

    Args:
        canonical: its bytes were RFC 8785 JSON, the one spelling that an entry has.
    """

    position: Position
    moment: Moment
    type: str
    actor: Actor
    data: Mapping[str, Any]
    canonical: bool = True


def _check(value: Any, where: str) -> None:
    if value is None or isinstance(value, (bool, str)):
        return
    if isinstance(value, int):
        if abs(value) > _INTEGER_MAX:
            raise LedgerEntryError(f"{where}: integers beyond 2^53 stand as text")
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise LedgerEntryError(f"{where}: keys are ASCII text")
            _check(inner, f"{where}.{key}")
        return
    if isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check(inner, f"{where}[{index}]")
        return
    raise LedgerEntryError(f"{where}: {type(value).__name__} has no place in an entry")


def admit(kind: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """An entry's data as it can stand there, before anything else is known of it.

    Text that is not Unicode comes from the operating system's messages about a camera's files. A
    hostile name must not stop the record: its invalid bytes are written as escapes.

    Args:
        kind: the entry's type.
        data: what happened.

    Returns:
        A deep copy, which the caller may change no more.

    Raises:
        LedgerEntryError: type or data do not follow the format.
    """
    if not _TYPE.fullmatch(kind):
        raise LedgerEntryError(f"no entry type: {kind!r}")
    return {key: _admitted(key, value) for key, value in data.items()}


def _admitted(key: Any, value: Any) -> Any:
    if type(key) is not str or not key.isascii():
        raise LedgerEntryError(f"{key!r}: keys are ASCII text")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, int):
        if abs(value) > _INTEGER_MAX:
            raise LedgerEntryError(f"{key}: integers beyond 2^53 stand as text")
        return value
    if isinstance(value, Mapping):
        return {name: _admitted(name, inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_admitted(key, inner) for inner in value]
    raise LedgerEntryError(f"{key}: {type(value).__name__} has no place in an entry")


def escaped(text: str) -> str:
    """Text in which what is no Unicode stands as its escape: six characters for one byte."""
    if text.isascii():
        return str(text)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def figure(value: int) -> int | str:
    """A count as an entry holds it: from 2^53 on it stands as decimal text.

    Args:
        value: such as a length that a camera claims, which may be anything.
    """
    return value if abs(value) <= _INTEGER_MAX else str(value)


def read_figure(value: object) -> object:
    """What `figure` was given; anything else as it is."""
    if isinstance(value, str) and _FIGURE.fullmatch(value):
        return int(value)
    return value


_ENCODE: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode


def canonical(value: Mapping[str, Any]) -> bytes:
    """RFC 8785 JSON of what follows the rules for values: no floats, small integers, ASCII keys.

    Under those rules it is JSON with sorted keys and no blanks. The standard library writes it five
    times as fast as a library that knows all rules; a property test holds both equal.
    """
    return _ENCODE(value).encode()


def build_entry(
    position: Position, moment: Moment, kind: str, actor: Actor, data: Mapping[str, Any]
) -> bytes:
    """An entry's bytes.

    Args:
        position: where it stands.
        moment: when it is made.
        kind: its type.
        actor: who did it.
        data: what happened, as `admit` gave it.

    Returns:
        RFC 8785 JSON.

    Raises:
        LedgerEntryError: it does not follow the format.
    """
    value: dict[str, Any] = {
        "v": VERSION,
        "log": position.log,
        "seq": position.seq,
        "prev": position.prev.hex(),
        "t": moment.t,
        "boot": moment.boot,
        "mono": moment.mono,
        "type": kind,
        "actor": {"kind": actor.kind, "id": actor.id},
        "subj": {
            "id": position.subject,
            "n": position.ordinal,
            "prev": position.subject_prev,
        },
        "data": data,
    }
    try:
        body = canonical(value)
    except (TypeError, ValueError) as error:
        raise LedgerEntryError(f"{kind}: {error}") from error
    if len(body) > BODY_BYTES_MAX:
        raise LedgerEntryError(f"{kind}: {len(body)} bytes are more than {BODY_BYTES_MAX}")
    return body


def _no_float(text: str) -> Any:
    raise LedgerEntryError(f"not an entry: {text} is no integer")


_DECODER: Final = json.JSONDecoder(parse_float=_no_float, parse_constant=_no_float)
# Where a number stands in JSON; what only looks like one inside of a text does no harm.
_LONG_NUMBER: Final = re.compile(rb"[:\[,][ \t\r\n]*-?[0-9]{16}")


def parse_entry(body: bytes) -> Entry:
    """An entry from its bytes, held to every rule of the format but the canonical form.

    Raises:
        LedgerEntryError: the bytes are no entry of this version.
    """
    if len(body) > BODY_BYTES_MAX:
        raise LedgerEntryError(f"not an entry: {len(body)} bytes")
    try:
        value = _DECODER.decode(body.decode("utf-8"))
        # Most entries are plain by their bytes alone; only what may break a rule is walked through.
        if not body.isascii() or _LONG_NUMBER.search(body):
            _check(value, "entry")
        one_spelling = canonical(value) == body
    except (ValueError, RecursionError) as error:
        raise LedgerEntryError(f"not an entry: {error!r}") from error
    _expect(isinstance(value, dict) and value.keys() == _KEYS, "fields")
    _expect(type(value["v"]) is int and value["v"] == VERSION, "version")
    actor, subject, data = value["actor"], value["subj"], value["data"]
    _expect(isinstance(actor, dict) and actor.keys() == {"kind", "id"}, "actor")
    _expect(isinstance(subject, dict) and subject.keys() == {"id", "n", "prev"}, "subj")
    _expect(isinstance(data, dict), "data")
    texts = (value["log"], value["boot"], actor["kind"], actor["id"], subject["id"])
    _expect(all(isinstance(text, str) for text in texts), "text")
    counts = (value["seq"], value["mono"], subject["n"])
    _expect(all(_is_count(count) for count in counts), "count")
    _expect(subject["prev"] is None or _is_count(subject["prev"]), "subj.prev")
    _expect(_matches(_HASH, value["prev"]), "prev")
    _expect(_matches(_TIME, value["t"]) and _is_time(value["t"]), "t")
    _expect(_matches(_ORIGIN, value["log"]), "log")
    _expect(actor["kind"] in _ACTORS, "actor")
    _expect(_matches(_TYPE, value["type"]), "type")
    sealed = data.get("sealed", {})
    _expect(
        isinstance(sealed, dict) and all(_matches(_HASH, one) for one in sealed.values()), "sealed"
    )
    return Entry(
        position=Position(
            log=value["log"],
            seq=value["seq"],
            prev=bytes.fromhex(value["prev"]),
            subject=subject["id"],
            ordinal=subject["n"],
            subject_prev=subject["prev"],
        ),
        moment=Moment(value["t"], value["boot"], value["mono"]),
        type=value["type"],
        actor=Actor(actor["kind"], actor["id"]),
        data=data,
        canonical=one_spelling,
    )


def _expect(holds: bool, what: str) -> None:  # noqa: FBT001 - the one thing that is asked
    if not holds:
        raise LedgerEntryError(f"not an entry: its {what} is not as the format has it")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_time(text: str) -> bool:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None
