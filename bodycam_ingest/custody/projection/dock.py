"""Handlers of entries about cameras, dockings, stores, findings, configuration and clock."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from bodycam_ingest.custody import inventory
from bodycam_ingest.custody.projection.step import Fault
from bodycam_ingest.model import object_keys, rows
from bodycam_ingest.model.evidence import decode_path
from bodycam_ingest.model.lifecycle import UploadState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bodycam_ingest.custody.projection.step import Step


# -- cameras and dockings ------------------------------------------------------------------------


def _docked(step: Step) -> None:
    data, camera = step.data, step.id
    before = step.state.get(rows.Camera, camera)
    if bool(data["first_seen"]) is (before is not None):
        step.illegal("first_seen says otherwise than the entries before")
    officer_seq = before.officer_seq if before else None
    step.put(
        rows.Camera(
            camera=camera,
            assigned=bool(data["profile"]) or officer_seq is not None,
            profile=data["profile"],
            officer_seq=officer_seq,
            first_docked_at=before.first_docked_at if before else step.t,
            last_docked_at=step.t,
        )
    )
    if step.state.get(rows.Docking, data["docking_id"]) is not None:
        step.illegal(f"docking {data['docking_id']} began before")
    step.put(
        rows.Docking(
            docking_id=data["docking_id"],
            camera=camera,
            bay=data["bay"],
            volume=data["volume"],
            mount_path=decode_path(data["mount_path"]),
            started_at=step.t,
        )
    )


def _inventoried(step: Step) -> None:
    docking = step.docking()
    if docking is None:
        return
    inventoried = docking.inventoried or bool(step.data["final"])
    digest = step.data["inventory_sha256"]
    step.put(docking._replace(inventory_sha256=digest, inventoried=inventoried))
    if digest == docking.inventory_sha256:
        # A second listing found the same: the items are as the first left them.
        return
    body = step.state.document(digest)
    if body is None:
        step.faults.append(_missing_document("inventory", digest))
        return
    lying = list(inventory.seen(body))
    step.state.prefetch(rows.Item, [item_id for item_id, _ in lying])
    for item_id, mtime_ns in lying:
        item = step.state.get(rows.Item, item_id)
        if item is None:
            step.illegal(f"its inventory names {item_id}, which was never discovered")
            continue
        step.put(item._replace(seen_docking_id=docking.docking_id, seen_mtime_ns=mtime_ns))


def _missing_document(what: str, digest: str) -> Fault:
    return Fault("document_missing", f"the {what} {digest} is gone or altered")


def _undocked(step: Step) -> None:
    docking = step.docking()
    if docking is None:
        return
    data = step.data
    if docking.ended_at is not None:
        step.illegal(f"docking {docking.docking_id} ended before")
    step.put(
        docking._replace(
            ended_at=step.t, end_reason=data["reason"], complete=bool(data["complete"])
        )
    )
    key = object_keys.manifest_key(
        docking.camera, dt.datetime.fromisoformat(docking.started_at), docking.docking_id
    )
    if step.state.document(data["manifest_sha256"]) is None:
        step.faults.append(_missing_document("manifest", data["manifest_sha256"]))
    digest, queued = bytes.fromhex(data["manifest_sha256"]), UploadState.QUEUED
    for store in step.state.stores().values():
        if store.configured:
            step.put(
                rows.MetadataObject(
                    store.store, key, rows.MANIFEST, digest, queued, None, step.fact.seq
                )
            )


def _assigned(step: Step) -> None:
    camera = step.state.get(rows.Camera, step.id)
    if camera is None:
        step.illegal(f"no camera {step.id}")
        return
    step.put(camera._replace(assigned=True, officer_seq=step.fact.seq))


# -- stores --------------------------------------------------------------------------------------


def _store(step: Step) -> rows.Store:
    name = step.data["store"]
    if step.id != name:
        step.illegal(f"it is about {step.fact.subject} and names {name!r}")
    return step.state.stores().get(name) or rows.Store(name)


def _pinned(step: Step) -> None:
    store = _store(step)
    if store.identity:
        step.illegal(f"{store.store} was pinned before, as {store.identity}")
    step.put(store._replace(identity=step.data["identity"]))


def _added(step: Step) -> None:
    step.put(
        _store(step)._replace(type=step.data["type"], role=_role(step), left_at="", retired_at="")
    )


def _changed(step: Step) -> None:
    step.put(_store(step)._replace(type=step.data["type"], role=_role(step)))


def _removed(step: Step) -> None:
    step.put(_store(step)._replace(left_at=step.t))


def _retired(step: Step) -> None:
    store = _store(step)
    step.put(
        store._replace(
            role=store.role or rows.OPTIONAL, left_at=store.left_at or step.t, retired_at=step.t
        )
    )


def _role(step: Step) -> str:
    return rows.REQUIRED if step.data["required"] else rows.OPTIONAL


# -- manifests and checkpoints -------------------------------------------------------------------


def _object_confirmed(step: Step) -> None:
    data, store, key = step.data, _store(step).store, step.data["key"]
    digest, confirmed = bytes.fromhex(data["sha256"]), UploadState.CONFIRMED
    before = step.state.get(rows.MetadataObject, store, key)
    if data["kind"] == rows.MANIFEST:
        if before is None or before.sha256 != digest:
            step.illegal(f"no such manifest was made for {store}: {key}")
        else:
            step.put(before._replace(state=confirmed, seq=step.fact.seq))
        return
    size = data["size"]
    made = rows.MetadataObject(store, key, rows.CHECKPOINT, digest, confirmed, size, step.fact.seq)
    taken = before is not None and before[:-1] != made[:-1]
    if taken or object_keys.checkpoint_size(key.rpartition("/")[2]) != size or size > step.fact.seq:
        step.illegal(f"{key} in {store} is no place for a checkpoint of {size} entries")
        return
    step.put(made)


def _object_refused(step: Step) -> None:
    before = step.state.get(rows.MetadataObject, _store(step).store, step.data["key"])
    if before is not None and before.kind == rows.MANIFEST:
        step.put(before._replace(state=UploadState.REFUSED, seq=step.fact.seq))


# -- findings ------------------------------------------------------------------------------------


def _raised(step: Step) -> None:
    data = step.data
    if step.state.get(rows.Finding, step.id) is not None:
        step.illegal(f"finding {step.id} was raised before")
    step.put(
        rows.Finding(
            finding_id=step.id,
            code=data["code"],
            severity=data["severity"],
            subject=data["about"],
            docking_id=data.get("docking_id"),
            item_id=data.get("item_id"),
            detail=data["detail"],
            opened_at=step.t,
        )
    )


def _closed(step: Step) -> None:
    finding = step.state.get(rows.Finding, step.id)
    if finding is None or finding.closed_at is not None:
        step.illegal(f"no open finding {step.id}")
        return
    step.put(finding._replace(closed_at=step.t))


# -- configuration and clock ---------------------------------------------------------------------


def _configured(step: Step) -> None:
    for key, value in step.data["values"].items():
        step.put(rows.Setting(key, value or ""))


def _clock_checked(step: Step) -> None:
    data, fact = step.data, step.fact
    before = step.state.get(rows.DockClock, rows.THE_CLOCK)
    dock_ms = data["dock_ms"]
    if before is not None:
        passed_ms = dock_ms - before.dock_ms
        if passed_ms < 0:
            step.illegal("the dock's own time ran back")
        elif fact.boot == before.boot and passed_ms > fact.mono - before.mono_ms:
            step.illegal("the dock's own time ran faster than the time since boot")
    step.put(
        rows.DockClock(
            clock=rows.THE_CLOCK,
            boot=fact.boot,
            mono_ms=fact.mono,
            checked_at=step.t,
            dock_ms=dock_ms,
            vouched=data["vouched"],
            doubt=data["doubt"],
            since=data["since"],
        )
    )


HANDLERS: Final[Mapping[str, Callable[[Step], None]]] = {
    "camera.docked": _docked,
    "camera.inventoried": _inventoried,
    "camera.undocked": _undocked,
    "camera.assigned": _assigned,
    "store.pinned": _pinned,
    "store.added": _added,
    "store.changed": _changed,
    "store.removed": _removed,
    "store.retired": _retired,
    "object.confirmed": _object_confirmed,
    "object.refused": _object_refused,
    "finding.raised": _raised,
    "finding.closed": _closed,
    "config.changed": _configured,
    "clock.checked": _clock_checked,
}
