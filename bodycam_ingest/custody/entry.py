"""Ledger entries: canonical bytes that are the record (pure; docs/ledger-format.md).

Verification hashes the stored bytes and never serialises again.
"""

from __future__ import annotations

import datetime as dt
import functools
import operator
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from bodycam_ingest.errors import LedgerEntryError

VERSION: Final = 2
BODY_BYTES_MAX: Final = 65_535
_INTEGER_MAX: Final = 2**53 - 1
_TYPE: Final = re.compile(r"[a-z]+(\.[a-z_]+)+")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_FIGURE: Final = re.compile(r"-?[1-9][0-9]{15,39}", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_ORIGIN: Final = re.compile(r"[^\s+]+")
# Values that no rule but the size of integers is about, which the encoder holds.
_PLAIN: Final = frozenset({str, int, bool, type(None)})
_ACTOR_KEYS: Final = frozenset({"kind", "id"})
_SUBJECT_KEYS: Final = frozenset({"id", "n", "prev"})
_NAMES: Final = (
    *("actor", "boot", "data", "log", "mono", "prev"),
    *("seq", "subj", "t", "type", "v"),
)
_KEYS: Final = frozenset(_NAMES)
_FIELDS: Final = operator.itemgetter(*_NAMES)


class Actor(NamedTuple):
    """Who did it; `kind` is `system` for the daemon itself, `user` for a person."""

    kind: str
    id: str


SYSTEM: Final = Actor("system", "bodycam-ingest")


class Position(NamedTuple):
    """Where an entry stands.

    Args:
        log: the log's origin.
        seq: its number, from 0.
        prev: leaf hash of the entry before, 32 zero bytes for the first.
        ordinal: its number within the subject, from 0.
        subject_prev: number of the subject's entry before, None for its first.
    """

    log: str
    seq: int
    prev: bytes
    subject: str
    ordinal: int
    subject_prev: int | None


class Moment(NamedTuple):
    """When an entry was made.

    Args:
        t: time of day, RFC 3339 with milliseconds, UTC.
        boot: the kernel's id of this boot.
        mono: CLOCK_BOOTTIME, ms.
    """

    t: str
    boot: str
    mono: int


class Entry(NamedTuple):
    """A parsed entry; `canonical`: its bytes were RFC 8785 JSON, the one spelling that it has."""

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
    """A count, such as a length that a camera claims: from 2^53 on it stands as decimal text."""
    return value if abs(value) <= _INTEGER_MAX else str(value)


def read_figure(value: object) -> object:
    """What `figure` was given; anything else as it is."""
    if isinstance(value, str) and _FIGURE.fullmatch(value):
        return int(value)
    return value


# Integers beyond 2^53 are refused, keys sorted by their bytes: what RFC 8785 asks of such values.
_CANONICAL: Final = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER


def canonical(value: Mapping[str, Any]) -> bytes:
    """RFC 8785 JSON of what follows the rules for values: no floats, small integers, ASCII keys.

    Under those rules it is JSON with sorted keys and no blanks; a property test holds it equal to
    a library that knows all rules.
    """
    return orjson.dumps(value, option=_CANONICAL)


def build_entry(
    position: Position, moment: Moment, kind: str, actor: Actor, data: Mapping[str, Any]
) -> bytes:
    """An entry's bytes, RFC 8785 JSON; `data` is as `admit` gave it.

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


def parse_entry(body: bytes) -> Entry:
    """An entry from its bytes, held to every rule of the format but the canonical form.

    Raises:
        LedgerEntryError: the bytes are no entry of this version.
    """
    value, one_spelling = read_value(body)
    about, actor = value["subj"], value["actor"]
    prev = bytes.fromhex(value["prev"])
    return Entry(
        Position(value["log"], value["seq"], prev, about["id"], about["n"], about["prev"]),
        Moment(value["t"], value["boot"], value["mono"]),
        value["type"],
        Actor(actor["kind"], actor["id"]),
        value["data"],
        one_spelling,
    )


def read_value(body: bytes, *, follows: str = "") -> tuple[dict[str, Any], bool]:
    """The JSON object that an entry's bytes are, held to the same rules as by `parse_entry`.

    Whoever reads a whole log takes this: making an `Entry` costs as much as reading it.

    `follows` is the leaf hash of the entry before, hex, where it is known: spares a comparison.

    Returns:
        The object, and whether its bytes were RFC 8785 JSON.

    Raises:
        LedgerEntryError: the bytes are no entry of this version.
    """
    if len(body) > BODY_BYTES_MAX:
        raise LedgerEntryError(f"not an entry: {len(body)} bytes")
    try:
        value = orjson.loads(body)
        if not (isinstance(value, dict) and value.keys() == _KEYS):
            raise _broken("fields")
        data = value["data"]
        if not isinstance(data, dict):
            raise _broken("data")
        # Most data is plain at first sight; only what may break a rule is walked through.
        if not (body.isascii() and _PLAIN.issuperset(map(type, data.values()))):
            _check(data, "data")
        one_spelling = orjson.dumps(value, option=_CANONICAL) == body
    except orjson.JSONEncodeError as error:
        # Integers that are too large are told by their place, where they are data.
        _check(value["data"], "data")
        raise LedgerEntryError(f"not an entry: {error!r}") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise LedgerEntryError(f"not an entry: {error!r}") from error
    if wrong := _wrong_field(value, follows):
        raise _broken(wrong)
    return value, one_spelling


def _wrong_field(value: dict[str, Any], follows: str) -> str:  # noqa: C901, PLR0911 - a rule a line
    """The first of the fields that breaks its rule, empty where none does."""
    actor, boot, data, log, mono, prev, seq, about, t, kind, version = _FIELDS(value)
    if not (isinstance(actor, dict) and actor.keys() == _ACTOR_KEYS):
        return "actor"
    if not (isinstance(about, dict) and about.keys() == _SUBJECT_KEYS):
        return "subj"
    if not (type(version) is int and version == VERSION):
        return "version"
    subject, before, ordinal = about["id"], about["prev"], about["n"]
    if not (type(boot) is type(actor["id"]) is type(subject) is str):
        return "text"
    # None is too large: else it could not have been written again, which came before.
    if not (type(seq) is type(mono) is type(ordinal) is int and seq >= 0 <= mono and ordinal >= 0):
        return "count"
    if not (before is None or (type(before) is int and before >= 0)):
        return "subj.prev"
    if not (prev == follows or _is_hash(prev)):
        return "prev"
    if not (type(t) is str and _is_time(t)):
        return "t"
    if not (type(log) is str and _is_origin(log)):
        return "log"
    if actor["kind"] not in {"system", "user"}:
        return "actor"
    if not (type(kind) is str and _is_type(kind)):
        return "type"
    if "sealed" in data and not _is_sealed(data["sealed"]):
        return "sealed"
    return ""


def _broken(what: str) -> LedgerEntryError:
    return LedgerEntryError(f"not an entry: its {what} is not as the format has it")


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None


def _is_sealed(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_hash, value.values()))


@functools.lru_cache(maxsize=64)
def _is_time(text: str) -> bool:
    try:
        dt.datetime.fromisoformat(text)
    except ValueError:
        return False
    return _TIME.fullmatch(text) is not None


@functools.lru_cache(maxsize=256)
def _is_origin(text: str) -> bool:
    return _ORIGIN.fullmatch(text) is not None


@functools.lru_cache(maxsize=256)
def _is_type(text: str) -> bool:
    return _TYPE.fullmatch(text) is not None
