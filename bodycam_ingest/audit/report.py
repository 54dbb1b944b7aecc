"""What `verify` says: what does not hold, what could not be checked, what is not proven."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from bodycam_ingest.custody.log_check import Finding

HOLDS: Final = "holds"
BROKEN: Final = "broken"
UNCHECKED: Final = "unchecked"
_KEY_UNPROVEN: Final = (
    "that the key is the dock's own: it stands in the database that is checked. --key VKEY, as "
    "`init` printed it and somebody kept it off the dock, shows it"
)
_END_UNPROVEN: Final = (
    "that nothing was cut off or written anew by who has the log's key: --checkpoint FILE, as "
    "somebody kept it off the dock, or --stores shows it, up to that checkpoint"
)


@dataclass
class Report:
    """What was found.

    Args:
        findings: what does not hold.
        unreachable: what was to be checked and could not be.
        checked: how much of what was looked at; what stands at `None` was not asked for.
        not_proven: what cannot be said without something that was kept off the dock.
    """

    findings: list[Finding] = field(default_factory=list)
    unreachable: list[str] = field(default_factory=list)
    checked: dict[str, int | None] = field(default_factory=dict)
    not_proven: list[str] = field(default_factory=list)

    def find(self, code: str, message: str, subject: str = "") -> None:
        """Add a finding that is about no single entry."""
        self.findings.append(Finding(code, message, subject=subject))

    def result(self) -> str:
        """`holds` only when everything asked for was looked at and nothing was found."""
        if self.findings:
            return BROKEN
        return UNCHECKED if self.unreachable else HOLDS

    def as_json(self) -> dict[str, Any]:
        """The value that `verify --json` prints."""
        return {
            "result": self.result(),
            "findings": [finding.as_json() for finding in self.findings],
            "unreachable": self.unreachable,
            "checked": self.checked,
            "not_proven": self.not_proven,
        }


def not_proven(*, by_key: bool, by_checkpoint: bool) -> list[str]:
    """What the dock's own word alone stands for.

    `by_key`, `by_checkpoint`: there is one that was kept off the dock, and it is checked with.
    """
    return [
        *([] if by_key else [_KEY_UNPROVEN]),
        *([] if by_checkpoint else [_END_UNPROVEN]),
    ]
