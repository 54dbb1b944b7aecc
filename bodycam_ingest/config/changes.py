"""Comparing configurations: what a reload changes, and what the ledger records of it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bodycam_ingest.config.kinds import Reloadable, Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bodycam_ingest.config.models import Config

_Table = TypeVar("_Table", bound=Section)

# Characters; an entry has room for 65,535 bytes, and quotes are escaped in it.
_VALUE_MAX: Final = 8_000
_PORTION_MAX: Final = 24_000


def settings(config: Config) -> dict[str, str]:
    """Every value as JSON text by its dotted key; stores and profiles by name.

    It holds no secret: a configuration names credentials and never holds them. A value that is too
    long for an entry stands by its digest.
    """
    flat: dict[str, Any] = {}
    dumped = config.model_dump(mode="json", exclude={"path", "stores"})
    profiles = dumped["cameras"].pop("profile")
    _collect("", dumped, flat)
    for profile in profiles:
        # Their tables are values: what a camera calls its properties is no key of ours.
        flat |= {f"cameras.profile.{profile['name']}.{key}": profile[key] for key in profile}
    for store in config.stores:
        _collect(f"stores.{store.name}.", store.model_dump(mode="json"), flat)
    return {key: _text(value) for key, value in flat.items()}


def _collect(prefix: str, value: dict[str, Any], into: dict[str, Any]) -> None:
    for key, inner in value.items():
        if isinstance(inner, dict):
            _collect(f"{prefix}{key}.", inner, into)
        else:
            into[f"{prefix}{key}"] = inner


def _text(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    if len(text) <= _VALUE_MAX:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def digest(values: Mapping[str, str]) -> str:
    """SHA-256 over settings, hex: equal configurations, however written, give equal digests."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str | None]:
    """The settings that differ, as they are after; None where one was taken out."""
    keys = sorted(before.keys() | after.keys())
    return {key: after.get(key) for key in keys if before.get(key) != after.get(key)}


def portions(changed: Mapping[str, str | None]) -> Iterator[dict[str, str | None]]:
    """Changes in parts that an entry has room for each."""
    part: dict[str, str | None] = {}
    length = 0
    for key, value in changed.items():
        size = len(key) + len(value or "")
        if length + size > _PORTION_MAX:
            yield part
            part, length = {}, 0
        part[key] = value
        length += size
    if part:
        yield part


def in_force(now: Config, fresh: Config) -> Config:
    """The configuration after a reload: what is reloadable from the fresh one, else as now."""
    stores = {store.name: store for store in fresh.stores}
    merged = tuple(_merged(store, stores.get(store.name, store)) for store in now.stores)
    return _merged(now, fresh).model_copy(update={"stores": merged})


def _merged(now: _Table, fresh: Section) -> _Table:
    if type(now) is not type(fresh):
        return now
    update = {}
    for name, field in type(now).model_fields.items():
        before, after = getattr(now, name), getattr(fresh, name)
        if any(isinstance(mark, Reloadable) for mark in field.metadata):
            update[name] = after
        elif isinstance(before, Section):
            update[name] = _merged(before, after)
    return now.model_copy(update=update)


class CurrentConfig:
    """The configuration in force: one value that never changes, swapped whole by a reload."""

    def __init__(self, config: Config) -> None:
        self.now = config

    def reload(self, fresh: Config) -> None:
        """Bring into force what can be; threads see all of it at their next look at `now`."""
        self.now = in_force(self.now, fresh)

    def waiting(self, fresh: Config) -> frozenset[str]:
        """Keys of what the next start will bring into force."""
        return frozenset(changes(settings(in_force(self.now, fresh)), settings(fresh)))
