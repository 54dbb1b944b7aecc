"""The dock's clocks: wall time, time since boot, and whether anyone keeps them right."""

from __future__ import annotations

import ctypes
import datetime as dt
import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TIME_ERROR: Final = 5
# struct timex is 208 bytes on 64-bit Linux; modes = 0 (first field) only reads.
_TIMEX_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at the clocks: time of day, CLOCK_BOOTTIME in ms, the kernel's id of this boot."""

    wall: dt.datetime
    boottime_ms: int
    boot_id: str

    def offset_ms(self) -> int:
        """Wall time minus time since boot; it moves only when somebody steps the clock."""
        return round(self.wall.timestamp() * 1000) - self.boottime_ms


@functools.cache
def boot_id() -> str:
    """The kernel's id of this boot (/proc/sys/kernel/random/boot_id)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def now() -> dt.datetime:
    """The time of day, UTC."""
    return dt.datetime.fromtimestamp(time.time_ns() / 1_000_000_000, tz=dt.UTC)


def boot_ms() -> int:
    """Time since boot, ms: for intervals within one boot; counts through suspend, never steps."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def read() -> Reading:
    """Read the clocks now."""
    return Reading(
        wall=now(),
        boottime_ms=boot_ms(),
        boot_id=boot_id(),
    )


def synchronised() -> bool | None:
    """Whether the kernel's clock is disciplined (adjtimex(2)); None where that cannot be told."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return None if state < 0 else state != _TIME_ERROR


def rfc3339(moment: dt.datetime) -> str:
    """UTC with milliseconds, as the ledger writes it: `2026-03-14T09:26:53.589Z`."""
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_rfc3339(text: str) -> dt.datetime:
    """The moment that `rfc3339` wrote."""
    return dt.datetime.fromisoformat(text)


def now_text() -> str:
    """The time of day as the ledger and the tables write it."""
    return rfc3339(now())


def now_ms() -> int:
    """The time of day, ms since 1970, as due times are kept."""
    return time.time_ns() // 1_000_000


def text_ms(text: str) -> int:
    """An RFC 3339 time as ms since 1970."""
    return round(parse_rfc3339(text).timestamp() * 1000)


def ms_text(moment_ms: int) -> str:
    """A time in ms since 1970 as the ledger and the tables write it."""
    return rfc3339(dt.datetime.fromtimestamp(moment_ms / 1000, tz=dt.UTC))
