from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.errors import IllegalTransitionError
from bodycam_ingest.model.lifecycle import (
    ITEM_TRANSITIONS,
    UPLOAD_TRANSITIONS,
    ItemEvent,
    ItemState,
    UploadEvent,
    UploadState,
    advance_item,
    advance_upload,
    mermaid,
)

ILLEGAL_ITEM_STEPS = [
    step
    for step in itertools.product([None, *ItemState], ItemEvent)
    if step not in ITEM_TRANSITIONS
]
ILLEGAL_UPLOAD_STEPS = [
    step for step in itertools.product(UploadState, UploadEvent) if step not in UPLOAD_TRANSITIONS
]


@pytest.mark.parametrize(("state", "event"), ILLEGAL_ITEM_STEPS)
def test_an_illegal_item_step_raises(state, event):
    with pytest.raises(IllegalTransitionError) as caught:
        advance_item(state, event)
    assert event.value in caught.value.message


@pytest.mark.parametrize(("state", "event"), ILLEGAL_UPLOAD_STEPS)
def test_an_illegal_upload_step_raises(state, event):
    with pytest.raises(IllegalTransitionError):
        advance_upload(state, event)


def test_evidence_is_never_purged_before_its_release():
    into_purged = {state for (state, _), to in ITEM_TRANSITIONS.items() if to is ItemState.PURGED}
    into_released = {
        state for (state, _), to in ITEM_TRANSITIONS.items() if to is ItemState.RELEASED
    }
    assert into_purged == {ItemState.RELEASED}
    assert into_released == {ItemState.CONFIRMED}


@given(st.lists(st.sampled_from(ItemEvent), max_size=40))
def test_no_walk_reaches_released_without_every_proof_on_the_way(events):
    state: ItemState | None = None
    proven: set[ItemEvent] = set()
    for event in events:
        try:
            state = advance_item(state, event)
        except IllegalTransitionError:
            continue
        if state is ItemState.DISCOVERED:
            proven.clear()
        proven.add(event)
        if event is ItemEvent.REINSTATED:
            # The copy was read back against its digest anew: that is what `verified` says.
            proven.update({ItemEvent.ACQUIRED, ItemEvent.VERIFIED})
        if state is ItemState.RELEASED:
            assert {ItemEvent.ACQUIRED, ItemEvent.VERIFIED, ItemEvent.CONFIRMED} <= proven


def test_every_state_is_reachable_and_every_event_is_used():
    assert set(ITEM_TRANSITIONS.values()) == set(ItemState)
    assert {event for _, event in ITEM_TRANSITIONS} == set(ItemEvent)
    shown_alone = {UploadState.SENDING, UploadState.WAITING}
    assert set(UPLOAD_TRANSITIONS.values()) == set(UploadState) - shown_alone
    assert {event for _, event in UPLOAD_TRANSITIONS} == set(UploadEvent)


def test_a_refused_upload_is_never_lost():
    assert advance_upload(UploadState.REFUSED, UploadEvent.REPEATED) is UploadState.QUEUED


def test_the_diagram_has_every_step():
    drawn = mermaid(ITEM_TRANSITIONS)
    assert drawn.count("-->") == len(ITEM_TRANSITIONS)
    assert "[*] --> discovered: item.discovered" in drawn
