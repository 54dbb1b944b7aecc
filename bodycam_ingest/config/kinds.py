"""Kinds of values that several sections share, with the checks that make them what they say."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
)

from bodycam_ingest.model.backoff import UploadWindow


class Section(BaseModel):
    """A table of the file: unknown keys refused, nothing guessed from other types, frozen."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True
    )


@dataclass(frozen=True, slots=True)
class Reloadable:
    """Marks a field that a reload brings into effect; a change of any other waits for a restart."""


def _path_from_text(value: Any) -> Any:
    if isinstance(value, str):
        if not value:
            raise ValueError("is empty")
        if not value.isprintable():
            raise ValueError("holds control characters")
        return Path(value)
    return value


def _absolute(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base", Path("/"))
    return Path(os.path.normpath(base / path.expanduser()))


def listed(value: Any) -> Any:
    """TOML gives lists; sections keep tuples, which nobody can change afterwards."""
    return tuple(value) if isinstance(value, list) else value


Listed: Final = BeforeValidator(listed)

ConfigPath = Annotated[Path, AfterValidator(_absolute), BeforeValidator(_path_from_text)]
"""A path; relative ones start at the configuration file's directory (context `base`)."""

Seconds = Annotated[float, Field(ge=0, le=31 * 86400, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, le=31 * 86400, allow_inf_nan=False)]

_WINDOW: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")


def _window(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _WINDOW.fullmatch(value)
    if not found:
        raise ValueError("is no time window")
    hours_a, minutes_a, hours_b, minutes_b = (int(part) for part in found.groups())
    window = UploadWindow(hours_a * 60 + minutes_a, hours_b * 60 + minutes_b)
    if window.start_minute == window.end_minute:
        raise ValueError("is empty: it ends when it starts")
    return window


Window = Annotated[UploadWindow, BeforeValidator(_window)]
"""A time of day, written as `"22:00-06:00"`."""
