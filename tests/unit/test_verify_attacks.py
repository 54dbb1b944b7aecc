"""What somebody with the dock's disk can do to the record, and what `verify` says of it."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bodycam_ingest import clock, objectkeys
from bodycam_ingest.acquire import Acquirer
from bodycam_ingest.custody import checkpoint
from bodycam_ingest.custody.checkpoint import Checkpoint
from bodycam_ingest.custody.merkle import Peaks, leaf_hash, peaks_of
from bodycam_ingest.custody.note import Signer
from bodycam_ingest.db import dockings, items, uploads
from bodycam_ingest.db.dockings import DockingRow
from bodycam_ingest.db.guards import GUARDS
from bodycam_ingest.db.installation import initialise, open_ledger
from bodycam_ingest.db.items import ItemRow
from bodycam_ingest.db.schema import upload
from bodycam_ingest.evidence import StoreObject
from bodycam_ingest.keys import load_log_key
from bodycam_ingest.lifecycle import ItemEvent, ItemState
from bodycam_ingest.stores.directory import DirectoryStore, prepare
from bodycam_ingest.verification import Scope, Verification
from tests.servers.dockbench import BytesSource, MemoryJournal, digests_of

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = "pd.example/custody/dock-1"
DOCKING = "01J00000000000000000000DCK"
MOMENT = "2026-03-14T09:26:53.589Z"
BODIES = {f"01J000000000000000000{n:05d}": bytes([n]) * (5000 + n) for n in range(1, 5)}
CONFIRMED, VERIFIED, DISCOVERED, RELEASED = BODIES
KEYS = {
    item: objectkeys.evidence_key("CAM", clock.parse_rfc3339(MOMENT), DOCKING, item, b"a.mp4")
    for item in BODIES
}


class Dock:
    """A dock's directories and how to verify them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "state"
        self.staging = root / "staging"
        self.store = DirectoryStore("main", root / "store")

    def verify(self, *, files=False, stores=False):
        before = content(self.root)
        report = Verification(
            Scope(
                state_dir=self.state,
                origin=ORIGIN,
                staging=Acquirer(self.staging, min_free_bytes=0) if files else None,
                staging_dir=self.staging,
                stores={"main": self.store} if stores else None,
                progress=lambda _bytes: None,
            )
        ).run()
        assert content(self.root) == before, "verify changed something"
        return report

    def codes(self, **how):
        return {finding.code for finding in self.verify(**how).findings}

    def sql(self, *statements, guards=True):
        """Change the database as one who knows of the guards, and puts them back."""
        connection = sqlite3.connect(self.state / "bodycam.db", isolation_level=None)
        try:
            for name in GUARDS:
                connection.execute(f"DROP TRIGGER {name}")
            for statement, *values in statements:
                connection.execute(statement, values)
            for create in GUARDS.values() if guards else ():
                connection.execute(create)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            connection.close()

    def rows(self, query):
        connection = sqlite3.connect(self.state / "bodycam.db")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def bodies(self):
        return [body for (body,) in self.rows("SELECT body FROM ledger_entry ORDER BY seq")]

    def size(self):
        return len(self.bodies())

    def signer(self):
        return load_log_key(self.state / "keys/log.key", ORIGIN)

    def staged(self, item):
        (path,) = self.staging.glob(f"*/{item}-*")
        return path

    def open(self):
        return open_ledger(self.state, ORIGIN)

    def object(self, key):
        return self.root / "store" / key


def content(root):
    return {
        str(path): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", "-wal"))
    }


def build(root):
    initialise(root / "state", ORIGIN)
    (root / "staging").mkdir(mode=0o700)
    (root / "store").mkdir()
    prepare(root / "store")
    dock = Dock(root)
    engine, ledger = dock.open()
    with ledger.transaction() as txn:
        dockings.note_camera(txn.conn, "CAM", now=MOMENT, assigned=False, profile="")
        docking = DockingRow(DOCKING, "CAM", "1", "", b"/x", MOMENT, None, False, False, None)
        dockings.insert_docking(txn.conn, docking)
        txn.append(
            "camera.docked", "camera:CAM", {"docking_id": DOCKING}, sealed={"officer": "Erika M."}
        )
    for item, body in BODIES.items():
        take(dock, ledger, item, body)
        anchor(dock, ledger)
    with ledger.transaction() as txn:
        for number in range(260):
            txn.append("finding.raised", f"finding:{number}", {"detail": "x"})
    anchor(dock, ledger)
    with ledger.transaction() as txn:
        for number in range(7):
            txn.append("finding.closed", f"finding:{number}", {})
    ledger.close()
    engine.dispose()
    return dock


def take(dock, ledger, item, body):
    digests = digests_of(body, 1024)
    sha256 = digests.sha256.hex()
    staged = f"{DOCKING}/{item}-{sha256}"
    row = ItemRow(
        item, "CAM", DOCKING, "", b"DCIM/a.mp4", len(body), 0, ItemState.DISCOVERED, MOMENT
    )
    with ledger.transaction() as txn:
        items.discover(txn, row, {"size_bytes": len(body)})
    if item == DISCOVERED:
        return
    path = dock.staging / staged
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(body)
    with ledger.transaction() as txn:
        data = {"sha256": sha256, "size_bytes": len(body), "staged": staged}
        items.record(
            txn,
            row,
            ItemEvent.ACQUIRED,
            data,
            sha256=digests.sha256,
            sample_sha256=digests.sample_sha256,
            part_size_bytes=1024,
            part_sha256s=b"".join(digests.part_sha256s),
            staged_path=staged,
        )
        row = items.get(txn.conn, item)
        items.record(txn, row, ItemEvent.VERIFIED, {"sha256": sha256})
        metadata = {"item-id": item, "sha256": sha256}
        uploads.queue_items(txn, [uploads.ToQueue(item, KEYS[item], metadata)], [("main", True)])
    if item == VERIFIED:
        return
    obj = StoreObject(KEYS[item], digests, metadata)
    dock.store.send(obj, BytesSource(body), MemoryJournal())
    stored = {
        "store": "main",
        "required": True,
        "key": KEYS[item],
        "version_id": "",
        "sha256": sha256,
        "outstanding": [],
    }
    for event in (ItemEvent.STORED, ItemEvent.CONFIRMED):
        with ledger.transaction() as txn:
            seq = items.record(txn, items.get(txn.conn, item), event, stored)
    with ledger.transaction() as txn:
        items.set_confirmed_seq(txn, item, seq)
        txn.conn.execute(upload.update().where(upload.c.item_id == item).values(state="confirmed"))
        if item == RELEASED:
            items.record(txn, items.get(txn.conn, item), ItemEvent.RELEASED, {})


def anchor(dock, ledger, note=None):
    head = ledger.head
    body = (note or head.checkpoint).encode()
    digests = digests_of(body, 1024)
    key = objectkeys.checkpoint_key(ORIGIN, head.size)
    obj = StoreObject(key, digests, {"item-id": key, "sha256": digests.sha256.hex()})
    dock.store.send(obj, BytesSource(body), MemoryJournal())


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    return build(tmp_path_factory.mktemp("golden") / "dock")


@pytest.fixture
def dock(golden, tmp_path):
    shutil.copytree(golden.root, tmp_path / "dock", symlinks=True)
    (tmp_path / "dock/state").chmod(0o700)
    return Dock(tmp_path / "dock")


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
    engine, ledger = dock.open()
    with ledger.transaction() as txn:
        txn.append("daemon.started", "daemon", {})
    assert dock.codes() == set()
    ledger.close()
    engine.dispose()


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


def rewritten(dock, start, bodies, signer=None, key_of_log=None):
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
    assert dock.codes(stores=True) == {"root_mismatch"}


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


@pytest.mark.parametrize("column", ["type", "subject", "t"])
def test_a_derived_column_lies(dock, column):
    dock.sql((f"UPDATE ledger_entry SET {column} = 'item.released' WHERE seq = ?", TARGET))
    assert dock.codes() == {"column_differs"}


def test_a_kept_hash_lies(dock):
    dock.sql(("UPDATE ledger_entry SET leaf_hash = zeroblob(32) WHERE seq = ?", TARGET))
    assert dock.codes() == {"entry_altered"}


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


def test_bytes_that_are_no_entry(dock):
    dock.sql(set_body(TARGET, b"{}", leaf_hash(b"{}")))
    assert findings_of(dock, "entry_malformed") == [TARGET]


def test_a_second_spelling_of_an_entry(dock):
    body = dock.bodies()[TARGET].replace(b'"v":1', b'"v": 1')
    dock.sql(set_body(TARGET, body, leaf_hash(body)))
    assert findings_of(dock, "entry_not_canonical") == [TARGET]


def test_an_entry_of_another_dock(dock):
    body = edited(dock.bodies()[TARGET], log="pd.example/custody/dock-2")
    dock.sql(set_body(TARGET, body, leaf_hash(body)))
    assert findings_of(dock, "entry_foreign") == [TARGET]


def test_rows_of_another_dock_beside_ours(dock):
    dock.sql(
        ("INSERT INTO ledger_log VALUES (2, 'pd.example/custody/dock-2', 'x')",),
        (f"INSERT INTO ledger_entry SELECT 2, seq, {REST} FROM ledger_entry WHERE seq = 0",),
    )
    assert dock.codes() == {"entry_foreign"}


# -- tree, head, checkpoints ---------------------------------------------------------------------


def test_subtree_hashes_changed(dock):
    dock.sql(("UPDATE ledger_node SET hash = zeroblob(32) WHERE idx = 0",))
    assert dock.codes() == {"node_differs"}


def test_a_subtree_hash_removed(dock):
    dock.sql(("DELETE FROM ledger_node WHERE idx = 0",))
    assert dock.codes() == {"node_missing"}


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
    assert dock.codes() == {"head_differs"}


def test_the_head_removed(dock):
    dock.sql(("DELETE FROM ledger_head",))
    assert dock.codes() == {"head_missing"}


def test_the_heads_checkpoint_is_an_older_one(dock):
    dock.sql(("UPDATE ledger_head SET checkpoint = (SELECT note FROM ledger_checkpoint LIMIT 1)",))
    assert dock.codes() == {"head_differs"}


@pytest.mark.parametrize("value", ["", "x", b"x", 5])
def test_the_heads_checkpoint_is_none(dock, value):
    dock.sql(("UPDATE ledger_head SET checkpoint = ?", value))
    assert dock.codes() == {"signature_bad"}


def test_an_unsigned_tail(dock):
    last = dock.bodies()[-1]
    value = json.loads(last)["subj"]
    more = edited(last, subj={"id": value["id"], "n": value["n"] + 1, "prev": dock.size() - 1})
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
    dock.sql(
        (
            "UPDATE ledger_checkpoint SET note = ? WHERE size = 10",
            forged(dock),
        )
    )
    assert dock.codes() == {"signature_bad"}


def test_a_note_kept_under_another_size(dock):
    dock.sql(("UPDATE ledger_checkpoint SET size = 1000 WHERE size = 10",))
    assert dock.codes() == {"checkpoint_moved"}


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


def test_the_logs_row_removed(dock):
    dock.sql(("DELETE FROM ledger_log",))
    assert dock.codes() == {"log_missing"}


@pytest.mark.parametrize("name", sorted(GUARDS))
def test_a_guard_dropped(dock, name):
    dock.sql((f"SELECT '{name}'",))
    connection = sqlite3.connect(dock.state / "bodycam.db", isolation_level=None)
    connection.execute(f"DROP TRIGGER {name}")
    connection.close()
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


def test_a_trigger_planted(dock):
    dock.sql(("CREATE TRIGGER x AFTER INSERT ON item BEGIN DELETE FROM upload; END",))
    assert dock.codes() == {"trigger_planted"}


def test_a_database_that_is_damaged_is_broken_not_a_crash(dock):
    path = dock.state / "bodycam.db"
    raw = bytearray(path.read_bytes())
    raw[4096 * 3 : -4096] = os.urandom(len(raw[4096 * 3 : -4096]))
    path.write_bytes(raw)
    assert dock.codes() & {"database_damaged"}


# -- sealed values -------------------------------------------------------------------------------


def test_a_sealed_value_altered(dock):
    dock.sql(("UPDATE ledger_private SET value = 'Max M.'",))
    assert dock.codes() == {"private_altered"}


def test_a_sealed_value_erased(dock):
    dock.sql(("DELETE FROM ledger_private",))
    assert dock.codes() == {"private_erased"}


def test_a_sealed_value_planted(dock):
    dock.sql(("INSERT INTO ledger_private VALUES (1, 0, 'officer', zeroblob(32), 'x')",))
    assert dock.codes() == {"private_planted"}


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
    assert (finding.code, finding.subject) == ("item_differs", f"item:{VERIFIED}")


def test_a_state_that_there_is_none_of(dock):
    dock.sql(("UPDATE item SET state = 'gone' WHERE item_id = ?", VERIFIED))
    assert dock.codes() == {"item_differs"}


def test_a_digest_where_nothing_was_read(dock):
    dock.sql(("UPDATE item SET sha256 = zeroblob(32) WHERE item_id = ?", DISCOVERED))
    assert dock.codes() == {"item_differs"}


def test_an_items_row_removed(dock):
    dock.sql(("DELETE FROM item WHERE item_id = ?", DISCOVERED))
    assert dock.codes() == {"item_missing"}


def test_an_items_row_planted(dock):
    columns = ", ".join(
        row[1] for row in dock.rows("PRAGMA table_info(item)") if row[1] != "item_id"
    )
    dock.sql(
        (f"INSERT INTO item (item_id, {columns}) SELECT 'planted', {columns} FROM item LIMIT 1",)
    )
    assert "item_planted" in dock.codes()


def test_an_upload_marked_confirmed(dock):
    dock.sql(("UPDATE upload SET state = 'confirmed' WHERE item_id = ?", VERIFIED))
    assert dock.codes() == {"upload_unproven"}


def append(dock, *entries, monkeypatch=None):
    engine, ledger = dock.open()
    with ledger.transaction() as txn:
        for kind, subject, data in entries:
            txn.append(kind, subject, data)
    ledger.close()
    engine.dispose()


def test_released_without_confirmation(dock):
    append(dock, ("item.released", f"item:{VERIFIED}", {}))
    assert "history_illegal" in dock.codes()


def test_confirmed_before_it_was_read(dock):
    append(
        dock,
        (
            "item.confirmed",
            f"item:{DISCOVERED}",
            {"store": "main", "required": True, "outstanding": []},
        ),
    )
    assert "history_illegal" in dock.codes()


def test_a_digest_that_changes_within_a_history(dock):
    data = {"store": "main", "required": False, "sha256": "0" * 64, "outstanding": []}
    append(dock, ("item.stored", f"item:{VERIFIED}", data))
    assert dock.codes() == {"digest_changed"}


def test_a_store_that_confirms_again_moves_nothing(dock):
    sha256 = digests_of(BODIES[RELEASED], 1024).sha256.hex()
    data = {
        "store": "main",
        "required": True,
        "key": KEYS[RELEASED],
        "version_id": "",
        "sha256": sha256,
        "outstanding": [],
    }
    append(
        dock,
        ("item.stored", f"item:{RELEASED}", data),
        ("item.confirmed", f"item:{RELEASED}", data),
    )
    assert dock.codes() == set()


def test_a_clock_that_ran_back(dock, monkeypatch):
    reading = clock.read()
    append(dock, ("clock.stepped", "clock", {}))
    past = dataclasses.replace(reading, boottime_ms=reading.boottime_ms - 60_000)
    monkeypatch.setattr(clock, "read", lambda: past)
    append(dock, ("clock.stepped", "clock", {}))
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


def test_a_staged_file_removed(dock):
    dock.staged(VERIFIED).unlink()
    assert dock.codes(files=True) == {"file_missing"}


def test_a_staged_file_replaced_by_a_link_to_a_good_copy(dock, tmp_path):
    path = dock.staged(VERIFIED)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert dock.verify(files=True).result() != "holds"


def test_a_staged_directory_removed(dock):
    shutil.rmtree(dock.staging / DOCKING)
    assert dock.codes(files=True) == {"file_missing"}


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
    engine, ledger = clone.open()
    anchor(dock, ledger)
    ledger.close()
    engine.dispose()
    assert dock.codes() == set()
    assert dock.codes(stores=True) == {"root_mismatch"}
