"""Kinds of values that several sections share, with the checks that make them what they say."""

from __future__ import annotations

import os
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


class Section(BaseModel):
    """A table of the file: unknown keys refused, nothing guessed from other types, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


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
