"""What `--json` promises (docs/json.md): the same everywhere, whatever a command hands over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodycam_ingest.cli import jsonform, output
from bodycam_ingest.model.evidence import encode_path

WORD = st.text(st.characters(categories=["Ll"]), min_size=1, max_size=5)
LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.binary(max_size=5)
)
TREE = st.recursive(
    LEAF, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(WORD, inner))
)


def leaves(value):
    if isinstance(value, dict):
        for inner in value.values():
            yield from leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def test_each_object_carries_the_schema_number(capsys):
    output.emit_json({"a": 1})
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "a": 1}
    output.emit_json([{"a": 1}, {"a": 2}])
    assert json.loads(capsys.readouterr().out) == [{"schema": 1, "a": 1}, {"schema": 1, "a": 2}]
    output.emit_json([])
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.long
@settings(deadline=None)
@given(st.dictionaries(WORD, TREE))
def test_no_reader_gets_a_number_that_it_rounds_or_an_empty_text(value):
    told = json.loads(json.dumps(jsonform.document(value)))
    for leaf in leaves(told):
        assert leaf != ""
        if isinstance(leaf, int):
            assert abs(leaf) <= 2**53


@pytest.mark.parametrize("given_ns", [1_795_000_000_123_456_789, 7, 0])
def test_a_key_keeps_its_type_whatever_its_figure(given_ns):
    value = jsonform.document({"mtime_ns": given_ns, "size_bytes": 7})
    assert value == {"schema": 1, "mtime_ns": str(given_ns), "size_bytes": 7}


@pytest.mark.parametrize(
    ("due_ms", "told"),
    [
        (1_795_544_324_000, "2026-11-24T18:18:44.000Z"),
        (0, None),
        (None, None),
        (-5, None),
        (2**62, "9999-12-31T23:59:59.000Z"),
    ],
)
def test_times_are_text_in_utc(due_ms, told):
    assert jsonform.document({"due_ms": due_ms}) == {"schema": 1, "due_at": told}


def test_a_store_may_be_called_as_it_likes():
    value = {"stores": {"x_ms": {"state": "queued"}, "y_ns": {"state": ""}}}
    assert jsonform.document(value)["stores"] == {
        "x_ms": {"state": "queued"},
        "y_ns": {"state": None},
    }


def test_paths_and_the_ledgers_own_words():
    entries = [{"t": "", "seq": 2**60}]
    value = {"path": b"a\xff", "staged": Path("/x"), "entries": jsonform.Verbatim(entries)}
    assert jsonform.document(value) == {
        "schema": 1,
        "path": encode_path(b"a\xff"),
        "staged": "/x",
        "entries": entries,
    }
