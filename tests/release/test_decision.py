from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.model.evidence import BayState
from bodycam_ingest.model.lifecycle import ItemState
from bodycam_ingest.release.decision import DockingFacts, ItemStanding, Live, decide

PROVEN = {ItemState.CONFIRMED, ItemState.RELEASED, ItemState.PURGED}
CLEAR = DockingFacts(
    inventoried=True,
    live=Live(unsettled=0, unclassified=0),
    items=[ItemStanding("A", ItemState.CONFIRMED, confirmed_seq=7)],
    alarms=[],
    anchored_size=8,
)

standings = st.builds(
    ItemStanding,
    item_id=st.text("ABC", min_size=1, max_size=3),
    state=st.sampled_from(ItemState),
    confirmed_seq=st.none() | st.integers(0, 20),
    last_error=st.sampled_from(["", "source_unreadable"]),
)
all_facts = st.builds(
    DockingFacts,
    inventoried=st.booleans(),
    live=st.builds(Live, unsettled=st.integers(0, 2), unclassified=st.integers(0, 2)),
    items=st.lists(standings, max_size=6),
    alarms=st.lists(st.sampled_from(["item_vanished", "source_unreadable"]), max_size=2),
    anchored_size=st.integers(0, 20),
)


@given(all_facts)
def test_nothing_is_released_unless_every_single_condition_holds(facts):
    decision = decide(facts)
    may_go = (
        facts.inventoried
        and facts.live.unsettled == 0
        and facts.live.unclassified == 0
        and not facts.alarms
        and all(
            item.state in PROVEN
            and item.confirmed_seq is not None
            and item.confirmed_seq < facts.anchored_size
            for item in facts.items
        )
    )
    assert decision.release == may_go
    assert decision.release == (not decision.reasons)
    assert decision.release == (decision.state is BayState.CONFIRMED)


@given(all_facts)
def test_the_camera_may_be_taken_only_when_all_of_it_was_read_and_verified(facts):
    if decide(facts).state not in {BayState.COPIED, BayState.CONFIRMED}:
        return
    assert facts.inventoried
    assert facts.live.unsettled == facts.live.unclassified == 0
    assert not {item.state for item in facts.items} & {
        ItemState.DISCOVERED,
        ItemState.ACQUIRED,
        ItemState.QUARANTINED,
        ItemState.VANISHED,
    }


def test_an_empty_camera_is_released():
    assert decide(dataclasses.replace(CLEAR, items=[])).release


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"inventoried": False}, BayState.READING),
        ({"live": Live(1, 0)}, BayState.READING),
        ({"live": Live(0, 1)}, BayState.READING),
        ({"items": [ItemStanding("A", ItemState.ACQUIRED, None)]}, BayState.READING),
        ({"items": [ItemStanding("A", ItemState.VERIFIED, None)]}, BayState.COPIED),
        ({"items": [ItemStanding("A", ItemState.STORED, None)]}, BayState.COPIED),
        ({"anchored_size": 7}, BayState.COPIED),
        ({"alarms": ["item_vanished"]}, BayState.ATTENTION),
        ({"items": [ItemStanding("A", ItemState.QUARANTINED, 7)]}, BayState.ATTENTION),
        ({"items": [ItemStanding("A", ItemState.DISCOVERED, None, "eio")]}, BayState.ATTENTION),
    ],
)
def test_each_single_lack_holds_the_camera_and_says_so(change, state):
    assert decide(CLEAR).release
    decision = decide(dataclasses.replace(CLEAR, **change))
    assert (decision.release, decision.state) == (False, state)
    assert len(decision.reasons) >= 1
