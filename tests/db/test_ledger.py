"""The ledger's writer on a real database: what it must never lose, forge or paper over."""

from __future__ import annotations

import errno
import json
import os
import sqlite3

import pytest
import sqlalchemy as sa

from bodycam_ingest.custody import checkpoint
from bodycam_ingest.custody.commitment import commitment
from bodycam_ingest.custody.entry import Actor, parse_entry
from bodycam_ingest.custody.merkle import leaf_hash, peaks_of, root_of
from bodycam_ingest.custody.note import VerifierKey
from bodycam_ingest.db import schema
from bodycam_ingest.db.ledger_tree import peaks_at
from bodycam_ingest.db.reading import open_for_reading
from bodycam_ingest.db.schema import dock_fact, ledger_entry, ledger_node, ledger_private
from bodycam_ingest.db.standing import read_head
from bodycam_ingest.db.state_dir import initialise
from bodycam_ingest.errors import (
    DatabaseDamagedError,
    LedgerEntryError,
    LedgerForkError,
    LedgerUnwritableError,
    StateDirectoryError,
)
from bodycam_ingest.linux import durable
from tests.support import ledgers
from tests.support.killing import killed
from tests.support.ledgers import ORIGIN, sql, start_and_stop, unguarded
from tests.support.patching import acts, fail
from tests.support.threads import together


@pytest.fixture
def state(tmp_path):
    path = tmp_path / "state"
    initialise(path, ORIGIN)
    return path


@pytest.fixture
def opened(state):
    with ledgers.opened(state) as made:
        yield made


def reopen(state):
    """Open as a restart would, and close again; returns the head."""
    with ledgers.opened(state) as (_, ledger):
        return ledger.head


def add(ledger, count=1, subject="item:A", fact=""):
    with ledger.transaction() as txn:
        for number in range(count):
            txn.append("test.discovered", subject, {"number": number})
        if fact:
            txn.conn.execute(dock_fact.insert().values(name=fact, value="x"))


def bodies(engine):
    with engine.connect() as conn:
        query = sa.select(ledger_entry.c.body).order_by(ledger_entry.c.seq)
        return list(conn.execute(query).scalars())


def facts(engine):
    with engine.connect() as conn:
        return set(conn.execute(sa.select(dock_fact.c.name)).scalars())


def check_whole(state):
    """Everything in the database fits together and the state file is the database's."""
    engine = open_for_reading(state)
    try:
        head = read_head(engine)
        entries = bodies(engine)
        assert len(entries) == head.size
        hashes = [leaf_hash(body) for body in entries]
        assert root_of(hashes) == head.root
        last_of: dict[str, tuple[int, int]] = {}
        for seq, body in enumerate(entries):
            place = parse_entry(body).position
            assert place.seq == seq
            assert place.prev == (hashes[seq - 1] if seq else bytes(32))
            ordinal, before = last_of.get(place.subject, (-1, None))
            assert (place.ordinal, place.subject_prev) == (ordinal + 1, before)
            last_of[place.subject] = (place.ordinal, seq)
        with engine.connect() as conn:
            for size in {0, 1, 255, 256, 257, 511, 512, head.size - 1, head.size}:
                if size <= head.size:
                    found = peaks_at(conn, size)
                    assert found is not None
                    assert found.root() == peaks_of(hashes[:size]).root()
        return entries, head
    finally:
        engine.dispose()


def test_entries_and_state_commit_together(state, opened):
    engine, ledger = opened
    with ledger.transaction() as txn:
        first = txn.append("test.discovered", "item:A", {"size_bytes": 3})
        second = txn.append("test.acquired", "item:A", {}, actor=Actor("user", "meier"))
        txn.conn.execute(dock_fact.insert().values(name="a", value="1"))
    assert (first, second) == (1, 2)
    assert ledger.head.size == 3
    assert facts(engine) == {"a"}
    entries, head = check_whole(state)
    assert head == ledger.head
    assert parse_entry(entries[2]).actor == Actor("user", "meier")
    assert (state / "checkpoint").read_text(encoding="utf-8") == head.checkpoint


def test_checkpoint_is_signed_by_the_key_that_init_gave_out(tmp_path):
    vkey = initialise(tmp_path / "state", ORIGIN)
    with ledgers.opened(tmp_path / "state") as (_, ledger):
        add(ledger)
        found = checkpoint.verified(ledger.head.checkpoint, VerifierKey.parse(vkey), ORIGIN)
        assert (found.size, found.root) == (2, ledger.head.root)


def test_an_exception_leaves_neither_entry_nor_state_and_wakes_nobody(state, opened):
    engine, ledger = opened
    before, seen = ledger.head, []
    ledger.on_commit = lambda: seen.append(len(bodies(engine)))

    def cut_short():
        with ledger.transaction() as txn:
            txn.append("test.discovered", "item:A", {})
            txn.conn.execute(dock_fact.insert().values(name="a", value="1"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cut_short()
    assert ledger.head == before
    assert facts(engine) == set()
    add(ledger)
    add(ledger, 2)
    # Whoever waits for commits sees what was committed.
    assert seen == [2, 4]
    entries, _ = check_whole(state)
    assert parse_entry(entries[1]).position.ordinal == 0


@pytest.mark.parametrize(
    "data", [{"x": 1.5}, {"x": 2**53}, {"ä": 1}, {"x": b""}, {"x": "a" * 70_000}]
)
def test_what_does_not_follow_the_format_is_not_written(opened, data):
    engine, ledger = opened

    def wrong():
        with ledger.transaction() as txn:
            txn.conn.execute(dock_fact.insert().values(name="a", value="1"))
            txn.append("test.discovered", "item:A", data)

    with pytest.raises(LedgerEntryError):
        wrong()
    assert ledger.head.size == 1
    assert facts(engine) == set()


def test_a_hostile_name_in_a_message_does_not_stop_the_record(state, opened):
    _, ledger = opened
    hostile = os.fsdecode(b"\xff\x00\n.mp4")
    with ledger.transaction() as txn:
        txn.append("test.raised", f"camera:{hostile}", {"detail": [hostile]}, sealed={"x": hostile})
    entries, _ = check_whole(state)
    assert parse_entry(entries[1]).data["detail"] == ["\\udcff\x00\n.mp4"]


def test_data_is_taken_as_it_was_when_it_was_given(state, opened):
    _, ledger = opened
    data = {"stores": ["a"]}
    with ledger.transaction() as txn:
        txn.append("test.stored", "item:A", data)
        data["stores"].append("b")
    entries, _ = check_whole(state)
    assert parse_entry(entries[1]).data == {"stores": ["a"]}


def test_personal_values_stand_outside_of_the_entry(state, opened):
    engine, ledger = opened
    with ledger.transaction() as txn:
        seq = txn.append("test.assigned", "camera:1", {"from": "x"}, sealed={"officer": "Erika M."})
    body = bodies(engine)[seq]
    assert b"Erika" not in body
    with engine.connect() as conn:
        row = conn.execute(sa.select(ledger_private)).one()
    assert (row.seq, row.field, row.value) == (seq, "officer", "Erika M.")
    assert parse_entry(body).data["sealed"] == {
        "officer": commitment("officer", row.salt, "Erika M.")
    }


def test_five_thousand_entries_in_one_transaction(state, opened):
    engine, ledger = opened
    add(ledger, 300, "item:old")
    with ledger.transaction() as txn:
        for number in range(5000):
            # Some subjects are old, some new, some twice in this transaction.
            subject = "item:old" if number % 100 == 0 else f"item:{number % 3000}"
            assert txn.append("test.discovered", subject, {"n": number}) == 301 + number
    _, head = check_whole(state)
    assert head.size == 5301
    with engine.connect() as conn:
        levels = conn.execute(
            sa.select(ledger_node.c.level, sa.func.count()).group_by(ledger_node.c.level)
        ).all()
    assert levels == [(8, 20)]


def test_subtrees_are_kept_whatever_the_cut_of_the_transactions(state, opened):
    _, ledger = opened
    for count in (254, 1, 1, 255, 1, 300):
        add(ledger, count)
    check_whole(state)


def test_only_the_ledgers_transaction_can_write(opened):
    engine, _ = opened
    with pytest.raises(StateDirectoryError, match="readonly"), engine.begin() as conn:
        conn.execute(dock_fact.insert().values(name="a", value="1"))
    assert facts(engine) == set()


def test_a_connection_that_wrote_cannot_write_when_it_is_used_again(opened):
    engine, ledger = opened
    add(ledger, fact="a")
    with pytest.raises(StateDirectoryError), engine.begin() as conn:
        conn.execute(dock_fact.delete())
    assert facts(engine) == {"a"}


def test_a_transaction_inside_of_another_is_refused(opened):
    _, ledger = opened

    def nested():
        with ledger.transaction() as txn:
            txn.append("test.discovered", "item:A", {})
            add(ledger)

    with pytest.raises(LedgerUnwritableError):
        nested()
    assert ledger.head.size == 1
    add(ledger)
    assert ledger.head.size == 2


def test_threads_take_turns(state, opened):
    _, ledger = opened

    def work(name):
        for _ in range(5):
            add(ledger, 3, f"item:{name}")

    together(work, "abcd")
    _, head = check_whole(state)
    assert head.size == 1 + 4 * 15


# -- what happens when the medium refuses --------------------------------------------------------


def test_a_state_file_that_cannot_be_written_stops_the_ledger(state, opened, monkeypatch):
    engine, ledger = opened

    with monkeypatch.context() as patch:
        fail(patch, durable, "replace_file", errno.ENOSPC)
        with pytest.raises(LedgerUnwritableError):
            add(ledger, fact="a")
    with pytest.raises(LedgerUnwritableError), ledger.transaction():
        pytest.fail("a transaction was begun on an unknown outcome")
    ledger.close()
    engine.dispose()
    # The restart finds that the commit happened, and goes on.
    assert reopen(state).size == 2
    _, head = check_whole(state)
    assert (state / "checkpoint").read_text(encoding="utf-8") == head.checkpoint


def test_a_commit_of_unknown_outcome_stops_the_ledger(state, opened):
    engine, ledger = opened
    error = OSError(errno.EIO, "Input/output error")
    with acts("before:ledger.commit".__eq__, error), pytest.raises(OSError, match="Input/output"):
        add(ledger)
    with pytest.raises(LedgerUnwritableError, match="no known outcome"):
        add(ledger)
    ledger.close()
    engine.dispose()
    assert reopen(state).size == 1


def test_a_full_disk_rolls_back_and_the_ledger_goes_on(state, opened):
    engine, ledger = opened

    def too_much():
        with ledger.transaction() as txn:
            pages = txn.conn.exec_driver_sql("PRAGMA page_count").scalar()
            txn.conn.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
            txn.conn.execute(dock_fact.insert().values(name="a", value="1"))
            for _ in range(100):
                txn.append("test.raised", "finding:A", {"detail": "x" * 4000})

    with pytest.raises(StateDirectoryError, match="full"):
        too_much()
    assert ledger.head.size == 1
    assert facts(engine) == set()
    engine.dispose()
    add(ledger)
    check_whole(state)


def test_a_read_that_fails_comes_out_as_a_fault_of_ours(state, opened):
    engine, _ = opened
    with engine.connect() as conn:
        # A table of ours is missing: the file was changed. Another statement is a defect.
        with pytest.raises(sa.exc.OperationalError, match="no such table"):
            conn.exec_driver_sql("SELECT * FROM nowhere")
        with pytest.raises(sa.exc.OperationalError, match="syntax"):
            conn.exec_driver_sql("SELEKT 1")
        with pytest.raises(sa.exc.OperationalError, match="too many SQL variables"):
            conn.execute(sa.select(sa.literal(1).in_(range(300_000))))
    sql(state, "DROP TABLE item_work", "ALTER TABLE camera DROP COLUMN profile")
    with engine.connect() as conn:
        for table in (schema.item_work, schema.camera):
            with pytest.raises(DatabaseDamagedError):
                conn.execute(sa.select(table))


@pytest.mark.parametrize(
    "statements",
    [
        ["DROP TABLE ledger_entry"],
        ["DROP TABLE ledger_head"],
        ["DELETE FROM ledger_log"],
        ["INSERT INTO ledger_log SELECT 2, 'other', vkey FROM ledger_log"],
        ["UPDATE ledger_log SET vkey = x'00'"],
        ["UPDATE ledger_head SET size = 'many'"],
        ["UPDATE ledger_head SET checkpoint = x'00'"],
        ["DELETE FROM alembic_version"],
        ["DROP TABLE alembic_version"],
        ["INSERT INTO alembic_version VALUES ('0001')"],
        ["UPDATE alembic_version SET version_num = x'00'"],
        ["ALTER TABLE alembic_version RENAME COLUMN version_num TO other"],
        [
            "ALTER TABLE ledger_head RENAME TO other",
            "CREATE VIEW ledger_head AS SELECT 1 AS log_id",
        ],
    ],
    ids=lambda statements: statements[0],
)
def test_a_database_that_another_hand_altered_is_told_as_damaged(state, statements):
    unguarded(state, *statements)
    with pytest.raises(DatabaseDamagedError) as caught:
        reopen(state)
    assert "verify" in caught.value.hint
    assert "init" not in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_database_is_told_as_damaged(state, content):
    (state / "bodycam.db").write_bytes(content)
    for side in ("-wal", "-shm"):
        (state / f"bodycam.db{side}").unlink(missing_ok=True)
    with pytest.raises(DatabaseDamagedError):
        reopen(state)
    with pytest.raises(DatabaseDamagedError):
        open_for_reading(state)


def test_a_database_that_was_cut_is_told_as_damaged_or_altered(state):
    path = state / "bodycam.db"
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises((DatabaseDamagedError, LedgerForkError)):
        reopen(state)


@pytest.mark.parametrize("body", ["x'00'", "CAST('{}' AS BLOB)", "CAST('[' AS BLOB)"])
def test_an_old_entry_that_is_garbage_is_told_as_an_altered_ledger(state, body):
    start_and_stop(state)
    written(state, 1)
    unguarded(state, f"UPDATE ledger_entry SET body = {body} WHERE subject = 'daemon'")
    with pytest.raises(LedgerForkError, match="was altered"):
        start_and_stop(state)


def test_a_row_that_another_hand_appended_while_the_ledger_is_open_is_told_as_that(state, opened):
    _, ledger = opened
    add(ledger)
    unguarded(
        state,
        "INSERT INTO ledger_entry SELECT log_id, seq + 1, body, leaf_hash, type, subject, t "
        "FROM ledger_entry ORDER BY seq DESC LIMIT 1",
    )
    with pytest.raises(LedgerForkError, match="something else has written"):
        add(ledger)


def test_a_closed_ledger_refuses(state):
    with ledgers.opened(state) as (_, ledger):
        pass
    with pytest.raises(LedgerUnwritableError):
        add(ledger)


# -- cut off at every durable act ----------------------------------------------------------------

WORK = """
from bodycam_ingest.db.state_dir import open_ledger
from bodycam_ingest.db.schema import dock_fact

engine, ledger = open_ledger(state, "pd.example/custody/dock-1")
with ledger.transaction() as txn:
    for number in range(300):
        txn.append("test.discovered", f"item:{number}", {})
    txn.conn.execute(dock_fact.insert().values(name="a", value="1"))
"""


@pytest.mark.process
@pytest.mark.parametrize(
    ("moment", "committed"),
    [
        ("before:ledger.commit", False),
        ("after:ledger.commit", True),
        ("before:ledger.state_file", True),
        ("after:ledger.state_file", True),
    ],
)
def test_killed_at(state, moment, committed):
    killed(moment, WORK, state)
    with ledgers.opened(state) as (engine, ledger):
        assert ledger.head.size == (301 if committed else 1)
        assert facts(engine) == ({"a"} if committed else set())
        assert (state / "checkpoint").read_text(encoding="utf-8") == ledger.head.checkpoint
        add(ledger)
    check_whole(state)


# -- a database that is not what this dock signed ------------------------------------------------


def copy_database(state):
    """The database's bytes, its log folded in; nothing has it open."""
    sql(state, "PRAGMA wal_checkpoint(TRUNCATE)")
    return (state / "bodycam.db").read_bytes()


def written(state, count):
    with ledgers.opened(state) as (_, ledger):
        add(ledger, count)
    return copy_database(state)


def test_an_older_database_put_back_is_refused(state):
    old = written(state, 1)
    written(state, 1)
    (state / "bodycam.db").write_bytes(old)
    with pytest.raises(LedgerForkError, match="2 entries, 3 were signed"):
        reopen(state)


def forked(state, signed, other):
    """So many entries are signed, and so many others from the same beginning lie in their place."""
    start = copy_database(state)
    before = (state / "checkpoint").read_bytes()
    written(state, signed)
    kept = (state / "checkpoint").read_bytes()
    (state / "bodycam.db").write_bytes(start)
    (state / "checkpoint").write_bytes(before)
    written(state, other)
    (state / "checkpoint").write_bytes(kept)


def test_another_history_of_the_same_size_is_refused(state):
    forked(state, 1, 1)
    with pytest.raises(LedgerForkError, match="does not extend"):
        reopen(state)


@pytest.mark.parametrize("size", [1, 300, 700])
def test_a_longer_history_that_forks_off_before_is_refused(state, size):
    if size > 1:
        written(state, size - 1)
    forked(state, 5, 600)
    with pytest.raises(LedgerForkError, match=f"signed at {size + 5}"):
        reopen(state)


def test_a_state_file_by_another_key_is_refused(state, tmp_path):
    initialise(tmp_path / "other", ORIGIN)
    (state / "checkpoint").write_bytes((tmp_path / "other/checkpoint").read_bytes())
    with pytest.raises(LedgerForkError):
        reopen(state)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"pd.example/custody/dock-1\n1\nAAAA\n"])
def test_a_state_file_that_says_nothing_is_refused(state, content):
    (state / "checkpoint").write_bytes(content)
    with pytest.raises(LedgerForkError):
        reopen(state)


def test_entries_that_nobody_signed_are_never_signed(state):
    sql(
        state,
        "INSERT INTO ledger_entry SELECT log_id, seq + 1, body, leaf_hash, type, subject, t"
        " FROM ledger_entry",
    )
    with pytest.raises(LedgerForkError, match="do not end at 1"):
        reopen(state)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_head SET size = size + 1",
        "UPDATE ledger_head SET peaks = x'00'",
        "UPDATE ledger_head SET peaks = zeroblob(32)",
        "UPDATE ledger_head SET last = zeroblob(32)",
        "UPDATE ledger_head SET checkpoint = ''",
        "UPDATE ledger_head SET checkpoint = replace(checkpoint, '1', '2')",
        "DELETE FROM ledger_head",
    ],
)
def test_a_head_that_was_changed_or_is_gone_is_refused(state, statement):
    sql(state, statement)
    with pytest.raises(LedgerForkError):
        reopen(state)


def test_a_writer_beside_this_one_is_noticed(state, opened):
    _, ledger = opened
    sql(state, "UPDATE ledger_head SET checkpoint = ''")
    with pytest.raises(LedgerForkError, match="something else has written"):
        add(ledger)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entry SET t = ''",
        "DELETE FROM ledger_entry",
        "INSERT OR REPLACE INTO ledger_entry SELECT * FROM ledger_entry",
        "UPDATE ledger_node SET hash = zeroblob(32)",
        "DELETE FROM ledger_node",
        "INSERT OR REPLACE INTO ledger_node SELECT * FROM ledger_node",
        "UPDATE ledger_checkpoint SET note = ''",
        "DELETE FROM ledger_checkpoint",
        "REPLACE INTO ledger_checkpoint SELECT * FROM ledger_checkpoint",
    ],
)
def test_what_was_recorded_is_not_changed_by_accident(state, opened, statement):
    engine, ledger = opened
    add(ledger, 300)
    before = bodies(engine)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        sql(state, statement)
    assert bodies(engine) == before


def test_the_genesis_entry_names_the_key_and_the_format(state):
    engine = open_for_reading(state)
    (body,) = bodies(engine)
    engine.dispose()
    value = json.loads(body)
    assert (value["type"], value["seq"], value["prev"]) == ("log.genesis", 0, "0" * 64)
    assert value["data"]["format"] == "bodycam-ledger/2"
    assert VerifierKey.parse(value["data"]["vkey"]).name == ORIGIN
