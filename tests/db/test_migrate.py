"""A migration works on a copy: whatever happens, one whole database stands, and the old is kept."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from bodycam_ingest.db import migrations, schema_version
from bodycam_ingest.db.engine import open_database
from bodycam_ingest.db.migrate import migrate
from bodycam_ingest.db.reading import open_for_reading
from bodycam_ingest.db.standing import read_head
from bodycam_ingest.db.state_dir import initialise, open_ledger
from bodycam_ingest.errors import (
    AlreadyRunningError,
    LedgerUnwritableError,
    NotInitialisedError,
    SchemaUnknownError,
    StateDirectoryError,
)
from tests.support.goldendock import build
from tests.support.killing import killed
from tests.support.ledgers import ORIGIN, opened, sql, start_and_stop
from tests.support.patching import acts, fail

NEXT = '''
"""A later schema.

Revision ID: 9001
Revises: {before}
"""

import sqlalchemy as sa
from alembic import op

revision = "9001"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("item_work", sa.Column("note", sa.Text(), nullable=False, server_default=""))
    {more}
'''


@pytest.fixture
def state(tmp_path):
    initialise(tmp_path / "state", ORIGIN)
    with opened(tmp_path / "state") as (_, ledger), ledger.transaction() as txn:
        for number in range(300):
            txn.append("daemon.started", "daemon", {"n": number})
    return tmp_path / "state"


def newer_program(directory, more="pass"):
    """Migration scripts of a version to come."""
    scripts = directory / f"scripts{abs(hash(more))}"
    shutil.copytree(Path(migrations.__file__).parent, scripts)
    text = NEXT.format(before=schema_version.program_version(), more=more)
    (scripts / "versions/v9001.py").write_text(text, encoding="utf-8")
    return scripts


@pytest.fixture
def newer(tmp_path, monkeypatch):
    before = schema_version.program_version()
    monkeypatch.setattr(schema_version, "_SCRIPTS", newer_program(tmp_path))
    return before


def names(state):
    return sorted(path.name for path in state.iterdir())


def columns(database):
    return [row[1] for row in sql(database, "PRAGMA table_info(item_work)")]


def head_of(state, read=open_for_reading):
    engine = read(state)
    try:
        return read_head(engine)
    finally:
        engine.dispose()


def any_version(state):
    """Opens it without the version check."""
    return open_database(state / "bodycam.db", read_only=True)


def test_nothing_to_do(state):
    before = (state / "bodycam.db").read_bytes()
    done = migrate(state)
    assert (done.before, done.backup) == (done.after, None)
    assert (state / "bodycam.db").read_bytes() == before


def test_an_old_database_is_refused_until_it_is_migrated(state, newer):
    with pytest.raises(SchemaUnknownError) as refused:
        open_ledger(state, ORIGIN)
    assert "bodycam-ingest migrate" in refused.value.hint
    done = migrate(state)
    assert (done.before, done.after) == (newer, "9001")
    assert start_and_stop(state) == 302
    assert "note" in columns(state / "bodycam.db")


def test_what_is_computed_from_entries_is_computed_again(tmp_path, monkeypatch):
    """A projected table has another shape in the version before, and rows that somebody changed."""
    dock = build(tmp_path)
    older = "op.execute('ALTER TABLE item ADD COLUMN gone TEXT'); "
    older += "op.execute(\"UPDATE item SET state = 'purged'\"); op.execute('DROP TABLE finding')"
    monkeypatch.setattr(schema_version, "_SCRIPTS", newer_program(tmp_path, older))
    before = dock.rows("SELECT * FROM item"), dock.rows("SELECT * FROM upload")
    migrate(dock.state)
    assert (dock.rows("SELECT * FROM item"), dock.rows("SELECT * FROM upload")) == before
    # The column of the version to come is the one thing that is not this program's.
    assert {finding.code for finding in dock.verify().findings} == {"schema_differs"}


def test_a_ledger_that_makes_no_state_is_not_migrated(tmp_path, monkeypatch):
    dock = build(tmp_path)
    dock.sql(("DELETE FROM ledger_entry WHERE type = 'item.discovered'",))
    monkeypatch.setattr(schema_version, "_SCRIPTS", newer_program(tmp_path))
    with pytest.raises(LedgerUnwritableError, match="never discovered"):
        migrate(dock.state)


def test_the_old_database_is_kept_and_whole(state, newer, monkeypatch):
    before = head_of(state, any_version)
    done = migrate(state)
    assert done.backup is not None
    assert "note" not in columns(done.backup)
    monkeypatch.undo()
    # Put back, it is what it was.
    shutil.copy2(done.backup, state / "bodycam.db")
    assert head_of(state) == before


def test_the_ledger_is_carried_over_byte_for_byte(state, newer):
    query = "SELECT * FROM ledger_entry ORDER BY seq"
    before = sql(state, query)
    migrate(state)
    assert sql(state, query) == before
    assert len(before) == 301


def test_only_the_user_can_read_what_it_makes(state, newer):
    done = migrate(state)
    assert done.backup is not None
    for path in (state / "bodycam.db", done.backup):
        assert path.stat().st_mode & 0o077 == 0


def test_a_version_from_the_future_is_left_alone(state):
    sql(state, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SchemaUnknownError):
        migrate(state)
    assert names(state) == ["bodycam.db", "checkpoint", "keys", "lock"]


def test_beside_a_daemon_it_is_refused(state, newer, monkeypatch):
    monkeypatch.undo()
    with opened(state), pytest.raises(AlreadyRunningError):
        migrate(state)


def test_nothing_there(tmp_path):
    with pytest.raises(NotInitialisedError):
        migrate(tmp_path / "state")


def test_beside_a_reader_it_is_refused_and_nothing_changes(state, newer, monkeypatch):
    monkeypatch.setattr("bodycam_ingest.db.migrate._FOLD_TIMEOUT_S", 0.1)
    engine = any_version(state)
    with engine.connect() as conn:
        conn.exec_driver_sql("SELECT count(*) FROM item").all()
        with pytest.raises(LedgerUnwritableError, match="open"):
            migrate(state)
    engine.dispose()
    assert "note" not in columns(state / "bodycam.db")
    assert migrate(state).after == "9001"


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ("raise ZeroDivisionError", ZeroDivisionError),
        ("op.execute('DELETE FROM nowhere')", sa.exc.OperationalError),
        ("op.execute('UPDATE ledger_head SET size = 5')", LedgerUnwritableError),
        ("op.execute(\"UPDATE ledger_head SET checkpoint = ''\")", LedgerUnwritableError),
    ],
)
def test_a_migration_that_fails_or_changes_the_ledger_changes_nothing(
    state, tmp_path, monkeypatch, more, error
):
    before = (state / "bodycam.db").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(schema_version, "_SCRIPTS", newer_program(tmp_path, more))
        with pytest.raises(error):
            migrate(state)
    assert (state / "bodycam.db").read_bytes() == before
    assert head_of(state).size == 301


def test_a_full_disk_changes_nothing(state, newer, monkeypatch):
    with monkeypatch.context() as patch:
        fail(patch, os, "link", errno.ENOSPC)
        with pytest.raises(StateDirectoryError, match="No space"):
            migrate(state)
    assert "note" not in columns(state / "bodycam.db")
    assert migrate(state).after == "9001"


WORK = """
from bodycam_ingest.db import schema_version
from bodycam_ingest.db.migrate import migrate

(schema_version._SCRIPTS,) = more
migrate(state)
"""
ACTS = ("migrate.copy", "migrate.backup", "migrate.swap")


@pytest.mark.process
@pytest.mark.parametrize(
    "moment", [f"{side}:{act}" for act in ACTS for side in ("before", "after")]
)
def test_cut_off_at(state, tmp_path, monkeypatch, moment):
    before = head_of(state)
    scripts = newer_program(tmp_path)
    killed(moment, WORK, state, scripts)
    swapped = moment == "after:migrate.swap"
    assert ("note" in columns(state / "bodycam.db")) == swapped
    with monkeypatch.context() as patch:
        patch.setattr(schema_version, "_SCRIPTS", scripts)
        assert migrate(state).after == "9001"
        assert head_of(state) == before
        with opened(state):
            pass
    left = [name for name in names(state) if name not in {"checkpoint", "keys", "lock"}]
    assert len(left) == 2
    assert left[0] == "bodycam.db"
    assert "note" not in columns(state / left[1])


def test_acts_are_those_that_are_cut(state, newer):
    with acts() as seen:
        migrate(state)
    assert seen == [f"{side}:{act}" for act in ACTS for side in ("before", "after")]
