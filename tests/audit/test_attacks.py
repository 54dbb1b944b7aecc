"""What somebody with the dock's disk can do to the record, and what `verify` says of it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
import threading
import zlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bodycam_ingest.custody import checkpoint, entries, item_entries
from bodycam_ingest.custody.checkpoint import Checkpoint
from bodycam_ingest.custody.entries import Draft
from bodycam_ingest.custody.merkle import Peaks, leaf_hash, peaks_of
from bodycam_ingest.custody.note import Signer
from bodycam_ingest.custody.projection import Projected, project
from bodycam_ingest.db import ledger, views
from bodycam_ingest.db.engine import temporary_fault
from bodycam_ingest.db.guards import GUARDS
from bodycam_ingest.db.reading import open_for_reading
from bodycam_ingest.db.state_dir import initialise
from bodycam_ingest.db.subjects import Subjects
from bodycam_ingest.linux import clock
from bodycam_ingest.stores.directory import DirectoryStore, prepare
from tests.support import facts
from tests.support.dockbench import digests_of
from tests.support.goldendock import (
    BODIES,
    CONFIRMED,
    DISCOVERED,
    DOCKING,
    KEYS,
    RELEASED,
    VERIFIED,
    Dock,
    anchor,
)
from tests.support.ledgers import ORIGIN, shell, sql
from tests.support.patching import fail
from tests.support.plants import PLANTS

# Each works on a copy of a whole dock.
pytestmark = pytest.mark.long

# -- nothing was done ----------------------------------------------------------------------------


def test_what_nobody_touched_holds(dock):
    report = dock.verify(files=True, stores=True)
    assert (report.result(), report.findings, report.unreachable) == ("holds", [], [])
    assert report.checked == {
        "entries": dock.size(),
        "items": 4,
        "files": 3,
        "objects": 2,
        "checkpoints": report.checked["checkpoints"],
        "anchors": 5,
    }


def test_an_auditor_who_is_not_the_daemons_user_gets_the_same_answer(dock, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert dock.verify(files=True).result() == "holds"


def test_it_works_beside_the_writer(dock):
    with dock.open() as (_, ledger):
        with ledger.transaction() as txn:
            txn.append("daemon.started", "daemon", {})
        assert dock.codes() == set()


# -- entries -------------------------------------------------------------------------------------


def edited(body, **fields):
    value = json.loads(body)
    value.update(fields)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


TARGET = 9
REST = "body, leaf_hash, type, subject, t"


def set_body(seq, body, leaf=None):
    if leaf is None:
        return ("UPDATE ledger_entry SET body = ? WHERE seq = ?", body, seq)
    return ("UPDATE ledger_entry SET body = ?, leaf_hash = ? WHERE seq = ?", body, leaf, seq)


def findings_of(dock, code):
    return [finding.seq for finding in dock.verify().findings if finding.code == code]


def test_a_body_edited(dock):
    dock.sql(set_body(TARGET, edited(dock.bodies()[TARGET], data={})))
    assert findings_of(dock, "entry_altered") == [TARGET]
    assert findings_of(dock, "link_broken") == [TARGET + 1]
    assert "root_mismatch" in dock.codes()


def test_a_body_edited_and_its_hash_mended(dock):
    body = edited(dock.bodies()[TARGET], data={})
    dock.sql(set_body(TARGET, body, leaf_hash(body)))
    assert findings_of(dock, "entry_altered") == []
    assert findings_of(dock, "link_broken") == [TARGET + 1]
    mismatches = [f for f in dock.verify().findings if f.code == "root_mismatch"]
    # The first checkpoint over it fails, the one before it holds: that is the range.
    sizes = sorted(size for (size,) in dock.rows("SELECT size FROM ledger_checkpoint"))
    good = max(size for size in sizes if size <= TARGET)
    bad = min(size for size in sizes if size > TARGET)
    assert f"between entry {good} and {bad - 1}" in mismatches[0].message


def rewritten(dock, start, bodies, signer=None):
    """All that one can recompute, from entry `start` on; signed only where a key is given."""
    old = dock.bodies()[:start]
    leaves = [leaf_hash(body) for body in old]
    done = []
    for seq, body in enumerate(bodies, start):
        fixed = edited(body, seq=seq, prev=leaves[-1].hex() if leaves else "0" * 64)
        leaves.append(leaf_hash(fixed))
        done.append(fixed)
    statements = [("DELETE FROM ledger_entry WHERE seq >= ?", start), ("DELETE FROM ledger_node",)]
    last = {}
    for seq, body in enumerate(old):
        value = json.loads(body)["subj"]
        last[value["id"]] = (value["n"], seq)
    for seq, body in enumerate(done, start):
        value = json.loads(body)
        assert last.get(value["subj"]["id"], (-1, None)) == (
            value["subj"]["n"] - 1,
            value["subj"]["prev"],
        )
        last[value["subj"]["id"]] = (value["subj"]["n"], seq)
        row = (1, seq, body, leaves[seq], value["type"], value["subj"]["id"], value["t"])
        statements.append(("INSERT INTO ledger_entry VALUES (?,?,?,?,?,?,?)", *row))
    peaks = Peaks()
    for leaf in leaves:
        peaks, made = peaks.grow(leaf)
        for level, index, value in made:
            if level in {8, 16, 24}:
                statements.append(("INSERT INTO ledger_node VALUES (1,?,?,?)", level, index, value))
    statements.append(
        (
            "UPDATE ledger_head SET size = ?, peaks = ?, last = ?",
            peaks.size,
            peaks.encode(),
            leaves[-1],
        )
    )
    if signer is not None:
        statements += resigned(dock, leaves, signer)
    return statements


def resigned(dock, leaves, signer):
    """Every checkpoint made anew, the state file's as well."""

    def note(size):
        return checkpoint.sign(Checkpoint(ORIGIN, size, peaks_of(leaves[:size]).root()), [signer])

    (dock.state / "checkpoint").write_text(note(len(leaves)), encoding="utf-8")
    sizes = [size for (size,) in dock.rows("SELECT size FROM ledger_checkpoint")]
    return [
        *(
            ("UPDATE ledger_checkpoint SET note = ? WHERE size = ?", note(s), s)
            for s in sizes
            if s <= len(leaves)
        ),
        ("DELETE FROM ledger_checkpoint WHERE size > ?", len(leaves)),
        ("UPDATE ledger_head SET checkpoint = ?", note(len(leaves))),
    ]


def test_everything_recomputed_but_no_key(dock):
    bodies = dock.bodies()[TARGET:]
    bodies[0] = edited(bodies[0], boot="another")
    dock.sql(*rewritten(dock, TARGET, bodies))
    assert dock.codes() == {"root_mismatch"}


def test_everything_rewritten_and_signed_with_the_stolen_key(dock):
    bodies = dock.bodies()[TARGET:]
    bodies[0] = edited(bodies[0], boot="another")
    dock.sql(*rewritten(dock, TARGET, bodies, dock.signer()))
    # Not claimed: the machine alone cannot tell. What was anchored elsewhere can.
    assert dock.codes() == set()
    mismatches = [f for f in dock.verify(stores=True).findings if f.code == "root_mismatch"]
    # All checkpoints of the machine are good again: the range ends at the last good *anchor*.
    covered = [int(path.name) for path in anchors(dock)]
    good = max(size for size in covered if size <= TARGET)
    bad = min(size for size in covered if size > TARGET)
    assert f"between entry {good} and {bad - 1} (the last good anchor" in mismatches[0].message


def test_a_row_deleted(dock):
    dock.sql(("DELETE FROM ledger_entry WHERE seq = ?", TARGET))
    assert findings_of(dock, "entry_missing") == [TARGET + 1]


def test_rows_deleted_at_the_start(dock):
    dock.sql(("DELETE FROM ledger_entry WHERE seq < 5",))
    assert {"entry_missing", "key_replaced"} <= dock.codes()


def test_a_row_deleted_and_the_rest_renumbered(dock):
    dock.sql(
        ("DELETE FROM ledger_entry WHERE seq = ?", TARGET),
        ("UPDATE ledger_entry SET seq = -seq WHERE seq > ?", TARGET),
        ("UPDATE ledger_entry SET seq = -seq - 1 WHERE seq < 0",),
    )
    assert findings_of(dock, "entry_moved")[0] == TARGET
    assert findings_of(dock, "link_broken") == [TARGET]


def test_rows_swapped(dock):
    dock.sql(
        ("UPDATE ledger_entry SET seq = -1 WHERE seq = ?", TARGET),
        ("UPDATE ledger_entry SET seq = ? WHERE seq = ?", TARGET, TARGET + 1),
        ("UPDATE ledger_entry SET seq = ? WHERE seq = -1", TARGET + 1),
    )
    assert findings_of(dock, "entry_moved") == [TARGET, TARGET + 1]


def test_a_row_inserted(dock):
    dock.sql(
        ("UPDATE ledger_entry SET seq = -seq - 1 WHERE seq >= ?", TARGET),
        ("UPDATE ledger_entry SET seq = -seq WHERE seq < 0",),
        (
            f"INSERT INTO ledger_entry SELECT log_id, ?, {REST} FROM ledger_entry WHERE seq = ?",
            TARGET,
            TARGET - 1,
        ),
    )
    assert findings_of(dock, "entry_moved")[0] == TARGET
    assert TARGET in findings_of(dock, "link_broken")
    assert TARGET in findings_of(dock, "subject_broken")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("body", "text"),
        ("body", 5),
        ("body", b""),
        ("leaf_hash", "text"),
        ("leaf_hash", 32),
        ("seq", "x"),
        ("t", b"x"),
        ("type", 1.5),
    ],
)
def test_a_value_of_another_kind_is_a_finding_and_no_crash(dock, column, value):
    dock.sql((f"UPDATE ledger_entry SET {column} = ? WHERE seq = ?", value, TARGET))
    assert dock.verify().result() == "broken"


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda _: b"{}", "entry_malformed"),
        (lambda body: body.replace(b'"v":2', b'"v": 2'), "entry_not_canonical"),
        (lambda body: edited(body, log="pd.example/custody/dock-2"), "entry_foreign"),
        # What breaks a rule though its form is right.
        (lambda body: edited(body, actor={"kind": "root", "id": "x"}), "entry_malformed"),
        (lambda body: edited(body, t="2026-02-30T00:00:00.000Z"), "entry_malformed"),
        (lambda body: edited(body, t="9999-99-99T99:99:99.999Z"), "entry_malformed"),
        (lambda body: edited(body, log="pd.example/custody/dock 1"), "entry_malformed"),
        (lambda body: edited(body, log="pd.example/custody/dock+1"), "entry_malformed"),
    ],
    ids=[
        "no entry",
        "a second spelling",
        "of another dock",
        "no such actor",
        "no such day",
        "no such time",
        "a blank in the log's name",
        "a plus in the log's name",
    ],
)
def test_an_entry_that_is_none_of_ours_though_its_hash_fits(dock, spoil, code):
    body = spoil(dock.bodies()[TARGET])
    dock.sql(set_body(TARGET, body, leaf_hash(body)))
    assert findings_of(dock, code) == [TARGET]


ALTERED = {
    "a kept hash": (
        "UPDATE ledger_entry SET leaf_hash = zeroblob(32) WHERE seq = 9",
        "entry_altered",
    ),
    "a derived type": (
        "UPDATE ledger_entry SET type = 'item.released' WHERE seq = 9",
        "column_differs",
    ),
    "a derived subject": (
        "UPDATE ledger_entry SET subject = 'item.released' WHERE seq = 9",
        "column_differs",
    ),
    "a derived time": (
        "UPDATE ledger_entry SET t = 'item.released' WHERE seq = 9",
        "column_differs",
    ),
    "subtree hashes": ("UPDATE ledger_node SET hash = zeroblob(32) WHERE idx = 0", "node_differs"),
    "a subtree hash removed": ("DELETE FROM ledger_node WHERE idx = 0", "node_missing"),
    "the head removed": ("DELETE FROM ledger_head", "head_missing"),
    "the head's checkpoint is an older one": (
        "UPDATE ledger_head SET checkpoint = (SELECT note FROM ledger_checkpoint LIMIT 1)",
        "head_differs",
    ),
    # The log keeps none of the size under which it lay any more.
    "a note kept under another size": (
        "UPDATE ledger_checkpoint SET size = 1000 WHERE size = 11",
        "checkpoint_moved checkpoint_missing",
    ),
    "a signed checkpoint without its row": (
        "DELETE FROM ledger_checkpoint WHERE size = (SELECT max(size) FROM ledger_checkpoint)",
        "checkpoint_missing",
    ),
    # Every row of the ledger refers to it.
    "the log's row removed": ("DELETE FROM ledger_log", "log_missing database_damaged"),
    "a trigger planted": (
        "CREATE TRIGGER x AFTER INSERT ON item BEGIN DELETE FROM upload; END",
        "trigger_planted",
    ),
    "a document that no entry names": (
        "INSERT INTO document VALUES (zeroblob(32), x'00')",
        "document_planted",
    ),
    "a sealed value altered": ("UPDATE ledger_private SET value = 'Max M.'", "private_altered"),
    "a sealed value erased": ("DELETE FROM ledger_private", "private_erased"),
    "a sealed value planted": (
        "INSERT INTO ledger_private VALUES (1, 0, 'officer', zeroblob(32), 'x')",
        "private_planted",
    ),
    "a state that there is none of": (
        f"UPDATE item SET state = 'gone' WHERE item_id = '{VERIFIED}'",
        "row_differs",
    ),
    "a digest where nothing was read": (
        f"UPDATE item SET sha256 = zeroblob(32) WHERE item_id = '{DISCOVERED}'",
        "row_differs",
    ),
    "an item's row removed": (f"DELETE FROM item WHERE item_id = '{DISCOVERED}'", "row_missing"),
    "an upload marked confirmed": (
        f"UPDATE upload SET state = 'confirmed' WHERE item_id = '{VERIFIED}'",
        "row_differs",
    ),
}


@pytest.mark.parametrize(("statement", "codes"), ALTERED.values(), ids=ALTERED)
def test_one_statement_is_exactly_these_findings(dock, statement, codes):
    dock.sql((statement,))
    assert dock.codes() == set(codes.split())


def test_rows_of_another_dock_beside_ours(dock):
    dock.sql(
        ("INSERT INTO ledger_log VALUES (2, 'pd.example/custody/dock-2', 'x')",),
        (f"INSERT INTO ledger_entry SELECT 2, seq, {REST} FROM ledger_entry WHERE seq = 0",),
    )
    assert dock.codes() == {"entry_foreign"}


# -- tree, head, checkpoints ---------------------------------------------------------------------


@pytest.mark.parametrize("place", [(8, 70), (7, 0), (16, 0)])
def test_a_subtree_hash_planted(dock, place):
    dock.sql(("INSERT INTO ledger_node VALUES (1, ?, ?, zeroblob(32))", *place))
    assert dock.codes() <= {"node_planted", "node_differs"}
    assert dock.verify().result() == "broken"


@pytest.mark.parametrize(
    "change", ["size = size - 1", "peaks = x''", "peaks = 'x'", "last = zeroblob(32)", "size = 'x'"]
)
def test_the_head_changed(dock, change):
    dock.sql((f"UPDATE ledger_head SET {change}",))
    assert dock.codes() - {"database_damaged"} == {"head_differs"}
    (finding,) = [found for found in dock.verify().findings if found.code == "head_differs"]
    assert (
        finding.message.endswith(f"entries in: {change.split()[0]}") or "size (" in finding.message
    )


@pytest.mark.parametrize("value", ["", "x", b"x", 5])
def test_the_heads_checkpoint_is_none(dock, value):
    dock.sql(("UPDATE ledger_head SET checkpoint = ?", value))
    assert dock.codes() - {"database_damaged"} == {"signature_bad"}


def test_an_unsigned_tail(dock):
    last = dock.bodies()[-1]
    value = json.loads(last)["subj"]
    more = edited(
        last,
        type="test.more",
        subj={"id": value["id"], "n": value["n"] + 1, "prev": dock.size() - 1},
    )
    dock.sql(*rewritten(dock, dock.size(), [more]))
    assert dock.codes() == {"unsigned_tail", "head_differs"}


def cut_back(dock, size):
    bodies = dock.bodies()[:size]
    old = dock.rows(f"SELECT note FROM ledger_checkpoint WHERE size = {size}")[0][0]
    dock.sql(
        *rewritten(dock, size - 1, bodies[-1:]),
        ("UPDATE ledger_head SET checkpoint = ?", old),
        ("DELETE FROM ledger_checkpoint WHERE size > ?", size),
        ("DELETE FROM ledger_private WHERE seq >= ?", size),
        ("UPDATE finding SET closed_at = NULL",),
    )
    return old


def test_cut_back_to_an_older_genuine_checkpoint(dock):
    old = cut_back(dock, dock.size() - 7)
    assert dock.codes() == {"rolled_back"}
    (dock.state / "checkpoint").write_text(old, encoding="utf-8")
    # Not claimed: without the state file and without an anchor beyond it, this is a shorter log.
    assert dock.codes(stores=True) == set()


def test_cut_back_behind_an_anchor(dock):
    sizes = [size for (size,) in dock.rows("SELECT size FROM ledger_checkpoint ORDER BY size")]
    old = cut_back(dock, sizes[-3])
    (dock.state / "checkpoint").write_text(old, encoding="utf-8")
    assert "rolled_back" in dock.codes(stores=True)


def forged(dock, root=bytes(32), size=None):
    signer = Signer(ORIGIN, Ed25519PrivateKey.generate())
    return checkpoint.sign(Checkpoint(ORIGIN, size or dock.size(), root), [signer])


def test_a_forged_note(dock):
    dock.sql(("UPDATE ledger_checkpoint SET note = ? WHERE size = 11", forged(dock)))
    assert dock.codes() == {"signature_bad"}


def test_a_forged_state_file(dock):
    (dock.state / "checkpoint").write_text(forged(dock), encoding="utf-8")
    assert dock.codes() == {"signature_bad"}


@pytest.mark.parametrize("junk", [b"", b"\xff\xff", b"x\n"])
def test_a_state_file_that_says_nothing(dock, junk):
    (dock.state / "checkpoint").write_bytes(junk)
    assert dock.verify().result() == "broken"


def test_the_state_file_removed(dock):
    (dock.state / "checkpoint").unlink()
    assert dock.codes() == {"state_file_missing"}


def test_the_key_on_disk_replaced(dock):
    shutil.copytree(dock.state, dock.root / "other")
    (dock.state / "keys/log.key").unlink()
    initialise(dock.root / "fresh", ORIGIN)
    shutil.copy2(dock.root / "fresh/keys/log.key", dock.state / "keys/log.key")
    assert dock.codes() == {"key_replaced"}


def test_key_and_signatures_replaced_but_not_the_genesis(dock):
    signer = Signer(ORIGIN, Ed25519PrivateKey.generate())
    leaves = [leaf_hash(body) for body in dock.bodies()]
    dock.sql(
        *resigned(dock, leaves, signer),
        ("UPDATE ledger_log SET vkey = ?", signer.verifier().vkey()),
    )
    assert dock.codes() == {"key_replaced"}


def test_the_private_key_need_not_be_readable(dock):
    shutil.rmtree(dock.state / "keys")
    report = dock.verify()
    assert (report.result(), report.findings) == ("unchecked", [])


def test_the_log_is_another(dock):
    dock.sql(("UPDATE ledger_log SET origin = 'pd.example/custody/dock-2'",))
    assert "log_foreign" in dock.codes()


@pytest.mark.parametrize("name", sorted(GUARDS))
def test_a_guard_dropped(dock, name):
    sql(dock.state, f"DROP TRIGGER {name}")
    (finding,) = dock.verify().findings
    assert finding.code == "guard_missing"
    assert name in finding.message


def test_a_guard_that_guards_nothing(dock):
    create = GUARDS["guard_ledger_entry_update"].replace("BEGIN", "WHEN 0 BEGIN")
    dock.sql(
        *((text,) for name, text in GUARDS.items() if name != "guard_ledger_entry_update"),
        (create,),
        guards=False,
    )
    assert dock.codes() == {"guard_missing"}


def test_a_database_that_is_damaged_is_broken_not_a_crash(dock):
    path = dock.state / "bodycam.db"
    raw = bytearray(path.read_bytes())
    raw[4096 * 3 : -4096] = os.urandom(len(raw[4096 * 3 : -4096]))
    path.write_bytes(raw)
    assert dock.codes() & {"database_damaged"}


# -- the schema ----------------------------------------------------------------------------------


def told(dock, code, **how):
    return [finding.message for finding in dock.verify(**how).findings if finding.code == code]


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (["CREATE INDEX planted ON item (state)"], "the index planted is none of ours"),
        (["CREATE TABLE planted (x)"], "the table planted is none of ours"),
        (["CREATE VIEW planted AS SELECT 1"], "the view planted is none of ours"),
        (["DROP INDEX ix_upload_store"], "the index ix_upload_store is missing"),
        (
            [
                "DROP INDEX ix_upload_store",
                "CREATE INDEX ix_upload_store ON upload (store, state) WHERE store > 'a'",
            ],
            "the index ix_upload_store is not as",
        ),
        (
            ["DROP INDEX ix_item_sha256", "CREATE INDEX ix_item_sha256 ON item (lower(sha256))"],
            "the index ix_item_sha256 is not as",
        ),
        (["ALTER TABLE item ADD COLUMN planted TEXT"], "the column item.planted is none of ours"),
        (
            ["ALTER TABLE item DROP COLUMN quarantine_reason"],
            "the column item.quarantine_reason is missing",
        ),
        (["DROP TABLE dock_fact"], "the table dock_fact is missing"),
        (
            ["DROP TABLE dock_fact", "CREATE VIEW dock_fact AS SELECT 'x' AS name, 'y' AS value"],
            "dock_fact is a view, not a table",
        ),
        (
            ["DROP TABLE dock_fact", "CREATE TABLE dock_fact (name TEXT, value TEXT)"],
            "the column dock_fact.name is not as",
        ),
    ],
)
def test_a_schema_that_is_not_ours(dock, statements, words):
    dock.sql(*((statement,) for statement in statements))
    assert any(message.startswith(words) for message in told(dock, "schema_differs"))


def test_an_index_made_to_hide_an_item_hides_it_from_nobody(dock):
    """The items' own key looks into pages that leave one of them out."""
    key = "sqlite_autoindex_item_1"
    query = f"SELECT name, rootpage FROM sqlite_master WHERE name IN ('other', '{key}')"
    with shell(dock.state) as raw:
        raw.execute(f"CREATE INDEX other ON item (item_id) WHERE item_id <> '{CONFIRMED}'")
        pages = dict(raw.execute(query))
        raw.execute("PRAGMA writable_schema = ON")
        for name, page in ((key, pages["other"]), ("other", pages[key])):
            raw.execute("UPDATE sqlite_master SET rootpage = ? WHERE name = ?", [page, name])
    assert (CONFIRMED,) not in dock.rows("SELECT item_id FROM item ORDER BY item_id")
    dock.staged(CONFIRMED).unlink()
    dock.object(KEYS[CONFIRMED]).unlink()
    report = dock.verify(files=True, stores=True)
    assert report.checked["items"] == len(BODIES)
    codes = {finding.code for finding in report.findings}
    assert {"file_missing", "object_missing", "database_damaged", "schema_differs"} <= codes


def test_an_entry_hidden_from_the_index_of_subjects(dock):
    name = "ix_ledger_entry_subject"
    with shell(dock.state) as raw:
        (text,) = raw.execute("SELECT sql FROM sqlite_master WHERE name = ?", [name]).fetchone()
        raw.execute(f"DROP INDEX {name}")
        raw.execute(f"CREATE INDEX {name} ON ledger_entry (log_id, subject, seq) WHERE seq <> 9")
        raw.execute("PRAGMA writable_schema = ON")
        raw.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", [text, name])
    assert any("index" in message for message in told(dock, "database_damaged"))


def test_a_row_that_refers_to_nothing(dock):
    dock.sql(("UPDATE upload SET item_id = 'nothing' WHERE item_id = ?", VERIFIED))
    assert any("refers to no row of item" in message for message in told(dock, "database_damaged"))


# -- documents -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        ("DELETE FROM document",),
        ("UPDATE document SET body = x'00'",),
        ("UPDATE document SET body = 'text'",),
        ("UPDATE document SET body = ?", zlib.compress(b"another inventory\n")),
    ],
)
def test_a_document_that_an_entry_names_is_gone_or_another(dock, statement):
    dock.sql(statement)
    assert "document_missing" in dock.codes()
    assert any("the inventory " in message for message in told(dock, "document_missing"))


def test_an_anchor_without_its_row(dock):
    (size, *_) = sorted(int(path.name) for path in anchors(dock))
    dock.sql(("DELETE FROM ledger_checkpoint WHERE size = ?", size))
    assert dock.codes() == set()
    assert dock.codes(stores=True) == {"checkpoint_missing"}


# -- the machine in the middle of it -------------------------------------------------------------


def test_a_temporary_file_without_room_accuses_nobody(dock, monkeypatch):
    full = temporary_fault(sqlite3.OperationalError("database or disk is full"))
    fail(monkeypatch, Subjects, "swap", full, lambda *place: place[-1] == 5)
    report = dock.verify(files=True, stores=True)
    assert report.result() == "unchecked", report
    assert {what.partition(":")[0] for what in report.unreachable} >= {
        "the ledger",
        "the projected rows",
        "staged files",
    }
    assert all("SQLITE_TMPDIR" in what for what in report.unreachable)


# -- sealed values -------------------------------------------------------------------------------


def test_an_officer_whose_name_was_erased_is_shown_nowhere(dock):
    def officers():
        engine = open_for_reading(dock.state)
        with engine.connect() as conn:
            found = [camera["officer"] for camera in views.list_cameras(conn)]
        engine.dispose()
        return found

    assert officers() == ["Erika M."]
    dock.sql(("DELETE FROM ledger_private",))
    assert officers() == [""]


# -- states against the ledger -------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "state = 'released'",
        "sha256 = zeroblob(32)",
        "sha256 = NULL",
        "staged_path = ''",
        "size_bytes = 1",
        "confirmed_seq = 3",
    ],
)
def test_an_items_row_changed(dock, change):
    dock.sql((f"UPDATE item SET {change} WHERE item_id = ?", VERIFIED))
    (finding,) = dock.verify().findings
    assert (finding.code, finding.subject) == ("row_differs", f"item:{VERIFIED}")


@pytest.mark.parametrize("path", ["../../etc/passwd", "x", "\0", f"{DOCKING}/other"])
def test_a_staged_path_altered_is_one_finding(dock, path):
    dock.sql(("UPDATE item SET staged_path = ? WHERE item_id = ?", path, VERIFIED))
    assert dock.codes(files=True) == {"row_differs"}


def test_an_items_row_planted(dock):
    columns = ", ".join(
        row[1] for row in dock.rows("PRAGMA table_info(item)") if row[1] != "item_id"
    )
    dock.sql(
        (f"INSERT INTO item (item_id, {columns}) SELECT 'planted', {columns} FROM item LIMIT 1",)
    )
    assert "row_planted" in dock.codes()


def append(dock, *drafts):
    with dock.open() as (_, ledger), ledger.transaction() as txn:
        for draft in drafts:
            txn.add(Draft(*draft))


@pytest.fixture
def lying(monkeypatch):
    """A writer that records what the entries before do not allow."""

    def lie(rows, fact):
        return Projected(project(rows, fact).rows, [])

    monkeypatch.setattr(ledger, "project", lie)


RELEASE = {"docking_id": DOCKING, "docked": False, "dock_ms": 1, "policy": "keep"}
STORED = {
    "store": "main",
    "required": True,
    "key": "k",
    "version_id": "",
    "etag": "",
    "outstanding": [],
    "proof": "read_back",
    "checksum": "",
}


@pytest.mark.usefixtures("lying")
@pytest.mark.parametrize(
    ("kind", "item", "data", "code"),
    [
        ("item.released", VERIFIED, RELEASE, "history_illegal"),
        ("item.confirmed", DISCOVERED, {**STORED, "sha256": "0" * 64}, "history_illegal"),
        ("item.stored", VERIFIED, {**STORED, "sha256": "0" * 64}, "digest_changed"),
        ("item.confirmed", VERIFIED, {**STORED, "required": False}, "history_illegal"),
        ("item.confirmed", VERIFIED, {**STORED, "outstanding": ["x"]}, "history_illegal"),
        ("item.purging", VERIFIED, {"staged": "x"}, "history_illegal"),
        ("item.acquired", VERIFIED, {}, "history_illegal"),
        ("item.stored", VERIFIED, {}, "entry_malformed"),
    ],
)
def test_a_daemon_that_lies_is_told_by_its_own_entries(dock, kind, item, data, code):
    if code == "history_illegal" and kind == "item.confirmed":
        data = {**data, "sha256": digests_of(BODIES[item], 1024).sha256.hex()}
    append(dock, (kind, f"item:{item}", data))
    assert {finding.code for finding in dock.verify().findings if finding.seq} == {code}


def test_a_store_that_confirms_again_moves_nothing(dock):
    with dock.open() as (_, opened), opened.transaction() as txn:
        txn.add(item_entries.upload_repeated(RELEASED, "main", "by_request"))
        facts.confirm(txn, RELEASED, "main")
    assert dock.codes() == set()


def test_a_clock_that_ran_back(dock, monkeypatch):
    reading = clock.read()
    append(dock, ("daemon.started", "daemon", {}))
    past = dataclasses.replace(reading, boottime_ms=reading.boottime_ms - 60_000)
    monkeypatch.setattr(clock, "read", lambda: past)
    append(dock, ("daemon.started", "daemon", {}))
    assert dock.codes() == {"clock_ran_back"}


# -- staged files --------------------------------------------------------------------------------


def test_one_bit_of_a_staged_file_with_its_times_kept(dock):
    path = dock.staged(VERIFIED)
    before = path.stat()
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    path.chmod(0o600)
    path.write_bytes(raw)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert dock.codes() == set()
    (finding,) = dock.verify(files=True).findings
    assert (finding.code, finding.subject) == ("file_altered", f"item:{VERIFIED}")


@pytest.mark.parametrize("change", ["cut", "grown", "empty", "swapped"])
def test_a_staged_file_changed(dock, change):
    path, other = dock.staged(VERIFIED), dock.staged(CONFIRMED)
    raw = path.read_bytes()
    new = {"cut": raw[:-1], "grown": raw + b"x", "empty": b"", "swapped": other.read_bytes()}
    path.write_bytes(new[change])
    assert dock.codes(files=True) == {"file_altered"}


def test_a_staged_file_replaced_by_a_link_to_a_good_copy(dock, tmp_path):
    path = dock.staged(VERIFIED)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    (finding,) = dock.verify(files=True).findings
    assert (finding.code, finding.subject) == ("file_altered", f"item:{VERIFIED}")
    assert "a link, no regular file" in finding.message


@pytest.mark.parametrize(
    "lose",
    [
        lambda dock: dock.staged(VERIFIED).unlink(),
        lambda dock: shutil.rmtree(dock.staging / DOCKING),
    ],
    ids=["file", "directory"],
)
def test_a_staged_copy_removed(dock, lose):
    lose(dock)
    assert dock.codes(files=True) == {"file_missing"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (os.mkfifo, "a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "a link"),
        (os.mkdir, "a directory"),
        (lambda path: os.mknod(path, 0o020600, os.makedev(1, 5)), "a device"),
    ],
)
def test_what_lies_in_a_staged_files_place_is_not_opened(dock, make, words):
    if words == "a device" and os.geteuid() != 0:
        pytest.skip("expected: only root makes devices")
    path = dock.staged(VERIFIED)
    path.unlink()
    make(path)
    (finding,) = [f for f in dock.verify(files=True).findings if f.code != "file_planted"]
    assert finding.code == "file_altered"
    assert words in finding.message


def test_a_hole_in_a_staged_files_place_is_not_read(dock):
    path = dock.staged(VERIFIED)
    path.chmod(0o600)
    os.truncate(path, 50 * 1000**3)
    (finding,) = dock.verify(files=True).findings
    assert (finding.code, "50000000000 bytes" in finding.message) == ("file_altered", True)


def test_staging_gone(dock):
    dock.staging.rename(dock.root / "aside")
    assert dock.verify(files=True).result() != "holds"


@pytest.mark.parametrize(
    "name", [f"{DOCKING}/planted", "other/planted", "planted", f"{DOCKING}/.hidden"]
)
def test_a_file_planted(dock, name):
    path = dock.staging / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    assert dock.codes(files=True) == {"file_planted"}


# -- stores --------------------------------------------------------------------------------------


def test_a_stored_object_altered(dock):
    path = dock.object(KEYS[CONFIRMED])
    raw = bytearray(path.read_bytes())
    raw[7] ^= 1
    path.chmod(0o600)
    path.write_bytes(raw)
    assert dock.codes(files=True) == set()
    assert dock.codes(stores=True) == {"object_altered"}


def test_a_stored_object_removed(dock):
    dock.object(KEYS[CONFIRMED]).unlink()
    assert dock.codes(stores=True) == {"object_missing"}


def test_a_store_that_is_away_is_not_a_finding(dock):
    (dock.root / "store").rename(dock.root / "away")
    report = dock.verify(stores=True)
    assert (report.result(), report.findings) == ("unchecked", [])
    assert report.checked["objects"] == 0


class Hanging:
    """A store that does not answer for some keys, as a pipe in place of an object does."""

    def __init__(self, store, hangs):
        self.name, self._store, self._hangs = store.name, store, hangs
        self.asked = []
        self.end = threading.Event()

    def __getattr__(self, name):
        act = getattr(self._store, name)

        def call(first, *rest):
            key = getattr(first, "key", first)
            self.asked.append((name, key))
            if self._hangs(name, key):
                self.end.wait(30)
            return act(first, *rest)

        return call


@pytest.mark.parametrize("act", ["read", "confirm", "keys"])
def test_a_store_that_does_not_answer_is_not_waited_for(dock, act):
    store = Hanging(dock.store, lambda name, _key: name == act)
    report = dock.verify(files=True, stores=store, silence_max_s=0.2)
    store.end.set()
    assert (report.result(), report.findings) == ("unchecked", [])
    assert any("did not answer within" in told for told in report.unreachable)
    # It is given up after a few: ten thousand pipes do not hold a run up for a month.
    assert sum(name == act for name, _key in store.asked) <= 3
    assert report.checked["files"] == 3


def test_one_object_that_hangs_holds_up_no_other(dock):
    store = Hanging(dock.store, lambda name, key: (name, key) == ("confirm", KEYS[CONFIRMED]))
    report = dock.verify(stores=store, silence_max_s=0.2)
    store.end.set()
    assert report.result() == "unchecked"
    assert report.checked["objects"] == 1


@pytest.mark.parametrize("error", [RecursionError(), MemoryError(), KeyError("x"), OSError(5, "x")])
def test_an_answer_that_cannot_be_used_is_that_objects_alone(dock, monkeypatch, error):
    fail(monkeypatch, dock.store, "confirm", error, lambda obj, *_: obj.key == KEYS[CONFIRMED])
    report = dock.verify(stores=True)
    assert (report.result(), report.findings) == ("unchecked", [])
    assert report.checked["objects"] == 1


def test_a_store_that_was_retired_is_asked_by_nobody(dock):
    elsewhere = {"other": DirectoryStore("other", dock.root / "store")}
    report = dock.verify(stores=elsewhere)
    assert "main is not in the configuration" in report.unreachable
    append(dock, entries.store_retired("main", reason="sold", items=0, size_bytes=0))
    report = dock.verify(stores=elsewhere)
    assert (report.result(), report.checked["objects"]) == ("holds", 0)
    append(dock, entries.store_added("main", type="directory", required=True, returned=True))
    assert dock.verify(stores=elsewhere).result() == "unchecked"


def test_a_store_that_is_required_since_is_not_claimed_to_have_what_was_before(dock):
    (dock.root / "cloud").mkdir()
    prepare(dock.root / "cloud")
    both = {"main": dock.store, "cloud": DirectoryStore("cloud", dock.root / "cloud")}
    assert dock.verify(stores=both, required=["main"]).result() == "holds"
    report = dock.verify(stores=both, required=["main", "cloud"])
    assert (report.result(), report.findings) == ("unchecked", [])
    (told_of,) = report.unreachable
    assert told_of.startswith("cloud is required now, and 2 recordings")


def test_one_store_that_is_away_and_the_other_is_checked(dock):
    away = DirectoryStore("away", dock.root / "nowhere")
    dock.object(KEYS[CONFIRMED]).unlink()
    report = dock.verify(stores={"main": dock.store, "away": away})
    assert [finding.code for finding in report.findings] == ["object_missing"]
    assert any(told.startswith("away: ") for told in report.unreachable)


@pytest.mark.parametrize("harm", PLANTS)
@pytest.mark.parametrize("what", ["note", "object", "anchor"])
def test_whatever_a_writer_of_the_store_puts_there_is_answered(dock, harm, what):
    path = {
        "note": dock.object(KEYS[CONFIRMED]).with_name(
            f".{dock.object(KEYS[CONFIRMED]).name}.meta.json"
        ),
        "object": dock.object(KEYS[CONFIRMED]),
        "anchor": anchors(dock)[-1],
    }[what]
    path.unlink()
    PLANTS[harm](path)
    report = dock.verify(stores=True, silence_max_s=2.0)
    # An anchor that is no file is none: that it was there is told by what sent it.
    assert (report.result() == "holds") is ((what, harm) == ("anchor", "directory"))
    assert report.checked["objects"] >= 1


def test_an_older_state_directory_is_called_older(dock):
    sizes = [size for (size,) in dock.rows("SELECT size FROM ledger_checkpoint ORDER BY size")]
    old = cut_back(dock, sizes[-3])
    (dock.state / "checkpoint").write_text(old, encoding="utf-8")
    assert any(
        "older than what it made" in told_of for told_of in told(dock, "rolled_back", stores=True)
    )
    (dock.staging / DOCKING / "planted").write_bytes(b"x")
    (planted,) = told(dock, "file_planted", files=True, stores=True)
    assert "the ledger is older than what it made" in planted


def anchors(dock):
    return sorted((dock.object(f"ledger/{ORIGIN}/checkpoint")).glob("0*"))


def test_an_anchor_altered(dock):
    newest = anchors(dock)[-1]
    newest.chmod(0o600)
    newest.write_text(forged(dock), encoding="utf-8")
    assert dock.codes(stores=True) == {"signature_bad"}


def test_an_anchor_that_is_an_older_one(dock):
    oldest, *_, newest = anchors(dock)
    newest.chmod(0o600)
    newest.write_bytes(oldest.read_bytes())
    assert dock.codes(stores=True) == {"checkpoint_moved"}


def test_a_dock_cloned_and_grown_apart(dock, tmp_path):
    shutil.copytree(dock.root, tmp_path / "clone")
    clone = Dock(tmp_path / "clone")
    append(dock, ("daemon.started", "daemon", {"which": "one"}))
    append(clone, ("daemon.started", "daemon", {"which": "two"}))
    with clone.open() as (_, ledger):
        anchor(dock, ledger)
    assert dock.codes() == set()
    assert dock.codes(stores=True) == {"root_mismatch"}
