"""Comparing configurations: what a reload changes, and what the ledger records of it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bodycam_ingest.config.models import Config

RELOADABLE: Final = frozenset(
    {
        "cameras.rescan_s",
        "cameras.settle_s",
        "log.level",
        "staging.keep_days",
        "staging.min_free_bytes",
        "upload.backoff_initial_s",
        "upload.backoff_max_s",
        "upload.bandwidth_limit_bytes_per_s",
        "upload.windows",
    }
)
"""Keys that take effect on SIGHUP; every other change waits for a restart."""
_RELOADABLE_OF_STORES: Final = ("bandwidth_limit_bytes_per_s", "windows")
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


def needs_restart(keys: Iterable[str]) -> tuple[str, ...]:
    """Those of the changed keys that a reload cannot bring into effect, sorted."""
    return tuple(sorted(key for key in set(keys) - RELOADABLE if not _is_a_lines(key)))


def _is_a_lines(key: str) -> bool:
    table, _, rest = key.partition(".")
    return table == "stores" and rest.partition(".")[2] in _RELOADABLE_OF_STORES
