"""Comparing configurations: what a reload changes, and what the ledger records of it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

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


def flatten(config: Config) -> dict[str, Any]:
    """Every value by its dotted key; stores and profiles by name. It holds no secret.

    Args:
        config: a configuration, which names credentials and never holds them.

    Returns:
        Values that JSON takes as they are.
    """
    flat: dict[str, Any] = {}
    dumped = config.model_dump(mode="json", exclude={"path", "stores"})
    profiles = dumped["cameras"].pop("profile")
    _collect("", dumped, flat)
    for profile in profiles:
        _collect(f"cameras.profile.{profile['name']}.", profile, flat)
    for store in config.stores:
        _collect(f"stores.{store.name}.", store.model_dump(mode="json"), flat)
    return flat


def _collect(prefix: str, value: dict[str, Any], into: dict[str, Any]) -> None:
    for key, inner in value.items():
        if isinstance(inner, dict):
            _collect(f"{prefix}{key}.", inner, into)
        else:
            into[f"{prefix}{key}"] = inner


def digest(config: Config) -> str:
    """SHA-256 over every value, hex: equal configurations, however written, give equal digests."""
    text = json.dumps(flatten(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def changed_keys(old: Config, new: Config) -> tuple[str, ...]:
    """The dotted keys whose values differ, sorted."""
    before, after = flatten(old), flatten(new)
    missing = object()
    keys = before.keys() | after.keys()
    return tuple(sorted(k for k in keys if before.get(k, missing) != after.get(k, missing)))


def needs_restart(keys: Iterable[str]) -> tuple[str, ...]:
    """Those of the changed keys that a reload cannot bring into effect, sorted."""
    return tuple(sorted(key for key in set(keys) - RELOADABLE if not _is_a_lines(key)))


def _is_a_lines(key: str) -> bool:
    table, _, rest = key.partition(".")
    return table == "stores" and rest.partition(".")[2] in _RELOADABLE_OF_STORES
