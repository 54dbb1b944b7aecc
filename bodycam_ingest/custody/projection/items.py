"""Handlers of entries about items and what the stores have of them.

`item.stored` and `item.confirmed` stand once a store: they move the item when no other store is
waited for, which is computed here from the entries before, never believed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bodycam_ingest.custody.entry import read_figure
from bodycam_ingest.custody.projection.step import Fault
from bodycam_ingest.errors import IllegalTransitionError
from bodycam_ingest.model import rows, subjects
from bodycam_ingest.model.evidence import decode_path
from bodycam_ingest.model.lifecycle import (
    HELD_UP,
    SENT_FROM,
    UPLOAD_PROVEN,
    UPLOADED,
    ItemEvent,
    ItemState,
    UploadEvent,
    UploadState,
    advance_item,
    advance_upload,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bodycam_ingest.custody.projection.step import State, Step

_NOWHERE: Final = ItemState.DISCOVERED
# As calling the enumeration does, in a third of the time.
_ITEM_EVENTS: Final = {event.value: event for event in ItemEvent}
_UPLOAD_EVENTS: Final = {event.value: event for event in UploadEvent}
# For a row that is made by the step itself.
_NONE: Final = UploadState.QUEUED


def _item(step: Step) -> rows.Item | None:
    item = step.state.get(rows.Item, step.id)
    if item is None:
        step.illegal(f"{step.fact.subject} was never discovered")
    return item


def _advance(step: Step) -> tuple[rows.Item | None, ItemState]:
    """The item and its next state by the table; a fault and no item where there is no such step."""
    item = _item(step)
    if item is None:
        return None, _NOWHERE
    try:
        return item, advance_item(item.state, _ITEM_EVENTS[step.fact.type])
    except IllegalTransitionError as error:
        step.faults.append(Fault("history_illegal", error.message))
        return None, _NOWHERE


def _moves(*, copy_gone: bool = False, back: bool = False) -> Callable[[Step], None]:
    """A handler of an entry that moves the item: its copy may be gone, or it is back from apart."""

    def handle(step: Step) -> None:
        item, state = _advance(step)
        if item is not None:
            staged_path = "" if copy_gone else item.staged_path
            reason = "" if back else item.quarantine_reason
            step.put(item._replace(state=state, staged_path=staged_path, quarantine_reason=reason))

    return handle


def _names_digest(step: Step, item: rows.Item) -> None:
    if item.sha256 is None or step.data["sha256"] != item.sha256.hex():
        step.faults.append(
            Fault("digest_changed", f"{step.fact.type}: it names another digest than was read")
        )


# -- from the camera -----------------------------------------------------------------------------


def _figure(value: object) -> int:
    found = read_figure(value)
    if not isinstance(found, int):
        raise TypeError(f"{value!r} is no figure")
    return found


def _discovered(step: Step) -> None:
    data, item_id = step.data, step.id
    if not step.fact.first and step.state.get(rows.Item, item_id) is not None:
        step.illegal(f"item {item_id} was discovered before")
        return
    mtime_ns = int(data["mtime_ns"])
    step.put(
        rows.Item(
            item_id=item_id,
            camera=data["camera"],
            docking_id=data["docking_id"],
            volume=data["volume"],
            path=decode_path(data["path"]),
            size_bytes=_figure(data["size_bytes"]),
            mtime_ns=mtime_ns,
            state=advance_item(None, ItemEvent.DISCOVERED),
            discovered_at=step.t,
            recorded_at=data["recorded_at"],
            seen_docking_id=data["docking_id"],
            seen_mtime_ns=mtime_ns,
        )
    )


def _changed(step: Step) -> None:
    item, state = _advance(step)
    if item is not None:
        size_bytes, mtime_ns = _figure(step.data["size_bytes"]), int(step.data["mtime_ns"])
        step.put(
            item._replace(
                state=state, size_bytes=size_bytes, mtime_ns=mtime_ns, seen_mtime_ns=mtime_ns
            )
        )


def _acquired(step: Step) -> None:
    (item, state), data = _advance(step), step.data
    if item is None:
        return
    step.put(
        item._replace(
            state=state,
            size_bytes=_figure(data["size_bytes"]),
            sha256=bytes.fromhex(data["sha256"]),
            sample_sha256=bytes.fromhex(data["sample_sha256"]),
            part_size_bytes=data["part_size_bytes"],
            staged_path=data["staged"],
        )
    )


def _verified(step: Step) -> None:
    item, state = _advance(step)
    if item is None:
        return
    _names_digest(step, item)
    step.put(item._replace(state=state, verified_seq=step.fact.seq))
    _queue_everywhere(step, item)


def _queue_everywhere(step: Step, item: rows.Item) -> None:
    """Queue the item for every configured store; one that confirmed it before is asked again."""
    for store in step.state.stores().values():
        if store.configured:
            # Before it was verified first, no store can have been told of it.
            new = item.verified_seq is None
            before = None if new else step.state.get(rows.Upload, item.item_id, store.store)
            _put_upload(
                step, before or rows.Upload(item.item_id, store.store, _NONE), new=not before
            )


def _put_upload(step: Step, row: rows.Upload, *, new: bool = False, **fields: str) -> None:
    """Take an upload one step by the table; what a store said before does not outlive its queue."""
    try:
        state = advance_upload(None if new else row.state, _UPLOAD_EVENTS[step.fact.type])
    except IllegalTransitionError as error:
        step.faults.append(Fault("history_illegal", f"{row.store}: {error.message}"))
        return
    if state is UploadState.QUEUED:
        step.put(rows.Upload(row.item_id, row.store, state))
    else:
        step.put(row._replace(state=state, **fields))


def _reinstated(step: Step) -> None:
    item, state = _advance(step)
    if item is None:
        return
    _names_digest(step, item)
    step.put(item._replace(state=state, quarantine_reason=""))
    _queue_everywhere(step, item)


def _quarantined(step: Step) -> None:
    item, state = _advance(step)
    if item is not None:
        step.put(item._replace(state=state, quarantine_reason=step.data["reason"]))


def _vanished(step: Step) -> None:
    item, state = _advance(step)
    if item is not None:
        step.put(item._replace(state=state, seen_docking_id=step.data["docking_id"]))


# -- in the stores -------------------------------------------------------------------------------


def _upload(step: Step, item: rows.Item) -> rows.Upload | None:
    store = step.data["store"]
    row = step.state.get(rows.Upload, item.item_id, store)
    if row is None:
        step.illegal(f"the item was never queued for {store}")
    return row


def waits_for(
    state: State, item_id: str, store: str, reached: frozenset[UploadState]
) -> tuple[bool, list[str]]:
    """Whether a store is required, and which stores beside it an item waits for.

    `store` is the one getting there now; `reached` are the states that count as having got there.
    """
    got: dict[str, bool] = {}
    for name in state.stores():
        row = state.get(rows.Upload, item_id, name) if name != store else None
        if row is not None:
            got[name] = row.state in reached
    stores = state.store_set()
    return store in stores.required, stores.waits_for(got, but=store)


def _sent(step: Step) -> tuple[rows.Item, rows.Upload] | None:
    item = _item(step)
    if item is None:
        return None
    if item.state not in SENT_FROM:
        step.illegal(f"in state {item.state.value}")
        return None
    row = _upload(step, item)
    if row is None:
        return None
    _names_digest(step, item)
    return item, row


def _completes(step: Step, item: rows.Item, reached: frozenset[UploadState]) -> bool:
    """Whether nothing is waited for any more; a fault where the entry says otherwise."""
    data = step.data
    required, outstanding = waits_for(step.state, item.item_id, data["store"], reached)
    if data["required"] is not required or list(data["outstanding"]) != outstanding:
        step.illegal(
            f"it says required {data['required']}, outstanding {data['outstanding']}; by the "
            f"entries before it is {required}, {outstanding}"
        )
    return required and not outstanding


def _stored(step: Step) -> None:
    sent = _sent(step)
    if sent is None:
        return
    item, row = sent
    data = step.data
    _put_upload(step, row, version_id=data["version_id"], etag=data["etag"])
    if _completes(step, item, UPLOADED) and item.state is ItemState.VERIFIED:
        step.put(item._replace(state=advance_item(item.state, ItemEvent.STORED)))


def _confirmed(step: Step) -> None:
    sent = _sent(step)
    if sent is None:
        return
    item, row = sent
    data, seq = step.data, step.fact.seq
    _put_upload(
        step,
        row,
        version_id=data["version_id"],
        etag=data["etag"],
        proof=data["proof"],
        checksum=data["checksum"],
        confirmed_at=step.t,
    )
    if not _completes(step, item, UPLOAD_PROVEN):
        return
    if item.state in HELD_UP:
        state = advance_item(item.state, ItemEvent.CONFIRMED)
        step.put(item._replace(state=state, confirmed_seq=seq))
    elif item.state is ItemState.CONFIRMED:
        # The set of stores changed, or one was asked again: this one is the last now.
        step.put(item._replace(confirmed_seq=seq))


def _upload_step(step: Step) -> None:
    if subjects.split(step.fact.subject)[0] != "item":
        return
    item = _item(step)
    row = _upload(step, item) if item else None
    if row is not None:
        _put_upload(step, row)


def _backfilled(step: Step) -> None:
    store = step.data["store"]
    for item_id in step.data["items"]:
        item = step.state.get(rows.Item, item_id)
        if item is None or item.state not in SENT_FROM:
            step.illegal(f"item {item_id} cannot be sent")
            continue
        before = step.state.get(rows.Upload, item_id, store)
        _put_upload(step, before or rows.Upload(item_id, store, _NONE), new=not before)


# -- on the way out ------------------------------------------------------------------------------


def _released(step: Step) -> None:
    (item, state), data = _advance(step), step.data
    if item is None:
        return
    step.put(item._replace(state=state, released_at=step.t, released_dock_ms=data["dock_ms"]))
    if data["docked"]:
        docking = step.docking()
        if docking is not None and docking.released_at is None:
            step.put(docking._replace(released_at=step.t))


def _purging(step: Step) -> None:
    item = _item(step)
    if item is None:
        return
    if item.state is not ItemState.RELEASED:
        step.illegal(f"in state {item.state.value}")
    step.put(item._replace(purging_seq=step.fact.seq))


HANDLERS: Final[Mapping[str, Callable[[Step], None]]] = {
    "item.discovered": _discovered,
    "item.changed": _changed,
    "item.acquired": _acquired,
    "item.verified": _verified,
    "item.stored": _stored,
    "item.confirmed": _confirmed,
    "item.released": _released,
    "item.purging": _purging,
    "item.purged": _moves(copy_gone=True),
    "item.copy_rejected": _moves(copy_gone=True),
    "item.quarantined": _quarantined,
    "item.requeued": _moves(copy_gone=True, back=True),
    "item.reinstated": _reinstated,
    "item.vanished": _vanished,
    "item.reappeared": _moves(),
    "upload.repeated": _upload_step,
    "upload.refused": _upload_step,
    "store.backfilled": _backfilled,
}
