"""`init`, `verify` and `migrate` as an admin and a script meet them: words, JSON, exit codes."""

from __future__ import annotations

import json

import pytest

from bodycam_ingest.custody.note import VerifierKey
from bodycam_ingest.errors import (
    AlreadyRunningError,
    SchemaUnknownError,
    StoreUnreachableError,
)
from tests.support.dock import SMALL_CONFIG
from tests.support.ledgers import opened, sql
from tests.support.terminal import said

ORIGIN = "police.example.org/custody/dock-7"


@pytest.fixture
def call(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text(SMALL_CONFIG, encoding="utf-8")
    for name in ("cameras", "archive"):
        (tmp_path / name).mkdir()

    def run(*arguments):
        done = said("--config", str(config), *arguments, env={})
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def made(call):
    code, out, _ = call("init")
    assert code == 0
    return out


def test_init_gives_out_the_key_that_the_ledger_is_judged_by(made):
    (word,) = [word for word in made.split() if word.startswith(ORIGIN + "+")]
    assert VerifierKey.parse(word).name == ORIGIN


def test_init_can_be_run_again_where_a_store_was_not_there(call, tmp_path):
    (tmp_path / "archive").rmdir()
    code, _, err = call("init")
    assert code == StoreUnreachableError.exit_code
    assert "archive" in err
    assert not (tmp_path / "state").exists()
    (tmp_path / "archive").mkdir()
    assert call("init")[0] == 0


def test_a_ledger_that_holds(made, call):
    code, out, _ = call("verify", "--files", "--stores", "--json")
    value = json.loads(out)
    assert (code, value["result"], value["findings"]) == (0, "holds", [])
    assert value["checked"]["entries"] == 1
    assert value["checked"]["files"] == 0


def test_what_was_not_asked_for_is_not_called_checked(made, call):
    code, out, _ = call("verify", "--json")
    checked = json.loads(out)["checked"]
    assert code == 0
    assert (checked["files"], checked["objects"], checked["anchors"]) == (None, None, None)
    assert "files: not asked for" in call("verify")[1]


def test_a_ledger_that_is_broken(made, call, tmp_path):
    sql(tmp_path / "state", "DROP TRIGGER guard_ledger_entry_delete", "DELETE FROM ledger_entry")
    code, out, _ = call("verify", "--json")
    value = json.loads(out)
    assert (code, value["result"]) == (1, "broken")
    codes = {finding["code"] for finding in value["findings"]}
    assert {"guard_missing", "genesis_missing", "rolled_back"} <= codes
    code, out, _ = call("verify")
    assert code == 1
    assert "FINDING guard_missing" in out
    assert out.splitlines()[-1] == "result: broken"


def test_a_store_that_cannot_be_reached(made, call, tmp_path):
    (tmp_path / "archive").rename(tmp_path / "away")
    code, out, _ = call("verify", "--stores", "--json")
    value = json.loads(out)
    assert (code, value["result"], value["findings"]) == (2, "unchecked", [])
    assert "archive" in value["unreachable"][0]


def test_a_finding_outweighs_what_could_not_be_reached(made, call, tmp_path):
    (tmp_path / "archive").rename(tmp_path / "away")
    (tmp_path / "state/checkpoint").unlink()
    assert call("verify", "--stores")[0] == 1


def test_nothing_to_verify(call):
    code, out, _ = call("verify")
    assert code == 2
    assert "could not be checked: the database: no database" in out
    assert "bodycam-ingest init" in out


def test_nothing_to_migrate(made, call):
    code, out, _ = call("migrate")
    assert (code, "nothing to do" in out) == (0, True)
    assert json.loads(call("migrate", "--json")[1])["backup"] is None


def test_a_schema_of_another_version(made, call, tmp_path):
    sql(tmp_path / "state", "UPDATE alembic_version SET version_num = '9999'")
    code, _, err = call("migrate")
    assert code == SchemaUnknownError.exit_code
    assert "9999" in err
    # No word about the record: it was not looked at.
    code, out, _ = call("verify")
    assert (code, "could not be checked: the database: the database has schema 9999" in out) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("UPDATE alembic_version SET version_num = ''", 2),
        ("INSERT INTO alembic_version VALUES ('x')", 1),
        ("DELETE FROM alembic_version", 1),
        ("DROP TABLE alembic_version", 1),
    ],
    ids=["empty", "two", "none", "dropped"],
)
def test_a_database_whose_version_is_gone_is_broken(made, call, tmp_path, statement, code):
    sql(tmp_path / "state", statement)
    assert call("verify")[0] == code
    for command in ("items", "status", "migrate"):
        assert call(command)[0] in {13, 20}


def test_an_empty_database_is_broken(made, call, tmp_path):
    (tmp_path / "state/bodycam.db").write_bytes(b"")
    code, out, _ = call("verify")
    assert (code, "database_damaged" in out) == (1, True)


def test_a_database_that_is_gone_is_never_answered_with_init(made, call, tmp_path):
    (tmp_path / "state/bodycam.db").unlink()
    code, out, _ = call("verify")
    assert code == 2
    assert "Restore the state directory" in out
    _, _, err = call("items")
    assert "Restore the state directory" in err


def test_migrate_beside_the_daemon(made, call, tmp_path):
    with opened(tmp_path / "state", ORIGIN):
        assert call("migrate")[0] == AlreadyRunningError.exit_code
