"""Whom an item waits for: the stores of now decide, never an upload's own row."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.model.store_set import Reached, StoreSet

NAMES = ("a", "b", "c", "d", "e")
ROLES = st.fixed_dictionaries(
    {name: st.sampled_from(["required", "left", "passed", "unknown"]) for name in NAMES}
)
UPLOADS = st.dictionaries(
    st.sampled_from(NAMES), st.builds(Reached, there=st.booleans(), required=st.booleans())
)


def made(roles: dict[str, str]) -> StoreSet:
    def named(role: str) -> frozenset[str]:
        return frozenset(name for name, given_role in roles.items() if given_role == role)

    return StoreSet(named("required"), named("left"), named("passed"))


@given(ROLES, UPLOADS)
def test_each_store_is_waited_for_by_what_it_is_now(roles, uploads):
    missing = made(roles).missing(uploads)
    for name, role in roles.items():
        upload = uploads.get(name)
        there = upload is not None and upload.there
        expected = {
            # Also where it was never queued: it came later, and has nothing.
            "required": not there,
            # Only what had been queued for it.
            "left": upload is not None and not there,
            "passed": False,
            # Never noted: a database of before; its rows say who was required.
            "unknown": upload is not None and upload.required and not there,
        }[role]
        assert (name in missing) is expected, (name, role)


@given(ROLES, UPLOADS, st.sampled_from(NAMES))
def test_the_store_that_gets_there_now_is_left_out_alone(roles, uploads, name):
    stores = made(roles)
    assert stores.missing(uploads, but=name) == [
        other for other in stores.missing(uploads) if other != name
    ]


@given(ROLES, UPLOADS)
def test_retiring_a_store_never_makes_an_item_wait_for_more(roles, uploads):
    retired = {name: "passed" if role == "left" else role for name, role in roles.items()}
    before, after = made(roles).missing(uploads), made(retired).missing(uploads)
    assert set(after) <= set(before)
    assert not set(after) & {name for name, role in roles.items() if role == "left"}


def test_a_row_makes_no_known_store_required():
    row = {"a": Reached(there=False, required=True)}
    assert StoreSet(passed=frozenset("a")).missing(row) == []
    assert not StoreSet(passed=frozenset("a")).is_required("a", row_required=True)
    assert StoreSet(required=frozenset("a")).is_required("a", row_required=False)
