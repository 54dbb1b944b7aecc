"""From the file's bytes to tables: whatever lies there, one fault that says what to do."""

from __future__ import annotations

import codecs
import os
import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

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
