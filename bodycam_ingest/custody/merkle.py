"""The Merkle tree of RFC 6962, section 2.1, with SHA-256 (pure).

`Peaks` is the compact range: the roots of the full subtrees that make up a tree, largest first.
It is all that appending needs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(body: bytes) -> bytes:
    """SHA-256(0x00 || body)."""
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Peaks:
    """A tree of `size` leaves: a root for each bit set in it, the largest full subtree first."""

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if len(self.hashes) != self.size.bit_count():
            raise ValueError(f"{len(self.hashes)} peaks do not make a tree of {self.size}")

    def append(self, leaf: bytes) -> Peaks:
        """The tree with one more leaf hash."""
        return self.grow(leaf)[0]

    def grow(self, value: bytes, level: int = 0) -> tuple[Peaks, list[tuple[int, int, bytes]]]:
        """The tree with one more leaf, by its hash, or one more full subtree of 2**level leaves.

        Returns:
            The tree, and the subtrees that became full as (level, index, root), smallest first.

        Raises:
            ValueError: a full subtree of that level cannot begin here.
        """
        if self.size & ((1 << level) - 1):
            raise ValueError(f"no subtree of level {level} begins at leaf {self.size}")
        size = self.size + (1 << level)
        hashes = list(self.hashes)
        made = [(level, (size >> level) - 1, value)]
        while self.size >> level & 1:
            value = node_hash(hashes.pop(), value)
            level += 1
            made.append((level, (size >> level) - 1, value))
        return Peaks(size, (*hashes, value)), made

    def root(self) -> bytes:
        """The tree's root (MTH of RFC 6962); the digest of nothing for an empty tree."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for peak in reversed(self.hashes[:-1]):
            root = node_hash(peak, root)
        return root

    def encode(self) -> bytes:
        """The hashes joined, as the database keeps them."""
        return b"".join(self.hashes)

    @classmethod
    def decode(cls, size: int, joined: bytes) -> Peaks:
        """The peaks that `encode` wrote.

        Raises:
            ValueError: they do not make a tree of `size`.
        """
        if len(joined) % HASH_BYTES:
            raise ValueError("peaks are cut short")
        hashes = (joined[i : i + HASH_BYTES] for i in range(0, len(joined), HASH_BYTES))
        return cls(size, tuple(hashes))


class GrowingTree:
    """A tree that whoever checks a whole log grows leaf by leaf. One thread has it."""

    def __init__(self) -> None:
        self.size = 0
        self._hashes: list[bytes] = []
        self._filled: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """Add a leaf by its hash."""
        value, hashes, level_size = leaf, self._hashes, self.size
        self._filled = filled = [leaf]
        while level_size & 1:
            value = node_hash(hashes.pop(), value)
            filled.append(value)
            level_size >>= 1
        hashes.append(value)
        self.size += 1

    def filled(self, level: int) -> bytes:
        """Root of the subtree of 2**level leaves that became full with the last leaf.

        Raises:
            IndexError: none did.
        """
        return self._filled[level]

    def peaks(self) -> Peaks:
        """The tree as it is now."""
        return Peaks(self.size, tuple(self._hashes))

    def root(self) -> bytes:
        """The root as it is now."""
        return self.peaks().root()


def peaks_of(leaves: Iterable[bytes]) -> Peaks:
    """The tree over leaf hashes."""
    peaks = Peaks()
    for leaf in leaves:
        peaks = peaks.append(leaf)
    return peaks


def _split(size: int) -> int:
    """The largest power of two below `size` (k of RFC 6962)."""
    return 1 << ((size - 1).bit_length() - 1)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, by the recursion that RFC 6962 states."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return node_hash(root_of(leaves[:k]), root_of(leaves[k:]))


def inclusion_proof(
    index: int, size: int, subtree: Callable[[int, int], bytes]
) -> tuple[bytes, ...]:
    """The audit path of one leaf (RFC 6962, 2.1.1).

    Args:
        index: the leaf, below `size`.
        size: leaves in the tree.
        subtree: root of the leaves from `start` up to, not including, `end`.

    Raises:
        ValueError: the leaf is not in the tree.
    """
    if not 0 <= index < size:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        k = _split(end - start)
        if index < start + k:
            path.append(subtree(start + k, end))
            end = start + k
        else:
            path.append(subtree(start, start + k))
            start += k
    return tuple(reversed(path))


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Whether a proof shows that `leaf` is leaf `index` of the tree with that root."""
    if not 0 <= index < size:
        return False
    turns: list[bool] = []
    start, end = 0, size
    while end - start > 1:
        k = _split(end - start)
        on_left = index < start + k
        turns.append(on_left)
        start, end = (start, start + k) if on_left else (start + k, end)
    if len(turns) != len(proof):
        return False
    found = leaf
    for on_left, other in zip(reversed(turns), proof, strict=True):
        found = node_hash(found, other) if on_left else node_hash(other, found)
    return found == root


def consistency_proof(
    old_size: int, size: int, subtree: Callable[[int, int], bytes]
) -> tuple[bytes, ...]:
    """The proof that one tree extends another (RFC 6962, 2.1.2).

    Args:
        old_size: leaves of the older tree, 1 to `size`.
        size: leaves of the newer tree.
        subtree: as for `inclusion_proof`.

    Raises:
        ValueError: `old_size` is not in that range.
    """
    if not 0 < old_size <= size:
        raise ValueError(f"a tree of {size} does not extend one of {old_size}")
    if old_size == size:
        return ()
    path: list[bytes] = []
    start, end, whole = 0, size, True
    while old_size != end:
        k = _split(end - start)
        if old_size <= start + k:
            path.append(subtree(start + k, end))
            end = start + k
        else:
            path.append(subtree(start, start + k))
            start += k
            whole = False
    if not whole:
        path.append(subtree(start, end))
    return tuple(reversed(path))


def verify_consistency(
    old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether a proof shows that the newer tree extends the older (RFC 9162, 2.1.4.2)."""
    if old_size == size:
        return not proof and old_root == root
    if not 0 < old_size < size or not proof:
        return False
    rest = list(proof)
    if old_size & (old_size - 1) == 0:
        rest.insert(0, old_root)
    fn, sn = old_size - 1, size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    old_found = new_found = rest[0]
    for other in rest[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            old_found = node_hash(other, old_found)
            new_found = node_hash(other, new_found)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            new_found = node_hash(new_found, other)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and old_found == old_root and new_found == root
