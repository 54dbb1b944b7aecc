"""The Merkle tree against the recursion that RFC 6962 states, and proofs that must not hold."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodycam_ingest.custody.merkle import (
    EMPTY_ROOT,
    Peaks,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    peaks_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([number])) for number in range(80)]
SIZES = range(1, 41)


@functools.cache
def naive(start, end):
    """MTH as RFC 6962 section 2.1 words it; shares nothing with the code under test."""
    count = end - start
    if count == 1:
        return LEAVES[start]
    half = 1
    while half * 2 < count:
        half *= 2
    return node_hash(naive(start, start + half), naive(start + half, end))


def test_roots():
    assert peaks_of([]).root() == EMPTY_ROOT
    peaks = Peaks()
    for size in range(1, 81):
        peaks = peaks.append(LEAVES[size - 1])
        assert peaks.size == size
        assert peaks.root() == naive(0, size)
        assert Peaks.decode(size, peaks.encode()) == peaks


@given(st.integers(0, 80), st.data())
def test_a_tree_grown_from_whole_subtrees_is_the_same(size, data):
    peaks = Peaks()
    while peaks.size < size:
        levels = [
            level
            for level in range(7)
            if peaks.size % (1 << level) == 0 and peaks.size + (1 << level) <= size
        ]
        level = data.draw(st.sampled_from(levels))
        peaks, made = peaks.grow(naive(peaks.size, peaks.size + (1 << level)), level)
        for full, index, value in made:
            assert value == naive(index << full, (index + 1) << full)
    assert peaks == peaks_of(LEAVES[:size])


def test_a_subtree_begins_only_where_one_can():
    with pytest.raises(ValueError, match="level 1"):
        peaks_of(LEAVES[:3]).grow(LEAVES[0], 1)


@pytest.mark.parametrize(
    ("size", "joined"), [(1, b""), (0, bytes(32)), (3, bytes(32)), (1, bytes(31))]
)
def test_peaks_that_do_not_make_the_tree_are_refused(size, joined):
    with pytest.raises(ValueError):
        Peaks.decode(size, joined)


def test_every_inclusion_proof_holds_and_no_other_leaf_or_place():
    for size in SIZES:
        for index in range(size):
            proof = inclusion_proof(index, size, naive)
            root = naive(0, size)
            assert verify_inclusion(LEAVES[index], index, size, proof, root)
            other = (index + 1) % size
            if other != index:
                assert not verify_inclusion(LEAVES[other], index, size, proof, root)
                assert not verify_inclusion(LEAVES[index], other, size, proof, root)
            assert not verify_inclusion(LEAVES[index], index, size, [*proof, root], root)
            assert not verify_inclusion(LEAVES[index], index, size, proof[:-1], root) or size == 1


def test_every_consistency_proof_holds_and_no_other_tree():
    for size in SIZES:
        for old in range(1, size + 1):
            proof = consistency_proof(old, size, naive)
            assert verify_consistency(old, naive(0, old), size, naive(0, size), proof)
            forged = node_hash(naive(0, old), b"")
            assert not verify_consistency(old, forged, size, naive(0, size), proof)
            assert not verify_consistency(old, naive(0, old), size, forged, proof)
            if old != size:
                assert not verify_consistency(old, naive(0, old), size, naive(0, size), proof[:-1])
            assert not verify_consistency(
                old, naive(0, old), size, naive(0, size), [*proof, naive(0, 1)]
            )


@settings(max_examples=300)
@given(st.data())
def test_a_proof_with_one_bit_changed_does_not_hold(data):
    size = data.draw(st.integers(2, 40))
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(1, size - 1))
    there = list(inclusion_proof(index, size, naive))
    grown = list(consistency_proof(old, size, naive))
    for proof in (there, grown):
        step = data.draw(st.integers(0, len(proof) - 1))
        bit = data.draw(st.integers(0, 255))
        raw = bytearray(proof[step])
        raw[bit // 8] ^= 1 << bit % 8
        proof[step] = bytes(raw)
    assert not verify_inclusion(LEAVES[index], index, size, there, naive(0, size))
    assert not verify_consistency(old, naive(0, old), size, naive(0, size), grown)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 3), (5, 3)])
def test_no_such_leaf(index, size):
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_proof(index, size, naive)
    assert not verify_inclusion(LEAVES[0], index, size, [], naive(0, 1))


@pytest.mark.parametrize(("old", "size"), [(0, 3), (4, 3), (-1, 3)])
def test_no_such_extension(old, size):
    with pytest.raises(ValueError, match="extend"):
        consistency_proof(old, size, naive)
    assert not verify_consistency(old, EMPTY_ROOT, size, naive(0, 3), [])
