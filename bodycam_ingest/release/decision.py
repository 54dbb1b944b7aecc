"""When a camera's copy may go, and what its bay shows: decided from facts alone.

Pure. Facts are gathered by the caller in one database snapshot; the decision names every reason
against release, so that a person can read what is still missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest.model.evidence import BayState
from bodycam_ingest.model.lifecycle import APART, COPIED, PROVEN, ItemState

if TYPE_CHECKING:
    from collections.abc import Sequence

_FULL: Final = "staging_full"


@dataclass(frozen=True, slots=True)
class Live:
    """What only the docking's own thread knows.

    Files are unsettled that still grow or have not stood still long enough, unclassified where not
    yet compared with the camera's history. `unlisted` is why the camera cannot be listed to its
    end, for people; empty where it can.
    """

    unsettled: int
    unclassified: int
    unlisted: str = ""


@dataclass(frozen=True, slots=True)
class ItemStanding:
    """One item that the docking's inventory names, as release sees it.

    In the entry `confirmed_seq` the last required store confirmed it; it waits on the fault
    `last_error`. Stores `lacking` are required now and do not hold it: they came later, or are
    asked again.
    """

    item_id: str
    state: ItemState
    confirmed_seq: int | None
    last_error: str = ""
    lacking: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DockingFacts:
    """What is known about one docking at one moment.

    It is inventoried where the volume was listed to its end, without a fault, and was still there
    after. Alarms are codes of open ones about it, its items or its camera; every required store
    holds a checkpoint over `anchored_size` entries.
    """

    inventoried: bool
    live: Live
    items: Sequence[ItemStanding]
    alarms: Sequence[str]
    anchored_size: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What the bay shows, whether the camera's copy may go, and why not (or not yet).

    Reasons are for people, most urgent first.
    """

    state: BayState
    release: bool
    reasons: tuple[str, ...]


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _needs_a_person(facts: DockingFacts) -> list[str]:
    reasons = [facts.live.unlisted] if facts.live.unlisted else []
    reasons += [f"alarm: {code}" for code in sorted(set(facts.alarms))]
    apart = sum(item.state in APART for item in facts.items)
    if apart:
        reasons.append(_count(apart, "item is", "items are") + " quarantined or vanished")
    failing = [i for i in facts.items if i.state is ItemState.DISCOVERED and i.last_error]
    for_room = [i for i in failing if i.last_error == _FULL]
    if for_room:
        reasons.append(
            f"staging full: {_count(len(for_room), 'item waits', 'items wait')} for room ({_FULL})"
        )
        failing = [i for i in failing if i.last_error != _FULL]
    if failing:
        codes = ", ".join(sorted({i.last_error for i in failing}))
        reasons.append(_count(len(failing), "item waits", "items wait") + f" on a fault: {codes}")
    return reasons


def _still_reading(facts: DockingFacts) -> list[str]:
    reasons = []
    if not facts.inventoried:
        reasons.append("the camera has not been listed to its end")
    moving = facts.live.unsettled + facts.live.unclassified
    if moving:
        reasons.append(_count(moving, "file is", "files are") + " still growing or not compared")
    uncopied = sum(item.state not in COPIED | APART for item in facts.items)
    if uncopied:
        reasons.append(_count(uncopied, "item is", "items are") + " not yet read and verified")
    return reasons


def _not_in_every_store(facts: DockingFacts) -> list[str]:
    """Stores that came later, or are asked again: what was confirmed once is not so for them."""
    lacking = [item for item in facts.items if item.state in PROVEN and item.lacking]
    purged = [item for item in lacking if item.state is ItemState.PURGED]
    on_their_way = [item for item in lacking if item.state is not ItemState.PURGED]
    reasons = []
    for items, words in ((on_their_way, "not yet in"), (purged, "purged here and never in")):
        if items:
            stores = ", ".join(sorted({store for item in items for store in item.lacking}))
            reasons.append(_count(len(items), "item is", "items are") + f" {words} {stores}")
    return reasons


def _not_yet_proven(facts: DockingFacts) -> list[str]:
    reasons = []
    unproven = sum(item.state in COPIED - PROVEN for item in facts.items)
    if unproven:
        reasons.append(
            _count(unproven, "item is", "items are") + " not yet confirmed by every required store"
        )
    reasons += _not_in_every_store(facts)
    unanchored = sum(
        item.state in PROVEN
        and (item.confirmed_seq is None or item.confirmed_seq >= facts.anchored_size)
        for item in facts.items
    )
    if unanchored:
        reasons.append(
            _count(unanchored, "confirmation is", "confirmations are")
            + " not yet under a checkpoint off this dock"
        )
    return reasons


def decide(facts: DockingFacts) -> Decision:
    """Whether a docking's items may be released, and what its bay shows.

    Release needs: the whole inventory known, nothing moving, every item confirmed by every required
    store, each confirming entry under an anchored checkpoint, no alarm open. Quarantined or
    vanished items hold it up; they need a person.
    """
    attention = _needs_a_person(facts)
    reading = _still_reading(facts)
    pending = _not_yet_proven(facts)
    if attention:
        state = BayState.ATTENTION
    elif reading:
        state = BayState.READING
    elif pending:
        state = BayState.COPIED
    else:
        state = BayState.CONFIRMED
    reasons = (*attention, *reading, *pending)
    return Decision(state=state, release=not reasons, reasons=reasons)
