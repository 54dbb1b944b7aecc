"""The tables of the configuration file; a field's description is the hint for a wrong value."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

from bodycam_ingest.config.kinds import (
    ConfigPath,
    Listed,
    PositiveSeconds,
    Reloadable,
    Seconds,
    Section,
    Window,
)
from bodycam_ingest.config.stores import S3StoreConfig, StoreConfig
from bodycam_ingest.model.backoff import StoreLimits
from bodycam_ingest.model.evidence import PART_SIZE_BYTES_DEFAULT

if TYPE_CHECKING:
    import regex

_MIB: Final = 1024 * 1024
_DOMAIN: Final = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}")


def _domain(value: str) -> str:
    if not _DOMAIN.fullmatch(value):
        raise ValueError("is no domain name")
    return value


class Dock(Section):
    """Which dock this is, and where it keeps its state."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")] = Field(
        description="name of this dock, never changed: 1 to 63 letters, digits, '.', '_' or '-'"
    )
    agency: Annotated[str, AfterValidator(_domain)] = Field(
        description="the agency's domain name in lower case, such as police.example.org"
    )
    state_dir: ConfigPath = Field(
        default=Path("/var/lib/bodycam-ingest/state"),
        description="a directory of the daemon's own, made by `bodycam-ingest init`",
    )


class CameraLimits(Section):
    """Limits that real cards never reach; passing one is an alarm, not a crash."""

    max_files: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=200_000, description="directory entries on one volume, at least 1"
    )
    max_path_bytes: Annotated[int, Field(ge=16, le=4096)] = Field(
        default=1024, description="length of a path on a camera, 16 to 4096 bytes"
    )
    max_depth: Annotated[int, Field(ge=1, le=128)] = Field(
        default=24, description="directories inside directories, 1 to 128"
    )


_GROUPS: Final = frozenset({"officer", "recorded_at", "date", "time", "number"})


def _compiled(value: str) -> regex.Pattern[str]:
    import regex  # noqa: PLC0415 - few configurations have one, and every command reads its own

    try:
        return regex.compile(value)
    except regex.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


def _path_pattern(value: str) -> str:
    strange = sorted(_compiled(value).groupindex.keys() - _GROUPS)
    if strange:
        raise ValueError(f"has a group of no meaning: {', '.join(strange)}")
    return value


def _serial_pattern(value: str) -> str:
    if value and "serial" not in _compiled(value).groupindex:
        raise ValueError("has no group named serial")
    return value


def _shell_pattern(value: str) -> str:
    for bracket in re.findall(r"\[[^\]]*\]", value):
        try:
            re.compile(bracket)
        except re.error as error:
            raise ValueError(f"is no shell pattern: {error}") from None
    return value


PathPattern = Annotated[str, AfterValidator(_path_pattern)]
SerialPattern = Annotated[str, AfterValidator(_serial_pattern)]
ShellPattern = Annotated[str, AfterValidator(_shell_pattern)]


class CameraProfile(Section):
    """What is known about one model of camera."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$")] = Field(
        description="a name for this kind of camera, once in the file"
    )
    match: dict[str, str] = Field(
        default_factory=dict,
        description="device properties and the shell pattern that each must match",
    )
    include: Annotated[tuple[ShellPattern, ...], Listed] = Field(
        default=("**",), description="shell patterns of the paths to take; ** crosses directories"
    )
    exclude: Annotated[tuple[ShellPattern, ...], Listed] = Field(
        default=(), description="shell patterns of the paths to leave; they are listed all the same"
    )
    patterns: Annotated[tuple[PathPattern, ...], Listed] = Field(
        default=(),
        description="regular expressions on the path with the groups serial, officer, recorded_at "
        "(or date and time), number; the first that matches tells",
    )
    recorded_at_format: str = Field(
        default="%Y%m%d_%H%M%S",
        description='how recorded_at, or "date time", is written, as strptime has it',
    )
    serial_file: str = Field(
        default="", description="path on the camera of a small file that holds its serial number"
    )
    serial_pattern: SerialPattern = Field(
        default="",
        description="regular expression with the group serial, on the text of serial_file",
        validate_default=True,
    )

    @field_validator("serial_pattern")
    @classmethod
    def _with_its_file(cls, value: str, info: ValidationInfo) -> str:
        if bool(value) is not bool(info.data.get("serial_file", value)):
            raise ValueError("and serial_file need each other")
        return value


class Cameras(Section):
    """Where cameras appear, and when a file of theirs is taken."""

    source: Literal["folder", "usb"] = Field(
        default="folder",
        description='"folder": each directory directly below a mount root is a camera; '
        '"usb": each USB device whose volumes are mounted directly below a mount root is one',
    )
    mount_roots: Annotated[tuple[ConfigPath, ...], Listed, Field(min_length=1)] = Field(
        description="directories in which cameras appear, at least one"
    )
    settle_s: Annotated[Seconds, Reloadable()] = Field(
        default=5.0,
        description="seconds that a file must have stood still, 0 or more; not waited for where "
        "the card's file system is read-only, because nobody can write to it",
    )
    rescan_s: Annotated[PositiveSeconds, Reloadable()] = Field(
        default=5.0,
        description="seconds between two looks at the mount roots, more than 0; a camera of which "
        "all is copied is listed more seldom where its listing would take 0.5 % of a core",
    )
    max_parallel: Annotated[int, Field(ge=1, le=64)] = Field(
        default=4, description="cameras that are read at the same time, 1 to 64"
    )
    only_profiled: bool = Field(
        default=False,
        description='with source = "usb": true leaves devices alone that no profile matches',
    )
    limits: CameraLimits = Field(default_factory=CameraLimits, description="a table")
    profile: Annotated[tuple[CameraProfile, ...], Listed] = Field(
        default=(), description="[[cameras.profile]] tables"
    )


class Staging(Section):
    """The dock's own copies, from which everything is uploaded."""

    dir: ConfigPath = Field(
        default=Path("/var/lib/bodycam-ingest/staging"),
        description="a directory of the daemon's own, best on a file system of its own",
    )
    min_free_bytes: Annotated[int, Field(ge=0), Reloadable()] = Field(
        default=10_000_000_000, description="bytes that are always left free, 0 or more"
    )
    keep_days: Annotated[int, Field(ge=0, le=36500), Reloadable()] = Field(
        default=30, description="days that a copy is kept after every store confirmed it"
    )


class Upload(Section):
    """How much of the dock and of its line uploads may use."""

    workers: Annotated[int, Field(ge=1, le=64)] = Field(
        default=2,
        description="uploads at the same time for each store that says nothing else, 1 to 64",
    )
    bandwidth_limit_bytes_per_s: Annotated[int, Field(ge=0), Reloadable()] = Field(
        default=0,
        description="bytes a second for all S3 stores together that set no limit of their own; "
        "0 sets no limit",
    )
    windows: Annotated[tuple[Window, ...], Listed, Reloadable()] = Field(
        default=(),
        description='local times such as "22:00-06:00" for S3 stores that set none of their own; '
        "none means always",
    )
    part_size_bytes: Annotated[int, Field(ge=5 * _MIB, le=256 * _MIB, multiple_of=_MIB)] = Field(
        default=PART_SIZE_BYTES_DEFAULT, description="whole MiB, 5242880 to 268435456"
    )
    backoff_initial_s: Annotated[PositiveSeconds, Reloadable()] = Field(
        default=1.0, description="longest first wait after a failure, seconds"
    )
    backoff_max_s: Annotated[PositiveSeconds, Reloadable()] = Field(
        default=300.0,
        description="longest wait between tries, seconds; not below backoff_initial_s",
    )

    @field_validator("backoff_max_s")
    @classmethod
    def _not_below_initial(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("backoff_initial_s", 0):
            raise ValueError("is less than upload.backoff_initial_s")
        return value


def _policy(value: Any) -> Any:
    if value == "wipe":
        raise ValueError("not built yet")
    return value


class Release(Section):
    """What happens with the camera's own files once everything is confirmed."""

    policy: Annotated[Literal["keep", "wipe"], BeforeValidator(_policy)] = Field(
        default="keep", description='"keep": the camera\'s files are never touched'
    )


class Custody(Section):
    """How often the ledger speaks for itself."""

    anchor_interval_s: PositiveSeconds = Field(
        default=300.0, description="seconds between checkpoints that are put into the stores"
    )
    heartbeat_interval_s: PositiveSeconds = Field(
        default=3600.0, description="seconds between entries that say the daemon lives"
    )


class Log(Section):
    """What the daemon writes to its standard output."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Reloadable()] = Field(
        default="info", description='"debug", "info", "warning" or "error"'
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description='"auto" (console on a terminal, else json), "json" or "console"'
    )


class Config(Section):
    """A whole configuration without faults, and the file that it was read from."""

    path: Path
    dock: Dock
    cameras: Cameras
    staging: Staging
    stores: tuple[StoreConfig, ...]
    upload: Upload
    release: Release
    custody: Custody
    log: Log

    @property
    def origin(self) -> str:
        """The name of this dock's ledger."""
        return f"{self.dock.agency}/custody/{self.dock.id}"

    def store_limits(self) -> dict[str, StoreLimits]:
        """What each store may use of the dock's line, by name: its own figures go first.

        A directory lies in the dock or in the house: the line to the outside is none of its
        business unless its table says so.
        """
        found = {}
        for store in self.stores:
            outside = isinstance(store, S3StoreConfig)
            limit, windows = store.bandwidth_limit_bytes_per_s, store.windows
            shared = outside and limit is None
            if limit is None:
                limit = self.upload.bandwidth_limit_bytes_per_s if outside else 0
            if windows is None:
                windows = self.upload.windows if outside else ()
            found[store.name] = StoreLimits(limit, windows, shared=shared)
        return found

    def workers(self, store: StoreConfig) -> int:
        """How many uploads to a store run at the same time."""
        return self.upload.workers if store.workers is None else store.workers
