"""Which stores an item waits for, whatever the set of stores was before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.model.rows import OPTIONAL, REQUIRED, Store
from bodycam_ingest.model.store_set import store_set

NAMES = ["a", "b", "c"]
STORES = st.lists(
    st.builds(
        Store,
        st.sampled_from(NAMES),
        role=st.sampled_from(["", REQUIRED, OPTIONAL]),
        left_at=st.sampled_from(["", "t"]),
        retired_at=st.sampled_from(["", "t"]),
    ),
    unique_by=lambda row: row.store,
)
REACHED = st.dictionaries(st.sampled_from(NAMES), st.booleans())


@given(STORES, REACHED)
def test_a_required_store_is_waited_for_until_it_is_there(stores, reached):
    waits = store_set(stores).waits_for(reached)
    for row in stores:
        if row.role == REQUIRED and row.configured:
            assert (row.store in waits) == (not reached.get(row.store, False))


@given(STORES, REACHED)
def test_one_that_left_is_waited_for_where_it_was_queued_until_it_is_retired(stores, reached):
    waits = store_set(stores).waits_for(reached)
    for row in stores:
        if row.role == REQUIRED and not row.configured:
            queued = not row.retired_at and row.store in reached
            assert (row.store in waits) == (queued and not reached[row.store])


@given(STORES, REACHED)
def test_nobody_waits_for_any_other(stores, reached):
    others = {row.store for row in stores if row.role != REQUIRED} | (
        set(NAMES) - {row.store for row in stores}
    )
    assert not others & set(store_set(stores).waits_for(reached))


@given(STORES, REACHED, st.sampled_from(NAMES))
def test_the_one_that_gets_there_now_is_left_out_and_no_other(stores, reached, name):
    made = store_set(stores)
    assert made.waits_for(reached, but=name) == [
        one for one in made.waits_for(reached) if one != name
    ]


@given(STORES, REACHED, st.sampled_from(NAMES))
def test_retiring_a_store_only_ever_takes_a_wait_away(stores, reached, name):
    retired = [
        row._replace(left_at="t", retired_at="t") if row.store == name else row for row in stores
    ]
    before, after = (store_set(one).waits_for(reached) for one in (stores, retired))
    assert set(after) == set(before) - {name}
