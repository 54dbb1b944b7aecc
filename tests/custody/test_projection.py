"""Rows are made of entries alone: the way of a recording, and what entries must not say."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bodycam_ingest.custody import entries, item_entries
from bodycam_ingest.custody.entries import Draft
from bodycam_ingest.custody.projection import Fact, Projected, project
from bodycam_ingest.model import rows, subjects
from bodycam_ingest.model.evidence import (
    Acquired,
    Confirmation,
    Digests,
    EntryKind,
    InventoryEntry,
    ProofKind,
    StatSignature,
    StoredObject,
)
from bodycam_ingest.model.lifecycle import ItemState, UploadState
from bodycam_ingest.model.store_set import StoreSet, store_set

ITEM = "01J00000000000000000000AAA"
DOCKING = rows.Docking("01J00000000000000000000DCK", "X81", "1", "", b"/x", "t")
SHA = bytes(range(32))
DIGESTS = Digests(3, SHA, 1024, bytes(32))


class Rows:
    """The state in dictionaries; every entry gets the next number."""

    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}
        self.documents: dict[str, bytes] = {}
        self.seq = 0

    def get(self, kind: Any, *key: Any) -> Any:
        return self.kept.get((kind, *key))

    def prefetch(self, kind: Any, keys: Any) -> None:
        """All is at hand."""

    def stores(self) -> dict[str, rows.Store]:
        return {row.store: row for row in self.kept.values() if isinstance(row, rows.Store)}

    def store_set(self) -> StoreSet:
        return store_set(self.stores().values())

    def document(self, sha256: str) -> bytes | None:
        return self.documents.get(sha256)

    def judge(self, draft: Draft) -> Projected:
        """What the next entry would do."""
        fact = Fact(
            seq=self.seq,
            t=f"2026-03-14T09:26:{self.seq:02d}.000Z",
            boot="b",
            mono=self.seq,
            type=draft.type,
            subject=draft.subject,
            first=False,
            data=dict(draft.data),
        )
        return project(self, fact)

    def take(self, *drafts: Draft) -> None:
        for draft in drafts:
            made, faults = self.judge(draft)
            assert faults == []
            self.seq += 1
            for row in made:
                self.kept[type(row), *row[: rows.KEY_FIELDS[type(row)]]] = row

    @property
    def item(self) -> rows.Item:
        row = self.kept[rows.Item, ITEM]
        assert isinstance(row, rows.Item)
        return row

    def upload(self, store: str) -> Any:
        return self.kept.get((rows.Upload, ITEM, store))


def store(name: str, what: str = "added", **more: Any) -> Draft:
    data = {"store": name, "type": "directory", "required": True, "returned": False, **more}
    return Draft(f"store.{what}", subjects.store(name), data)


def discovered() -> Draft:
    entry = InventoryEntry(b"A.MP4", EntryKind.FILE, StatSignature(3, 7, 1, 1))
    return item_entries.discovered(
        ITEM, DOCKING, entry, recorded_at="", officer="", verdict="new", reason=""
    )


def acquired(digests: Digests = DIGESTS) -> Draft:
    return item_entries.acquired(ITEM, Acquired(ITEM, digests, "d/x"), recovered=False)


def verified(sha256: bytes = SHA) -> Draft:
    return item_entries.verified(ITEM, sha256=sha256, read_back="direct")


def confirmed(name: str, *outstanding: str, required: bool = True, sha256: bytes = SHA) -> Draft:
    proof = Confirmation(StoredObject("k", "v1", "e"), ProofKind.READ_BACK, "c")
    waits = (required, outstanding)
    return item_entries.confirmed(ITEM, name, proof, sha256=sha256, waits=waits)


def stored(name: str, *outstanding: str) -> Draft:
    got = StoredObject("k", "v1", "e")
    return item_entries.stored(ITEM, name, got, sha256=SHA, waits=(True, outstanding))


def released(*, docked: bool = False) -> Draft:
    return item_entries.released(
        ITEM, docking_id=DOCKING.docking_id, docked=docked, dock_ms=5, policy="keep"
    )


@pytest.fixture
def state() -> Rows:
    made = Rows()
    made.take(store("main"), store("mirror"), store("extra", required=False))
    made.kept[rows.Docking, DOCKING.docking_id] = DOCKING
    return made


def test_the_way_of_a_recording(state):
    state.take(discovered(), acquired(), verified())
    assert (state.item.state, state.item.sha256, state.item.staged_path) == ("verified", SHA, "d/x")
    assert {
        name: state.upload(name).state for name in ("main", "mirror", "extra")
    } == dict.fromkeys(("main", "mirror", "extra"), UploadState.QUEUED)
    state.take(stored("main", "mirror"))
    assert state.item.state is ItemState.VERIFIED
    state.take(confirmed("main", "mirror"))
    assert (state.item.state, state.item.confirmed_seq) == (ItemState.VERIFIED, None)
    state.take(confirmed("mirror"))
    assert (state.item.state, state.item.confirmed_seq) == (ItemState.CONFIRMED, state.seq - 1)
    state.take(released(docked=True))
    assert state.item.released_dock_ms == 5
    assert state.get(rows.Docking, DOCKING.docking_id).released_at == state.item.released_at
    state.take(item_entries.purging(ITEM, "d/x"), item_entries.purged(ITEM, "d/x"))
    assert (state.item.state, state.item.staged_path) == (ItemState.PURGED, "")


def test_who_is_required_is_never_believed_of_the_entry(state):
    state.take(discovered(), acquired(), verified())
    for lie in (
        confirmed("main"),
        confirmed("main", "mirror", required=False),
        confirmed("main", "extra", "mirror"),
        stored("main"),
    ):
        assert [fault.code for fault in state.judge(lie).faults] == ["history_illegal"]


def test_a_store_that_was_taken_out_is_waited_for_until_it_is_retired(state):
    state.take(discovered(), acquired(), verified())
    state.take(store("mirror", "removed", items=1, bytes="3"))
    assert state.judge(confirmed("main")).faults
    state.take(confirmed("main", "mirror"))
    state.take(store("mirror", "retired", reason="gone", items=1, bytes="3"))
    state.take(confirmed("main"))
    assert state.item.state is ItemState.CONFIRMED


def test_a_store_asked_again_is_waited_for_again(state):
    state.take(discovered(), acquired(), verified(), confirmed("main", "mirror"))
    state.take(item_entries.upload_repeated(ITEM, "main", "store_lost"))
    assert state.upload("main") == rows.Upload(ITEM, "main", UploadState.QUEUED)
    assert state.judge(confirmed("mirror")).faults
    state.take(confirmed("mirror", "main"), confirmed("main"))
    assert state.item.state is ItemState.CONFIRMED


def test_read_anew_every_store_is_asked_again(state):
    state.take(discovered(), acquired(), verified(), confirmed("main", "mirror"))
    state.take(item_entries.quarantined(ITEM, reason="x"))
    assert state.item.quarantine_reason == "x"
    other = dataclasses.replace(DIGESTS, sha256=bytes(32))
    state.take(item_entries.requeued(ITEM, reason="y"))
    assert (state.item.state, state.item.staged_path) == (ItemState.DISCOVERED, "")
    state.take(acquired(other), verified(bytes(32)))
    assert {state.upload(name).state for name in ("main", "mirror")} == {UploadState.QUEUED}


def test_a_store_that_came_later_is_queued_by_name(state):
    state.take(discovered(), acquired(), verified(), store("later"))
    assert state.upload("later") is None
    state.take(item_entries.backfilled("later", [ITEM]))
    assert state.upload("later").state is UploadState.QUEUED


@pytest.mark.parametrize(
    ("before", "draft", "code"),
    [
        ([], acquired(), "history_illegal"),
        ([discovered()], discovered(), "history_illegal"),
        ([discovered()], verified(), "history_illegal"),
        ([discovered()], released(), "history_illegal"),
        ([discovered(), acquired()], verified(bytes(32)), "digest_changed"),
        ([discovered(), acquired()], confirmed("main", "mirror"), "history_illegal"),
        (
            [discovered(), acquired(), verified()],
            confirmed("main", "mirror", sha256=bytes(32)),
            "digest_changed",
        ),
        ([discovered(), acquired(), verified()], released(), "history_illegal"),
        ([discovered(), acquired(), verified()], confirmed("nobody"), "history_illegal"),
        ([discovered()], item_entries.purging(ITEM, "x"), "history_illegal"),
        ([discovered()], item_entries.backfilled("main", [ITEM]), "history_illegal"),
        ([], entries.finding_closed("F", code="c", about=subjects.DAEMON), "history_illegal"),
        ([], Draft("item.discovered", subjects.item(ITEM), {"mtime_ns": "x"}), "entry_malformed"),
        ([], Draft("finding.raised", subjects.finding("F"), {}), "entry_malformed"),
    ],
)
def test_what_the_entries_before_do_not_allow(state, before, draft, code):
    state.take(*before)
    assert [fault.code for fault in state.judge(draft).faults] == [code]


def test_a_type_of_a_later_version_changes_nothing(state):
    assert state.judge(Draft("later.thing", subjects.LOG, {})) == Projected([], [])
