from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.docking.comparison import (
    candidates,
    files_of,
    gaps,
    hour_shift,
    is_dead_clock,
    resolve,
)
from bodycam_ingest.model.evidence import (
    EntryKind,
    InventoryEntry,
    KnownItem,
    StatSignature,
    Verdict,
)
from bodycam_ingest.model.lifecycle import ItemState

HOUR_NS = 3_600_000_000_000
T0_NS = 1_700_000_000_000_000_000

paths = st.sampled_from([b"A.MP4", b"B.MP4", b"DCIM/A.MP4"])
sizes = st.integers(0, 3)
times = st.sampled_from([T0_NS, T0_NS + HOUR_NS, T0_NS + 1, T0_NS - 2 * HOUR_NS])
digests = st.sampled_from([b"a" * 32, b"b" * 32])
known_items = st.builds(
    KnownItem,
    item_id=st.uuids().map(str),
    path=paths,
    size_bytes=sizes,
    mtime_ns=times,
    state=st.sampled_from(ItemState),
    sample_sha256=st.none() | digests,
)
listings = st.dictionaries(paths, st.tuples(sizes, times), max_size=3)


def entry(path: bytes, size: int = 1, mtime_ns: int = T0_NS) -> InventoryEntry:
    return InventoryEntry(path, EntryKind.FILE, StatSignature(size, mtime_ns, 1, 1))


def known(path: bytes = b"A.MP4", **change: Any) -> KnownItem:
    item = KnownItem("old", path, 1, T0_NS, ItemState.RELEASED, b"a" * 32)
    return item._replace(**change)


def judge(listed, history, samples, shift=0):
    return resolve(candidates(listed, history, shift), samples)


@given(listings, st.lists(known_items, max_size=6), st.dictionaries(paths, digests))
def test_nothing_is_taken_for_known_unless_path_size_time_and_content_all_fit(
    listed, history, samples
):
    entries = [entry(path, size, mtime) for path, (size, mtime) in listed.items()]
    files = files_of(entries)
    shift = hour_shift(files, history)
    by_id = {item.item_id: item for item in history}
    resolved = judge(entries, history, samples, shift)
    judged = [one.entry.path for one in resolved]
    assert len(judged) == len(set(judged))
    for one in resolved:
        if one.verdict is not Verdict.SAME:
            assert one.item_id is None
            continue
        match = by_id[one.item_id]
        assert match.path == one.entry.path
        assert match.size_bytes == one.entry.signature.size_bytes
        assert one.entry.signature.mtime_ns - match.mtime_ns in {0, shift * HOUR_NS}
        assert match.sample_sha256 in {None, samples.get(one.entry.path)}


@given(listings, st.lists(known_items, max_size=6))
def test_a_file_whose_content_could_not_be_looked_at_is_never_judged_known(listed, history):
    entries = [entry(path, size, mtime) for path, (size, mtime) in listed.items()]
    for one in judge(entries, history, samples={}):
        if one.verdict is Verdict.SAME:
            match = next(item for item in history if item.item_id == one.item_id)
            assert match.sample_sha256 is None


def test_the_same_file_is_known_again():
    assert judge([entry(b"A.MP4")], [known()], {b"A.MP4": b"a" * 32})[0].item_id == "old"


def test_a_reused_name_with_equal_size_and_time_but_other_content_is_new():
    found = judge([entry(b"A.MP4")], [known()], {b"A.MP4": b"b" * 32})[0]
    assert (found.verdict, found.item_id) == (Verdict.CHANGED, None)


def test_a_reused_name_with_another_size_is_new_and_needs_no_look():
    found = judge([entry(b"A.MP4", size=2)], [known()], {})[0]
    assert (found.verdict, found.item_id) == (Verdict.CHANGED, None)


def test_the_newest_of_several_items_under_one_name_is_met_again():
    history = [known(item_id="first"), known(item_id="second")]
    assert judge([entry(b"A.MP4")], history, {b"A.MP4": b"a" * 32})[0].item_id == "second"


def test_an_item_that_was_seen_but_never_read_goes_on_under_its_id():
    history = [known(state=ItemState.DISCOVERED, sample_sha256=None)]
    assert judge([entry(b"A.MP4")], history, {})[0].item_id == "old"


def test_daylight_saving_moves_no_file_to_new():
    history = [known(b"A.MP4"), known(b"B.MP4", item_id="b")]
    files = {e.path: e for e in (entry(p, mtime_ns=T0_NS + HOUR_NS) for p in (b"A.MP4", b"B.MP4"))}
    shift = hour_shift(files_of(files.values()), history)
    assert shift == 1
    samples = {b"A.MP4": b"a" * 32, b"B.MP4": b"a" * 32}
    found = judge(list(files.values()), history, samples, shift)
    assert {one.item_id for one in found} == {"old", "b"}


def test_one_file_that_moved_by_an_hour_among_others_that_did_not_is_no_shift():
    history = [known(b"A.MP4"), known(b"B.MP4")]
    signatures = {
        b"A.MP4": StatSignature(1, T0_NS + HOUR_NS, 1, 1),
        b"B.MP4": StatSignature(1, T0_NS, 1, 1),
    }
    assert hour_shift(signatures, history) == 0


def test_a_shift_of_all_files_by_half_an_hour_is_no_shift():
    signatures = {b"A.MP4": StatSignature(1, T0_NS + HOUR_NS // 2, 1, 1)}
    assert hour_shift(signatures, [known()]) == 0


def test_one_file_an_hour_off_is_new_even_if_its_sample_fits():
    found = judge([entry(b"A.MP4", mtime_ns=T0_NS + HOUR_NS)], [known()], {b"A.MP4": b"a" * 32})[0]
    assert (found.verdict, found.item_id) == (Verdict.CHANGED, None)


def test_one_reused_name_hides_no_daylight_saving():
    names = [b"%d.key" % n for n in range(8)]
    history = [known(name) for name in names]
    signatures = {name: StatSignature(1, T0_NS + HOUR_NS, 1, 1) for name in names}
    signatures[names[0]] = StatSignature(1, T0_NS + 12_345, 1, 1)
    assert hour_shift(signatures, history) == 1


def test_an_item_whose_copy_was_lost_is_still_known_by_its_content_alone():
    lost = known(state=ItemState.DISCOVERED, sample_sha256=b"a" * 32)
    assert judge([entry(b"A.MP4")], [lost], {b"A.MP4": b"b" * 32})[0].item_id is None
    assert judge([entry(b"A.MP4")], [lost], {b"A.MP4": b"a" * 32})[0].item_id == "old"


def test_content_that_is_known_goes_before_an_item_that_was_never_read():
    unread = known(item_id="unread", state=ItemState.DISCOVERED, sample_sha256=None)
    samples = {b"A.MP4": b"a" * 32}
    assert judge([entry(b"A.MP4")], [known(), unread], samples)[0].item_id == "old"
    assert judge([entry(b"A.MP4")], [known(sample_sha256=b"b" * 32), unread], samples)[
        0
    ].item_id == ("unread")


numberings = st.sets(st.integers(1, 9999), min_size=1, max_size=30)


def numbers_in(holes):
    return {n for low, high in holes for n in range(low, high + 1)}


@given(numberings, st.sets(st.integers(1, 9999), max_size=30))
def test_no_number_that_was_met_is_told_as_missing(numbers, before):
    assert not numbers_in(gaps(numbers, known=before)) & (numbers | before)


@given(st.integers(1, 9999), st.integers(2, 4000), st.data())
def test_every_number_lost_from_a_count_is_told_across_its_wrap(first, length, data):
    count = [(first + n - 1) % 9999 + 1 for n in range(length)]
    lost = data.draw(st.sets(st.sampled_from(count[1:-1] or [0]), max_size=5)) - {0}
    assert numbers_in(gaps(set(count) - lost)) == lost


def test_a_count_that_is_longer_than_four_digits_never_wraps():
    assert gaps([20240101, 20240103, 20250101]) == [(20240102, 20240102), (20240104, 20250100)]


def test_files_that_were_ingested_and_overwritten_since_leave_no_gap():
    assert gaps([120, 480, 481], known=range(1, 479)) == [(479, 479)]


def test_a_counter_that_wrapped_has_no_gap():
    assert gaps([9998, 9999, 1, 2]) == []
    assert gaps([9997, 9999, 1, 2]) == [(9998, 9998)]
    assert gaps([9997, 9998, 1, 2]) == [(9999, 9999)]
    assert gaps([9990, 9999]) == [(9991, 9998)]


def test_a_dead_or_runaway_camera_clock_is_told_from_a_good_one():
    assert is_dead_clock(0, T0_NS)
    assert is_dead_clock(T0_NS + 25 * HOUR_NS, T0_NS)
    assert not is_dead_clock(T0_NS + 23 * HOUR_NS, T0_NS)
