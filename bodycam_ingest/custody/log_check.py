"""Checks a ledger's rows against its own rules (pure; rows are given, findings are collected).

Every finding is reported, not the first. What was not looked at is never reported as proven.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from bodycam_ingest.custody import checkpoint as checkpoints
from bodycam_ingest.custody.commitment import SALT_BYTES, SealedRow, SealedValues, commitment
from bodycam_ingest.custody.entry import read_value
from bodycam_ingest.custody.merkle import HASH_BYTES, GrowingTree, leaf_hash
from bodycam_ingest.custody.note import NoteError
from bodycam_ingest.errors import LedgerEntryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bodycam_ingest.custody.checkpoint import Checkpoint
    from bodycam_ingest.custody.note import VerifierKey

_ZERO: Final = bytes(HASH_BYTES).hex()
# Levels of full subtrees whose roots are kept beside the entries.
KEPT_LEVELS: Final = (8, 16, 24)
_SMALLEST_KEPT: Final = 1 << KEPT_LEVELS[0]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold.

    Args:
        code: what kind; docs/ledger-format.md lists them.
        message: what was found where, for people.
        seq: the entry's number, None where it is about something else.
        subject: what it is about, empty where that is the log itself.
    """

    code: str
    message: str
    seq: int | None = None
    subject: str = ""

    def as_json(self) -> dict[str, Any]:
        """As `verify --json` prints it."""
        return asdict(self)


class EntryRow(NamedTuple):
    """A row of the entry table as it lies there; all but the body is derived from the body.

    SQLite keeps a value of any kind in any column.
    """

    seq: Any
    body: Any
    leaf_hash: Any
    type: Any
    subject: Any
    t: Any


class Subjects(Protocol):
    """Where each subject stands. Whoever has a log checked keeps it: there may be millions."""

    def swap(self, subject: str, ordinal: int, seq: int) -> tuple[int, int] | None:
        """Take a subject's next entry; returns ordinal and number of the one before, if any."""
        ...


@dataclass(frozen=True, slots=True)
class HeadRow:
    """The head row as stored."""

    size: int
    peaks: bytes
    last: bytes
    checkpoint: str


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """A root that the log's key signed.

    Args:
        source: where the checkpoint was found, for people.
        anchor: it lies off this machine, where whoever has the machine cannot change it.
    """

    source: str
    root: bytes
    anchor: bool


@dataclass(slots=True)
class Expected:
    """What the tree must show at given sizes.

    What grows with the log is read beside it, never kept.

    Args:
        roots: by size, what signed checkpoints name that do not lie in the log's own table.
        nodes: stored subtree roots, by level and index.
        sealed: values kept beside the ledger, by their entry's number, which does not decrease.
    """

    roots: dict[int, list[SignedRoot]] = field(default_factory=dict)
    nodes: Mapping[tuple[int, int], bytes] = field(default_factory=dict)
    sealed: Iterator[SealedRow] = field(default_factory=lambda: iter(()))

    def add_root(self, source: str, found: Checkpoint, *, anchor: bool = False) -> None:
        """Expect a checkpoint's root at its size."""
        self.roots.setdefault(found.size, []).append(SignedRoot(source, found.root, anchor))


class LogChecker:
    """Takes a log's entries in order, and collects what does not hold.

    Args:
        origin: the log's name.
        subjects: empty.
        on_entry: called with the number and the object of each entry that could be parsed.
    """

    def __init__(
        self,
        origin: str,
        expected: Expected,
        subjects: Subjects,
        on_entry: Callable[[int, Mapping[str, Any]], None],
    ) -> None:
        self.findings: list[Finding] = []
        self.tree = GrowingTree()
        self.genesis_vkey = ""
        self._origin = origin
        self._expected = expected
        self._on_entry = on_entry
        self._next = 0
        self._last = _ZERO
        self._last_good_root = 0
        self._last_good_anchor = 0
        self._subjects = subjects
        self._sealed = SealedValues(expected.sealed)
        self._kept_roots: Iterator[tuple[int, SignedRoot | None]] = iter(())
        self._next_kept: tuple[int, SignedRoot | None] | None = None
        # Sizes of `expected.roots` of which the log keeps its checkpoint.
        self._kept: set[int] = set()
        self.signed_size = 0
        self._nodes_seen = 0
        self._boot, self._mono = "", 0

    def expect_kept(self, kept: Iterator[tuple[int, SignedRoot | None]]) -> None:
        """Compare with the checkpoints of the log's own table, too; before the first entry.

        Args:
            kept: by their size, which does not decrease; None in place of a root that is not to be
                compared.
        """
        self._kept_roots = kept
        self._next_kept = next(kept, None)

    def take(self, row: EntryRow) -> None:
        """Check the next row, in the order of their numbers."""
        if type(row.seq) is not int:
            self.findings.append(Finding("entry_malformed", f"{row.seq!r} is no entry's number"))
            return
        if row.seq != self._next:
            self._find(
                "entry_missing",
                f"entries {self._next} to {row.seq - 1} are missing"
                if row.seq > self._next
                else f"entry {row.seq} stands twice",
                row,
            )
        self._next = row.seq + 1
        body = row.body if isinstance(row.body, bytes) else repr(row.body).encode()
        leaf = leaf_hash(body)
        if leaf != row.leaf_hash:
            self._find("entry_altered", "its bytes do not have the hash that was kept", row)
        try:
            value, one_spelling = read_value(body, follows=self._last)
            if not one_spelling:
                self._find("entry_not_canonical", "its bytes are not canonical JSON", row)
        except LedgerEntryError as error:
            self._find("entry_malformed", error.message, row)
        else:
            self._check_entry(row, value)
            self._on_entry(row.seq, value)
        self._last = leaf.hex()
        self._grow(leaf)

    def _find(self, code: str, message: str, row: EntryRow) -> None:
        subject = row.subject if isinstance(row.subject, str) else repr(row.subject)
        self.findings.append(Finding(code, f"entry {row.seq}: {message}", row.seq, subject))

    def _check_entry(self, row: EntryRow, value: Mapping[str, Any]) -> None:
        about, kind, boot, mono = value["subj"], value["type"], value["boot"], value["mono"]
        subject, ordinal = about["id"], about["n"]
        if value["seq"] != row.seq:
            self._find("entry_moved", f"it says that it is entry {value['seq']}", row)
        if value["log"] != self._origin:
            self._find("entry_foreign", f"it belongs to {value['log']!r}", row)
        if value["prev"] != self._last:
            self._find("link_broken", "it does not follow the entry before it", row)
        if (kind, subject, value["t"]) != (row.type, row.subject, row.t):
            self._find("column_differs", "type, subject or time beside it differ from it", row)
        before = self._subjects.swap(subject, ordinal, row.seq)
        wanted = (before[0] + 1, before[1]) if before else (0, None)
        if (ordinal, about["prev"]) != wanted:
            self._find("subject_broken", f"{subject} has a gap or a strange entry", row)
        if boot == self._boot and mono < self._mono:
            self._find("clock_ran_back", "the time since boot ran back", row)
        self._boot, self._mono = boot, mono
        data = value["data"]
        if row.seq == 0:
            self.genesis_vkey = str(data.get("vkey", ""))
            if kind != "log.genesis":
                self._find("genesis_missing", "the log does not begin with log.genesis", row)
        if sealed := data.get("sealed"):
            self._check_sealed(row, sealed)

    def _check_sealed(self, row: EntryRow, sealed: Mapping[str, str]) -> None:
        values = self._sealed.of(row.seq)
        for name, committed in sealed.items():
            kept = values.get(name)
            self._sealed.name(name)
            if kept is None:
                self._find("private_erased", f"the sealed value {name} was erased", row)
            elif len(kept[0]) != SALT_BYTES or commitment(name, *kept) != committed:
                self._find("private_altered", f"the sealed value {name} was altered", row)

    def _grow(self, leaf: bytes) -> None:
        tree = self.tree
        tree.append(leaf)
        if not tree.size % _SMALLEST_KEPT:
            self._check_nodes()
        size = tree.size
        for covered, signed in self._kept_up_to(size):
            if covered == size:
                self._compare_root(signed)
        for signed in self._expected.roots.get(size, ()):
            self._compare_root(signed)

    def _kept_up_to(self, size: float) -> Iterator[tuple[int, SignedRoot]]:
        """The next checkpoints of the log's own table that are to be compared."""
        while self._next_kept is not None and self._next_kept[0] <= size:
            covered, signed = self._next_kept
            if covered in self._expected.roots:
                self._kept.add(covered)
            self._next_kept = next(self._kept_roots, None)
            if signed is not None:
                yield covered, signed

    def _check_nodes(self) -> None:
        """Compare the subtrees of kept levels that became full with the last entry."""
        for level in KEPT_LEVELS:
            leaves = 1 << level
            if self.tree.size % leaves:
                return
            index = self.tree.size // leaves - 1
            kept = self._expected.nodes.get((level, index))
            if kept is None:
                told = f"subtree {index} of level {level} is not kept"
                self.findings.append(Finding("node_missing", told))
                continue
            self._nodes_seen += 1
            if kept != self.tree.filled(level):
                told = f"subtree {index} of level {level} has another root"
                self.findings.append(Finding("node_differs", told))

    def _compare_root(self, signed: SignedRoot) -> None:
        size = self.signed_size = self.tree.size
        if signed.root == self.tree.root():
            self._last_good_root = size
            if signed.anchor:
                self._last_good_anchor = size
            return
        # Whoever has the key signs every checkpoint on this machine anew: only the anchors tell
        # from where on an anchor is contradicted.
        good = self._last_good_anchor if signed.anchor else self._last_good_root
        where = "the last good anchor" if signed.anchor else "the last good checkpoint"
        self.findings.append(
            Finding(
                "root_mismatch",
                f"{signed.source} at size {size} names another root: what differs lies between "
                f"entry {min(good, size - 1)} and {size - 1} ({where} covers {good})",
                size - 1,
            )
        )

    # -- at the end --

    def finish(self, head: HeadRow | None, signed: Checkpoint | None) -> None:
        """Compare with the head row, and with what was expected beyond the last entry.

        Args:
            head: the head row, None when it is gone.
            signed: the head row's checkpoint where the log's key signed it.
        """
        size = self.tree.size
        if head is None:
            self.findings.append(Finding("head_missing", "the head row is missing"))
        elif wrong := self._head_faults(head):
            told = f"the head row differs from the {size} entries in: {', '.join(wrong)}"
            self.findings.append(Finding("head_differs", told))
        elif signed is not None and signed.size != size:
            self.findings.append(
                Finding("head_differs", f"the head's checkpoint covers {signed.size} of {size}")
            )
        for covered, kept in self._kept_up_to(math.inf):
            self._check_covered(kept, covered)
        for expected_size, roots in self._expected.roots.items():
            for signed_root in roots:
                self._check_kept(signed_root, expected_size)
        self._sealed.finish()
        for seq, name in self._sealed.planted:
            self.findings.append(
                Finding("private_planted", f"a value {name} is kept for entry {seq}", seq)
            )
        if self._nodes_seen != len(self._expected.nodes):
            self.findings.append(Finding("node_planted", "subtree roots are kept for no subtree"))
        if not size:
            self.findings.append(Finding("genesis_missing", "the log is empty"))

    def _head_faults(self, head: HeadRow) -> list[str]:
        size = self.tree.size
        wrong = [] if head.size == size else [f"size ({head.size!r:.40})"]
        wrong += [] if head.peaks == self.tree.peaks().encode() else ["peaks"]
        return wrong + ([] if head.last.hex() == self._last else ["last"])

    def _check_kept(self, signed: SignedRoot, covered: int) -> None:
        if self._check_covered(signed, covered) and covered not in self._kept:
            told = f"{signed.source} is of {covered} entries, and the log keeps none of that size"
            self.findings.append(Finding("checkpoint_missing", told))

    def _check_covered(self, signed: SignedRoot, covered: int) -> bool:
        size = self.tree.size
        if covered <= size:
            return True
        told = f"{signed.source} covers {covered} entries, there are {size}"
        if signed.anchor:
            told += ": the ledger is older than what it made"
        self.findings.append(Finding("rolled_back", told))
        return False

    def check_signature(self, source: str, note: str, verifier: VerifierKey) -> Checkpoint | None:
        """The checkpoint in a note, None and a finding where the log's key did not sign it."""
        try:
            return checkpoints.verified(note, verifier, self._origin)
        except NoteError as error:
            self.findings.append(Finding("signature_bad", f"{source}: {error}"))
            return None
