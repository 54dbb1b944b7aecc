"""From the file's bytes to a `Config`: what cannot be read is one fault, the rest is collected."""

from __future__ import annotations

import codecs
import itertools
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import ValidationError

from bodycam_ingest.config.faults import Fault, faults_of, shown_value, unknown_key
from bodycam_ingest.config.kinds import Section
from bodycam_ingest.config.models import Config
from bodycam_ingest.config.stores import DirectoryStoreConfig, S3StoreConfig, StoreConfig
from bodycam_ingest.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bodycam_ingest.config.models import Cameras, Dock, Staging

_SECTIONS: Final[Mapping[str, type[Section]]] = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
_STORE_TYPES: Final[Mapping[str, type[StoreConfig]]] = {
    "directory": DirectoryStoreConfig,
    "s3": S3StoreConfig,
}
_STORES_HINT: Final = "at least one [[stores]] table with required = true"
_S = TypeVar("_S", bound=Section)

_FILE_BYTES_MAX: Final = 1024 * 1024
# tomllib recurses for each level, and its work grows with the square of a key's parts.
_DEPTH_MAX: Final = 32
_KEY_PARTS_MAX: Final = 32
# What stands in a string or a comment is no structure. A string without an end runs to where
# tomllib gives it up, so that each character is looked at once.
_TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?(?:"""|\Z)'
    r"|'''.*?(?:'''|\Z)"
    r'|"(?:[^"\\\n]|\\[^\n])*"?'
    r"|'[^'\n]*'?"
    r"|#[^\n]*"
    r"|[\[\]{}.=,\n]",
    re.DOTALL,
)
_WHERE: Final = re.compile(r"\(at line (\d+), column (\d+)\)")
_NAME_IT: Final = (
    "Name the file with --config or BODYCAM_INGEST_CONFIG; `bodycam-ingest example-config` prints "
    "one to begin with."
)


def load(path: Path) -> Config:
    """Read a configuration from a TOML file; relative paths in it start at its directory.

    Raises:
        ConfigError: it cannot be read or has faults; the message lists all of them.
    """
    config, faults = examine(path)
    if config is None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise ConfigError("\n".join([f"{path} has {count}:", *map(str, faults)]))
    return config


def examine(path: Path) -> tuple[Config | None, list[Fault]]:
    """The configuration and no fault, or None and every fault.

    Raises:
        ConfigError: it cannot be read, or is no TOML.
    """
    tables = read_tables(path)
    context = {"base": path.absolute().parent}
    known = {*_SECTIONS, "stores"}
    faults = [unknown_key(key, tables[key], known) for key in tables if key not in known]
    sections: dict[str, Any] = {}
    for name, model in _SECTIONS.items():
        sections[name] = _section(model, tables.get(name, {}), name, context, faults)
    stores = _stores(tables.get("stores", []), context, faults)
    faults += _doubled(stores, sections["cameras"])
    faults += _nested(sections["dock"], sections["staging"], sections["cameras"], stores)
    if faults:
        return None, faults
    return Config(path=path.absolute(), stores=tuple(stores), **sections), []


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: it cannot be read, is no text, no TOML, or nothing that an admin would write.
    """
    text = _text(path, _bytes(path))
    _check_structure(path, text)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = _WHERE.search(str(error))
        hint = f"Fix line {where[1]} of {path}" if where else "Fix the end of the file"
        raise ConfigError(
            f"{path} is no TOML: {error}",
            hint=f"{hint}, then run check-config. config.example.toml shows every key.",
        ) from error


def _open_at_once(path: str, flags: int) -> int:
    # Not waiting for the other end of a pipe.
    return os.open(path, flags | os.O_NONBLOCK)


def _bytes(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path} is no regular file", hint=_NAME_IT)
            data = file.read(_FILE_BYTES_MAX + 1)
    except PermissionError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}",
            hint="Run this as the daemon's user or as root, or let that user read it: "
            f"`ls -l {path}` says who may, the directories above count as well.",
        ) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path} is a directory", hint=_NAME_IT) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint=_NAME_IT) from error
    except ValueError as error:
        raise ConfigError(f"{path!s:.200} is no path: {error}", hint=_NAME_IT) from error
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigError(
            f"{path} is larger than {_FILE_BYTES_MAX} bytes: no configuration", hint=_NAME_IT
        )
    return data


def _text(path: Path, data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:4]:
        raise ConfigError(
            f"{path} is UTF-16 text", hint="Save it as UTF-8, as every editor can (iconv -t UTF-8)."
        )
    try:
        # Some editors begin UTF-8 with a mark of their own.
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path} is no UTF-8 text: line {line} has the byte 0x{data[error.start]:02x}",
            hint=f"Write line {line} again, or save the whole file as UTF-8.",
        ) from error


def _check_structure(path: Path, text: str) -> None:
    depth = parts = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                depth, parts = depth + 1, 0
            case "]" | "}":
                depth, parts = max(0, depth - 1), 0
            case ".":
                parts += 1
            case "\n" | "=" | ",":
                parts = 0
        if depth > _DEPTH_MAX or parts > _KEY_PARTS_MAX:
            line = text.count("\n", 0, token.start()) + 1
            what = "brackets in brackets" if depth > _DEPTH_MAX else "parts of a key"
            raise ConfigError(
                f"{path} is no configuration: more than {_DEPTH_MAX} {what} in line {line}",
                hint=_NAME_IT,
            )


def _section(
    model: type[_S], raw: Any, key: str, context: dict[str, Any], faults: list[Fault]
) -> _S | None:
    if not isinstance(raw, dict):
        faults.append(Fault(key, "must be a table", shown_value(key, raw), f"write [{key}]"))
        return None
    try:
        return model.model_validate(raw, context=context)
    except ValidationError as error:
        faults += faults_of(error, model, key, raw)
        return None


def _stores(raw: Any, context: dict[str, Any], faults: list[Fault]) -> list[StoreConfig]:
    if not isinstance(raw, list):
        faults.append(Fault("stores", "must be a list of tables", "", "write [[stores]]"))
        return []
    stores: list[StoreConfig] = []
    for number, table in enumerate(raw, start=1):
        name = table.get("name") if isinstance(table, dict) else None
        key = f"stores.{name}" if isinstance(name, str) and name else f"stores.#{number}"
        kind = table.get("type") if isinstance(table, dict) else None
        model = _STORE_TYPES.get(kind) if isinstance(kind, str) else None
        if model is None:
            problem = "is of an unknown type" if kind is not None else "missing"
            shown = shown_value("type", kind) if kind is not None else ""
            faults.append(Fault(f"{key}.type", problem, shown, '"directory" or "s3"'))
            continue
        store = _section(model, table, key, context, faults)
        if store is not None:
            stores.append(store)
    if len(stores) == len(raw) and not any(store.required for store in stores):
        faults.append(Fault("stores", "no store is required", "", _STORES_HINT))
    return stores


def _doubled(stores: Iterable[StoreConfig], cameras: Cameras | None) -> list[Fault]:
    names = [store.name for store in stores]
    profiles = [profile.name for profile in cameras.profile] if cameras else []
    faults = [
        Fault(f"{table}.{name}.name", "stands twice", "", "every name once")
        for table, given in (("stores", names), ("cameras.profile", profiles))
        for name in sorted({name for name in given if given.count(name) > 1})
    ]
    places = [
        (
            store.name,
            (store.endpoint_url.lower().removesuffix(":443"), store.bucket, store.prefix),
        )
        for store in stores
        if isinstance(store, S3StoreConfig)
    ]
    for (first, one), (second, other) in itertools.combinations(places, 2):
        if one == other and first != second:
            faults.append(
                Fault(
                    f"stores.{second}.bucket",
                    f"is the same place as stores.{first}",
                    "",
                    "one copy must not count as two: another bucket or prefix",
                )
            )
    return faults


def _nested(
    dock: Dock | None,
    staging: Staging | None,
    cameras: Cameras | None,
    stores: Iterable[StoreConfig],
) -> list[Fault]:
    """No directory of ours may lie in another: a purge, a scan or a full disk would cross over."""
    places: list[tuple[str, Path]] = []
    if dock:
        places.append(("dock.state_dir", dock.state_dir))
    if staging:
        places.append(("staging.dir", staging.dir))
    places += [
        (f"stores.{store.name}.path", store.path)
        for store in stores
        if isinstance(store, DirectoryStoreConfig)
    ]
    if cameras:
        places += [("cameras.mount_roots", root) for root in cameras.mount_roots]
    faults = []
    for (first, one), (second, other) in itertools.combinations(places, 2):
        inner, outer = Path(os.path.realpath(other)), Path(os.path.realpath(one))
        if inner == outer or _is_one(inner, outer):
            problem = f"is the same directory as {first}"
        elif inner.is_relative_to(outer):
            problem = f"lies inside {first}"
        elif outer.is_relative_to(inner):
            problem = f"holds {first}"
        else:
            continue
        faults.append(Fault(second, problem, f'"{other}"', f"keep it apart from {first} ({one})"))
    return faults


def _is_one(one: Path, other: Path) -> bool:
    """Whether two paths lead to one directory, as those of a bind mount do."""
    try:
        return os.path.samestat(one.stat(), other.stat())
    except OSError:
        # What is not there yet is judged when it is.
        return False
