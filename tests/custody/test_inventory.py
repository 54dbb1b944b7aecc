"""Inventories as documents: canonical lines in the order of their paths, read back the same."""

from __future__ import annotations

import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.custody import inventory
from bodycam_ingest.custody.inventory import Line
from bodycam_ingest.model.evidence import EntryKind, Verdict

TEXT = st.text(st.characters(codec=None))
LINES = st.builds(
    Line,
    path=st.binary(min_size=1, max_size=40) | TEXT.map(lambda t: t.encode("utf-8", "ignore")),
    kind=st.sampled_from(EntryKind),
    size_bytes=st.none() | st.integers(0, 2**70),
    mtime_ns=st.none() | st.integers(-(2**63), 2**63 - 1),
    verdict=st.sampled_from(Verdict),
    item_id=st.none() | st.just("01J00000000000000000000AAA"),
    detail=TEXT,
)


@given(st.lists(LINES, unique_by=lambda line: line.path))
def test_a_document_is_canonical_and_tells_every_line(lines):
    body = inventory.document(lines)
    assert inventory.lines_of(body) == [inventory.fields(line) for line in sorted(lines)]
    canonical = [rfc8785.dumps(inventory.fields(line)) + b"\n" for line in sorted(lines)]
    assert body == b"".join(canonical)


def line(path, verdict=Verdict.SAME, item_id="01J00000000000000000000AAA"):
    return Line(path, EntryKind.FILE, 3, 9, verdict, item_id)


def test_what_lies_there_is_told_without_what_is_missing_or_left_out():
    lines = [
        line(b"a"),
        line(b"b", Verdict.MISSING, "01J00000000000000000000BBB"),
        line(b"c", Verdict.IGNORED, None),
    ]
    assert list(inventory.seen(inventory.document(lines))) == [("01J00000000000000000000AAA", 9)]
