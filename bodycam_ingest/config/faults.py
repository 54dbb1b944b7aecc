"""Faults of a configuration as data: the key, its value as far as it may be shown, a way out."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Union, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import BaseModel, ValidationError

_SECRET_KEY: Final = re.compile(
    r"secret|passw|token|credential|private|access_?key|api_?key", re.IGNORECASE
)
_URL_USERINFO: Final = re.compile(r"(?<=//)[^/@\s]*@")
_SHOWN_CHARACTERS: Final = 80
_MASK: Final = "********"
_NO_VALUE: Final = object()

_PROBLEMS: Final[Mapping[str, str]] = {
    "extra_forbidden": "unknown key",
    "missing": "missing",
    "union_tag_not_found": "has no type",
    "union_tag_invalid": "is of an unknown type",
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "string_type": "must be text in quotes",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "string_pattern_mismatch": "is not of the right form",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a configuration.

    Args:
        key: dotted key path; a store or profile stands by its name, else by `#` and its number.
        problem: what is wrong, in words that follow the key.
        value: the value as far as it may be shown; empty where there is none.
        hint: what would be right.
    """

    key: str
    problem: str
    value: str = ""
    hint: str = ""

    def __str__(self) -> str:
        shown = f" = {self.value}" if self.value else ""
        hint = f"\n      hint: {self.hint}" if self.hint else ""
        return f"  {self.key}{shown}: {self.problem}{hint}"


def shown_value(key: str, value: Any) -> str:
    """A value for people: secrets masked, long ones cut, control characters escaped.

    The last part of the dotted `key` tells a secret.
    """
    if _SECRET_KEY.search(key.rsplit(".", 1)[-1]):
        return _MASK
    if isinstance(value, dict):
        inner = (f"{name} = {shown_value(f'{key}.{name}', item)}" for name, item in value.items())
        text = "{" + ", ".join(inner) + "}"
    elif isinstance(value, (list, tuple)):
        text = "[" + ", ".join(shown_value(key, item) for item in value) + "]"
    else:
        text = json.dumps(value, default=str)
    text = _URL_USERINFO.sub(f"{_MASK}@", text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def unknown_key(key: str, value: Any, known: Iterable[str]) -> Fault:
    """The fault of a key that is none of those known to its table."""
    parent, _, name = key.rpartition(".")
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        hint = f"did you mean {close[0]}?"
    elif _SECRET_KEY.search(name):
        hint = "secrets do not stand in this file: name a profile, a file or variables instead"
    else:
        hint = f"[{parent or 'top level'}] has: {', '.join(names)}"
    return Fault(key, "unknown key", shown_value(key, value), hint)


def faults_of(error: ValidationError, model: type[BaseModel], prefix: str, raw: Any) -> list[Fault]:
    """What pydantic found in one table, of that dotted key path, as faults.

    Hints are the descriptions of the model's fields; values are shown as TOML gave them in `raw`.
    """
    found = []
    for detail in error.errors(include_url=False, include_input=False):
        path, owner = _walk(model, detail["loc"])
        key = prefix
        for part in path:
            key += f".#{part + 1}" if isinstance(part, int) else f".{part}"
        value = _value_at(raw, path)
        if detail["type"] == "extra_forbidden":
            found.append(unknown_key(key, value, owner.model_fields))
            continue
        problem = _PROBLEMS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
        problem = problem[:1].lower() + problem[1:]
        shown = "" if value is _NO_VALUE else shown_value(key, value)
        found.append(Fault(key, problem, shown, _hint(owner, path)))
    return found


def _walk(model: type[BaseModel], location: Sequence[Any]) -> tuple[list[Any], type[BaseModel]]:
    """A location as pydantic tells it, without the tags of unions, and the table it ends in."""
    path: list[Any] = []
    owner = model
    current: Any = model
    for part in location:
        if hasattr(current, "model_fields"):
            owner = current
            field = owner.model_fields.get(part)
            current = field.annotation if field else None
        elif get_origin(current) is tuple:
            current = get_args(current)[0]
        elif get_origin(current) in {Union, UnionType}:
            current = next((m for m in get_args(current) if _has_tag(m, part)), None)
            continue
        else:
            current = None
        path.append(part)
    return path, owner


def _has_tag(model: type[BaseModel], tag: str) -> bool:
    return any(get_args(field.annotation) == (tag,) for field in model.model_fields.values())


def _value_at(raw: Any, path: Sequence[Any]) -> Any:
    value = raw
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return _NO_VALUE
    return value


def _hint(owner: type[BaseModel], path: Sequence[Any]) -> str:
    for part in reversed(path):
        if isinstance(part, str) and part in owner.model_fields:
            return owner.model_fields[part].description or ""
    return ""
