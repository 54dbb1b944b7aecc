"""The state machines, as tables: items, their uploads, and nothing else decides a state.

An event's name is the type of the ledger entry that records it. `custody.projection` takes entries
through the same tables, so code and ledger cannot disagree about what a state means.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, TypeVar

from bodycam_ingest.errors import IllegalTransitionError

if TYPE_CHECKING:
    from collections.abc import Mapping


class ItemState(enum.StrEnum):
    """Where an item stands on its way from the camera to released evidence."""

    DISCOVERED = "discovered"
    ACQUIRED = "acquired"
    VERIFIED = "verified"
    STORED = "stored"
    CONFIRMED = "confirmed"
    RELEASED = "released"
    PURGED = "purged"
    QUARANTINED = "quarantined"
    VANISHED = "vanished"


# -- named sets of states: no other module writes one out ----------------------------------------

# Nobody read it off its camera before it was last seen there.
NEVER_READ: Final = frozenset({ItemState.DISCOVERED, ItemState.VANISHED})
# Is to be read off the camera, or to be read back.
UNCOPIED: Final = frozenset({ItemState.DISCOVERED, ItemState.ACQUIRED})
# No store has it: the copy in staging must be there.
COPY_NEEDED: Final = frozenset({ItemState.ACQUIRED, ItemState.VERIFIED})
# Read off the camera, read back from the disk, and equal.
COPIED: Final = frozenset(
    {
        ItemState.VERIFIED,
        ItemState.STORED,
        ItemState.CONFIRMED,
        ItemState.RELEASED,
        ItemState.PURGED,
    }
)

# It has a copy of the dock's own that may be sent.
SENT_FROM: Final = frozenset(
    {ItemState.VERIFIED, ItemState.STORED, ItemState.CONFIRMED, ItemState.RELEASED}
)
# Every store that was required then has proven that it holds it.
PROVEN: Final = frozenset({ItemState.CONFIRMED, ItemState.RELEASED, ItemState.PURGED})
# Waits for a store.
HELD_UP: Final = frozenset({ItemState.VERIFIED, ItemState.STORED})
# Not proven by every required store, and nothing but time is in the way.
BEHIND: Final = UNCOPIED | HELD_UP
# Copied, and its camera's copy must stay.
UNRELEASED: Final = HELD_UP | {ItemState.CONFIRMED}
# Waits for a person, or for its camera.
APART: Final = frozenset({ItemState.QUARANTINED, ItemState.VANISHED})


class ItemEvent(enum.StrEnum):
    """What can happen to an item; each value is a ledger entry type."""

    DISCOVERED = "item.discovered"
    CHANGED = "item.changed"
    ACQUIRED = "item.acquired"
    VERIFIED = "item.verified"
    STORED = "item.stored"
    CONFIRMED = "item.confirmed"
    RELEASED = "item.released"
    PURGED = "item.purged"
    COPY_REJECTED = "item.copy_rejected"
    QUARANTINED = "item.quarantined"
    REQUEUED = "item.requeued"
    REINSTATED = "item.reinstated"
    VANISHED = "item.vanished"
    REAPPEARED = "item.reappeared"


class UploadState(enum.StrEnum):
    """What one store has of one item.

    `sending` and `waiting` are a queued upload as people see it: in parts, or after a fault.
    """

    QUEUED = "queued"
    SENDING = "sending"
    WAITING = "waiting"
    STORED = "stored"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


# Is sent, or to be proven, when its time comes.
OPEN_UPLOADS: Final = frozenset({UploadState.QUEUED, UploadState.STORED})
# The store says that it has it.
UPLOADED: Final = frozenset({UploadState.STORED, UploadState.CONFIRMED})
# The store has proven that it has it.
UPLOAD_PROVEN: Final = frozenset({UploadState.CONFIRMED})


class UploadEvent(enum.StrEnum):
    """What can happen to an upload; each value is a ledger entry type."""

    STORED = "item.stored"
    CONFIRMED = "item.confirmed"
    REFUSED = "upload.refused"
    REPEATED = "upload.repeated"
    VERIFIED = "item.verified"
    REINSTATED = "item.reinstated"
    BACKFILLED = "store.backfilled"


_I = ItemState
_E = ItemEvent
ITEM_TRANSITIONS: Final[Mapping[tuple[ItemState | None, ItemEvent], ItemState]] = {
    (None, _E.DISCOVERED): _I.DISCOVERED,
    # The camera went on writing before the item was read: same item, new size and time.
    (_I.DISCOVERED, _E.CHANGED): _I.DISCOVERED,
    (_I.DISCOVERED, _E.ACQUIRED): _I.ACQUIRED,
    (_I.ACQUIRED, _E.VERIFIED): _I.VERIFIED,
    # STORED and CONFIRMED are entries per store; the state moves with the last required store.
    (_I.VERIFIED, _E.STORED): _I.STORED,
    (_I.STORED, _E.CONFIRMED): _I.CONFIRMED,
    # A store that proves its copy at once needs no entry of its own for having it.
    (_I.VERIFIED, _E.CONFIRMED): _I.CONFIRMED,
    (_I.CONFIRMED, _E.RELEASED): _I.RELEASED,
    (_I.RELEASED, _E.PURGED): _I.PURGED,
    # The copy was no good and lies in quarantine; the item is read from its camera again.
    (_I.ACQUIRED, _E.COPY_REJECTED): _I.DISCOVERED,
    (_I.VERIFIED, _E.COPY_REJECTED): _I.DISCOVERED,
    (_I.DISCOVERED, _E.QUARANTINED): _I.QUARANTINED,
    (_I.ACQUIRED, _E.QUARANTINED): _I.QUARANTINED,
    (_I.VERIFIED, _E.QUARANTINED): _I.QUARANTINED,
    (_I.STORED, _E.QUARANTINED): _I.QUARANTINED,
    (_I.CONFIRMED, _E.QUARANTINED): _I.QUARANTINED,
    (_I.QUARANTINED, _E.REQUEUED): _I.DISCOVERED,
    (_I.QUARANTINED, _E.REINSTATED): _I.VERIFIED,
    (_I.DISCOVERED, _E.VANISHED): _I.VANISHED,
    (_I.VANISHED, _E.REAPPEARED): _I.DISCOVERED,
}

_U = UploadState
_V = UploadEvent
UPLOAD_TRANSITIONS: Final[Mapping[tuple[UploadState | None, UploadEvent], UploadState]] = {
    (None, _V.VERIFIED): _U.QUEUED,
    (None, _V.REINSTATED): _U.QUEUED,
    # The store is younger than the item.
    (None, _V.BACKFILLED): _U.QUEUED,
    (_U.QUEUED, _V.STORED): _U.STORED,
    (_U.QUEUED, _V.CONFIRMED): _U.CONFIRMED,
    (_U.STORED, _V.CONFIRMED): _U.CONFIRMED,
    # Said again, because another store need not be waited for any more.
    (_U.CONFIRMED, _V.CONFIRMED): _U.CONFIRMED,
    (_U.QUEUED, _V.REFUSED): _U.REFUSED,
    (_U.STORED, _V.REFUSED): _U.REFUSED,
    # What the store has is looked at again: it may have lost it, or the item was read anew.
    **{
        (state, event): _U.QUEUED
        for state in (_U.QUEUED, _U.STORED, _U.CONFIRMED, _U.REFUSED)
        for event in (_V.REPEATED, _V.VERIFIED, _V.REINSTATED)
    },
}

_State = TypeVar("_State", ItemState, UploadState)
_Event = TypeVar("_Event", ItemEvent, UploadEvent)


def _advance(
    table: Mapping[tuple[_State | None, _Event], _State], state: _State | None, event: _Event
) -> _State:
    try:
        return table[state, event]
    except KeyError:
        raise IllegalTransitionError(f"{event.value!r} is not legal in state {state!s}") from None


def advance_item(state: ItemState | None, event: ItemEvent) -> ItemState:
    """The state that `event` leads to.

    Args:
        state: the present state, None for an item that does not exist yet.
        event: what happened.

    Raises:
        IllegalTransitionError: the table has no such step; nothing changed.
    """
    return _advance(ITEM_TRANSITIONS, state, event)


def advance_upload(state: UploadState | None, event: UploadEvent) -> UploadState:
    """The state that `event` leads to; raises `IllegalTransitionError` as `advance_item` does."""
    return _advance(UPLOAD_TRANSITIONS, state, event)


def mermaid(table: Mapping[tuple[_State | None, _Event], _State]) -> str:
    """The table as a Mermaid state diagram, for docs that are generated, not drawn."""
    lines = ["stateDiagram-v2"]
    for (state, event), target in table.items():
        lines.append(f"    {state.value if state else '[*]'} --> {target.value}: {event.value}")
    return "\n".join(lines) + "\n"
