"""`check`: one line and a code for a monitoring system, in the form of its plugins.

Nagios, Icinga, Naemon, Zabbix and others read it so: `STATE: words | label=value;warn;crit`, and
0 to 3 for OK, WARNING, CRITICAL and UNKNOWN ("Monitoring Plugins Development Guidelines").
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import click

from bodycam_ingest.cli.context import Context, pass_context
from bodycam_ingest.cli.output import line
from bodycam_ingest.cli.status import read_status
from bodycam_ingest.errors import IngestError
from bodycam_ingest.linux import clock
from bodycam_ingest.model.amounts import count, size, span

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HOUR_S: Final = 3600.0
# Below this many times what staging must keep free, somebody should look.
_NEARLY: Final = 2


class State(enum.IntEnum):
    """What the exit code says."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """How many seconds something may be late before it is a warning, and before it is critical."""

    warning_s: float
    critical_s: float

    def judge(self, late_s: float) -> State:
        """What so many seconds mean."""
        if late_s >= self.critical_s:
            return State.CRITICAL
        return State.WARNING if late_s >= self.warning_s else State.OK


@dataclass
class Report:
    """What was found.

    Args:
        faults: each with its weight, in the order in which it was found.
        figures: performance data, `label=value;warn;crit`.
    """

    faults: list[tuple[State, str]] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)

    def note(self, state: State, words: str) -> None:
        """Note what is not as it should be; nothing where it is."""
        if state is not State.OK:
            self.faults.append((state, words))

    def figure(
        self, label: str, value: float, unit: str = "", warning: str = "", critical: str = ""
    ) -> None:
        """Add a figure; ranges as plugins write them (`10:` is "below 10 is bad")."""
        self.figures.append(f"{label}={value:.0f}{unit};{warning};{critical};0")

    def state(self) -> State:
        """The worst of all."""
        return max((state for state, _ in self.faults), default=State.OK)

    def text(self, well: str) -> str:
        """The one line; `well` is said where nothing is wrong."""
        worst_first = sorted(self.faults, key=lambda fault: -fault[0])
        # The bar begins the figures, so none may stand in the words.
        words = "; ".join(words for _, words in worst_first).replace("|", "/") or well
        return f"{self.state().name}: {words} | {' '.join(self.figures)}"


def _age_s(moment: str | None, now: str) -> float:
    if not moment:
        return 0.0
    passed = clock.parse_rfc3339(now) - clock.parse_rfc3339(moment)
    return max(0.0, passed.total_seconds())


def judge(status: Mapping[str, Any], limits: Limits) -> Report:
    """What a status, as `status --json` has it, says to whoever is called at night."""
    report, now = Report(), status["time"]
    ranges = {"warning": f"{limits.warning_s:.0f}", "critical": f"{limits.critical_s:.0f}"}
    if not status["running"]:
        why = (status.get("stopped") or {}).get("error")
        report.note(State.CRITICAL, "the daemon is not running" + (f": {why}" if why else ""))
    alarms = status["alarms"]
    if alarms:
        codes = ", ".join(sorted({alarm["code"] for alarm in alarms}))
        report.note(State.CRITICAL, f"{count(len(alarms), 'alarm')} ({codes})")
    failing = [store for store in status["stores"] if store["last_error"]]
    for store in failing:
        late_s = _age_s(store["failing_since"], now)
        words = f"store {store['store']} fails for {span(late_s)}: {store['last_error']}"
        report.note(max(State.WARNING, limits.judge(late_s)), words)
    behind = status["behind"]
    late_s = _age_s(behind["oldest_at"], now)
    waiting = f"{count(behind['items'], 'recording')} of {size(behind['bytes'])}"
    report.note(limits.judge(late_s), f"{waiting} not proven for up to {span(late_s)}")
    anchor_s = _age_s(status["unanchored_since"], now)
    report.note(
        limits.judge(anchor_s),
        f"the ledger's signed head did not leave the dock for {span(anchor_s)}",
    )
    report.figure("cameras", sum(bay["watched"] for bay in status["bays"]))
    report.figure("alarms", len(alarms), critical="0")
    report.figure("failing_stores", len(failing), warning="0")
    report.figure("behind", behind["items"])
    report.figure("behind_bytes", behind["bytes"], "B")
    report.figure("behind_oldest", late_s, "s", **ranges)
    report.figure("unanchored", anchor_s, "s", **ranges)
    return report


def _look_at_staging(report: Report, directory: Path, min_free_bytes: int) -> None:
    try:
        found = os.statvfs(directory)
    except OSError as error:
        report.note(State.UNKNOWN, f"staging {directory}: {error.strerror}")
        return
    free_bytes = found.f_bavail * found.f_frsize
    words = f"{size(free_bytes)} free in staging, {size(min_free_bytes)} must be"
    if free_bytes < min_free_bytes:
        report.note(State.CRITICAL, f"nothing more is copied: {words}")
    elif free_bytes < _NEARLY * min_free_bytes:
        report.note(State.WARNING, words)
    ranges = {"warning": f"{_NEARLY * min_free_bytes}:", "critical": f"{min_free_bytes}:"}
    report.figure("staging_free", free_bytes, "B", **ranges)


class _Plugin(click.Command):
    """A command whose wrong use is UNKNOWN too: 2, as of every other command, is CRITICAL."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The arguments that are left, as click gives them."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            line(f"{State.UNKNOWN.name}: {error.format_message()}")
            ctx.exit(State.UNKNOWN)


@click.command("check", cls=_Plugin)
@click.option(
    "--warning-h",
    type=click.FloatRange(min=0),
    default=4.0,
    show_default=True,
    help="Hours for which a store may fail, a recording wait, the ledger's head stay on the dock.",
)
@click.option(
    "--critical-h",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="From so many hours on it is critical.",
)
@pass_context
def command(context: Context, *, warning_h: float, critical_h: float) -> int:
    """Say in one line how the dock stands, for a monitoring system.

    Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN. Any user who may read the status may run it.
    """
    try:
        config = context.config
        status = read_status(context)
        report = judge(status, Limits(warning_h * _HOUR_S, critical_h * _HOUR_S))
        _look_at_staging(report, config.staging.dir, config.staging.min_free_bytes)
    except IngestError as error:
        line(f"{State.UNKNOWN.name}: {error.message.splitlines()[0]} ({error.code})")
        return State.UNKNOWN
    except KeyError as error:
        # A daemon of another release answers, as between an upgrade and the restart.
        line(f"{State.UNKNOWN.name}: the daemon that runs does not tell {error}: restart it")
        return State.UNKNOWN
    cameras = sum(bay["watched"] for bay in status["bays"])
    line(report.text(f"dock {status['dock']}, {count(cameras, 'camera')}, no alarm"))
    return report.state()
