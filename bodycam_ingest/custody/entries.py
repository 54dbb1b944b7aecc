"""One constructor an entry type: what this program writes into the ledger (pure).

docs/ledger-format.md lists the types with their fields; a test compares both. Times of an entry are
not given: an entry bears its own.
"""

from __future__ import annotations

import collections
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from bodycam_ingest.custody.entry import figure
from bodycam_ingest.model import subjects
from bodycam_ingest.model.evidence import encode_path

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from bodycam_ingest.custody.inventory import Line
    from bodycam_ingest.model.subjects import Subject

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
OFFICER: Final = "officer"


class Draft(NamedTuple):
    """An entry before it has its place.

    `sealed` are personal values by field, of which the entry holds salted commitments alone.
    """

    type: str
    subject: Subject
    data: Mapping[str, Any]
    sealed: Mapping[str, str] = _NOTHING


# -- cameras and dockings ------------------------------------------------------------------------


def camera_docked(  # noqa: PLR0913 - one argument a field
    camera: str,
    *,
    docking_id: str,
    bay: str,
    volume: str,
    mount_path: bytes,
    first_seen: bool,
    profile: str,
    serial_told: str,
    properties: Mapping[str, str],
    ntp_synchronised: bool | None,
    reason: str = "",
) -> Draft:
    """One of a camera's volumes was attached; with a reason where that was not in a bay."""
    data = {
        "docking_id": docking_id,
        "bay": bay,
        "volume": volume,
        "mount_path": encode_path(mount_path),
        "first_seen": first_seen,
        "profile": profile,
        "serial_told": serial_told,
        "properties": dict(properties),
        "ntp_synchronised": ntp_synchronised,
        "reason": reason,
    }
    return Draft("camera.docked", subjects.camera(camera), data)


def camera_inventoried(
    camera: str,
    *,
    docking_id: str,
    lines: Collection[Line],
    inventory_sha256: str,
    complete: bool,
    final: bool,
    hour_shift: int,
) -> Draft:
    """What lay on a camera's volume was listed.

    Args:
        camera: serial.
        docking_id: the docking.
        lines: what was found.
        inventory_sha256: digest of the document with these lines, hex.
        complete: it was listed to its end without a fault, and the camera was there after.
        final: a second complete listing agreed, so that what is missing is known as well.
        hour_shift: whole hours by which all times differ from the last docking.
    """
    files = [line for line in lines if line.is_file]
    verdicts = collections.Counter(line.verdict.value for line in lines)
    data = {
        "docking_id": docking_id,
        "entries": len(lines),
        "files": len(files),
        "bytes": figure(sum(line.size_bytes or 0 for line in files)),
        "newest_mtime_ns": str(max((line.mtime_ns or 0 for line in files), default=0)),
        "verdicts": dict(verdicts),
        "inventory_sha256": inventory_sha256,
        "complete": complete,
        "final": final,
        "hour_shift": hour_shift,
    }
    return Draft("camera.inventoried", subjects.camera(camera), data)


def camera_undocked(
    camera: str,
    *,
    docking_id: str,
    reason: str,
    complete: bool,
    items: Mapping[str, int],
    manifest_sha256: str,
) -> Draft:
    """The volume went away, or nobody watched it any more; with the items' states, counted."""
    data = {
        "docking_id": docking_id,
        "reason": reason,
        "complete": complete,
        "items": dict(items),
        "manifest_sha256": manifest_sha256,
    }
    return Draft("camera.undocked", subjects.camera(camera), data)


def camera_assigned(camera: str, officer: str) -> Draft:
    """Who carries the camera from now on."""
    return Draft("camera.assigned", subjects.camera(camera), {}, {OFFICER: officer})


# -- findings ------------------------------------------------------------------------------------


def finding_raised(
    finding_id: str,
    *,
    code: str,
    severity: str,
    about: Subject,
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
    return Draft("finding.raised", subjects.finding(finding_id), data)


def finding_closed(finding_id: str, *, code: str, about: Subject, reason: str = "") -> Draft:
    """What a finding told of is over; with a reason where a person says so."""
    data = {"code": code, "about": about}
    if reason:
        data["reason"] = reason
    return Draft("finding.closed", subjects.finding(finding_id), data)


# -- configuration and clock ---------------------------------------------------------------------


def config_changed(
    *, sha256: str, before: str, values: Mapping[str, str | None], waits: Sequence[str], at: str
) -> Draft:
    """The configuration is another than the one recorded last."""
    data = {
        "sha256": sha256,
        "before": before,
        "values": values,
        "needs_restart": waits,
        "at": at,
    }
    return Draft("config.changed", subjects.CONFIG, data)


def clock_checked(
    *,
    dock_ms: int,
    vouched: str,
    doubt: str,
    since: str,
    step_ms: int,
    ntp_synchronised: bool | None,
) -> Draft:
    """The dock's own time in a new boot, or where the clock was set or another vouches for it."""
    data: dict[str, Any] = {"dock_ms": dock_ms, "vouched": vouched, "doubt": doubt, "since": since}
    if step_ms:
        data["step_ms"] = step_ms
    return Draft("clock.checked", subjects.CLOCK, {**data, "ntp_synchronised": ntp_synchronised})


def clock_confirmed(*, reason: str, doubt: str, ntp_synchronised: bool | None) -> Draft:
    """A person vouches for the clock as it stands; `doubt`: why nobody did before."""
    data = {"reason": reason, "doubt": doubt, "ntp_synchronised": ntp_synchronised}
    return Draft("clock.confirmed", subjects.CLOCK, data)


# -- stores --------------------------------------------------------------------------------------


def store_pinned(store: str, *, identity: str) -> Draft:
    """Who a store is, at first contact."""
    return Draft("store.pinned", subjects.store(store), {"store": store, "identity": identity})


def store_added(store: str, *, type: str, required: bool, returned: bool) -> Draft:  # noqa: A002 - the format's own word
    """The configuration has a store from now on; `returned`: it had it before."""
    data = {"store": store, "type": type, "required": required, "returned": returned}
    return Draft("store.added", subjects.store(store), data)


def store_changed(store: str, *, type: str, required: bool) -> Draft:  # noqa: A002 - the same
    """The configuration says otherwise of a store from now on."""
    data = {"store": store, "type": type, "required": required}
    return Draft("store.changed", subjects.store(store), data)


def store_removed(store: str, *, required: bool, items: int, size_bytes: int) -> Draft:
    """The configuration has a store no longer; so many recordings wait for it."""
    data = {"store": store, "required": required, "items": items, "bytes": str(size_bytes)}
    return Draft("store.removed", subjects.store(store), data)


def store_retired(store: str, *, reason: str, items: int, size_bytes: int) -> Draft:
    """A person gave a store up; so many recordings waited for it."""
    data = {"store": store, "reason": reason, "items": items, "bytes": str(size_bytes)}
    return Draft("store.retired", subjects.store(store), data)


# -- the daemon's own objects --------------------------------------------------------------------


def object_confirmed(
    store: str, *, key: str, kind: str, sha256: bytes, size: int | None = None
) -> Draft:
    """A store proved one of the daemon's own objects; `size`: entries that a checkpoint covers."""
    data: dict[str, Any] = {"store": store, "key": key, "kind": kind, "sha256": sha256.hex()}
    if size is not None:
        data["size"] = size
    return Draft("object.confirmed", subjects.store(store), data)


def object_refused(store: str, *, key: str, kind: str, reason: str, instead: str = "") -> Draft:
    """An object cannot be put under its key; a checkpoint goes to another one `instead`."""
    data = {"store": store, "key": key, "kind": kind, "reason": reason}
    if instead:
        data["instead"] = instead
    return Draft("object.refused", subjects.store(store), data)
