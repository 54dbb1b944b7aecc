"""One constructor an entry type: what this program writes into the ledger (pure).

docs/ledger-format.md lists the types with their fields; a test compares both. Times of an entry are
not given: an entry bears its own.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Draft(NamedTuple):
    """An entry before it has its place.

    Args:
        type: what kind of entry.
        subject: what it is about.
        data: what happened.
        sealed: personal values by field, of which the entry holds salted commitments alone.
    """

    type: str
    subject: str
    data: Mapping[str, Any]
    sealed: Mapping[str, str] = _NOTHING


# -- findings ------------------------------------------------------------------------------------


def finding_raised(
    finding_id: str,
    *,
    code: str,
    severity: str,
    about: str,
    detail: str,
    docking_id: str | None = None,
    item_id: str | None = None,
) -> Draft:
    """A person has to know of something."""
    data = {"code": code, "severity": severity, "about": about, "detail": detail}
    if docking_id is not None:
        data["docking_id"] = docking_id
    if item_id is not None:
        data["item_id"] = item_id
    return Draft("finding.raised", f"finding:{finding_id}", data)


def finding_closed(finding_id: str, *, code: str, about: str, reason: str = "") -> Draft:
    """What a finding told of is over; with a reason where a person says so."""
    data = {"code": code, "about": about}
    if reason:
        data["reason"] = reason
    return Draft("finding.closed", f"finding:{finding_id}", data)
