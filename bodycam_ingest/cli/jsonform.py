"""The form of everything that `--json` prints (docs/json.md is the promise that it keeps).

Commands hand over values as the program holds them; what others rely on is made here, in one
place: the schema number, times as text, numbers that any reader can hold, one word for "nothing".
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from bodycam_ingest.linux import clock
from bodycam_ingest.model.evidence import encode_path

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = 1
# Beyond it a reader that holds numbers as doubles (jq, JavaScript) rounds silently.
NUMBER_MAX: Final = 2**53
# The end of the calendar: a time beyond it was written by hand.
_TIME_MAX_MS: Final = 253_402_300_799_000


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A value that goes out as it is, because its form belongs to another contract."""

    value: Any


def document(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object of a command's answer in its public form: what `json` can write."""
    return {"schema": SCHEMA, **_public(value)}


def text(value: Mapping[str, Any]) -> str:
    """An object of a command's answer as it is printed, in lines."""
    told = document(value)
    # ASCII alone: no name from a camera reaches a terminal as a control sequence. `json` sees to
    # that, at ten times the cost where lines are wanted.
    with contextlib.suppress(orjson.JSONEncodeError):
        quick = orjson.dumps(told, option=orjson.OPT_INDENT_2)
        if quick.isascii():
            return quick.decode()
    return json.dumps(told, indent=2)


def _public(value: Any, key: str = "") -> Any:
    if isinstance(value, (bytes, Path)):
        value = encode_path(value) if isinstance(value, bytes) else str(value)
    if isinstance(value, str):
        return value or None
    if isinstance(value, Verbatim):
        return value.value
    if isinstance(value, dict):
        return dict([_pair(str(name), inner) for name, inner in value.items()])
    if isinstance(value, (list, tuple)):
        return [_public(each, key) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        # By its name, not only by its figure: a key has one type.
        return str(value) if key.endswith("_ns") or abs(value) > NUMBER_MAX else value
    return value


def _pair(name: str, value: Any) -> tuple[str, Any]:
    """One member; what the program counts in ms since 1970 (0: no such time) becomes text."""
    if not name.endswith("_ms") or isinstance(value, (dict, list)):
        return name, _public(value, name)
    told = clock.ms_text(min(value, _TIME_MAX_MS)) if value and value > 0 else None
    return f"{name.removesuffix('_ms')}_at", told
