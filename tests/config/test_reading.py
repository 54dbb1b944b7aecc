"""Whatever lies where the configuration should: one fault, bounded work, and what to do."""

from __future__ import annotations

import codecs
import os
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.config import load
from bodycam_ingest.config.load import read_tables
from bodycam_ingest.errors import ConfigError


def refused(path, content: bytes) -> ConfigError:
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        read_tables(path)
    assert str(path) in caught.value.message
    assert len(caught.value.message) < 500
    return caught.value


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 50_000,
        b"a = " + b"[" * 500 + b"]" * 500,
        b"a = " + b"{x=" * 50_000,
        b"a = [\n" + b"[\n" * 50_000,
        b".".join([b"a"] * 3_000) + b" = 1",
        b"a." * 100_000 + b"a = 1",
        b"[" + b"a ." * 1_000 + b"a]",
        b"x = {" + b"'a'." * 3_000 + b"a = 1}",
        b'x = "a" # it\'s\n' + b"y = " + b"[" * 5_000,
        b'x = """ [ """\ny = ' + b"[" * 5_000,
    ],
    ids=lambda content: content[:16].decode("ascii"),
)
def test_what_nobody_would_write_is_refused_before_it_costs_anything(tmp_path, content):
    told = refused(tmp_path / "config.toml", content)
    assert "more than 32" in told.message
    assert "line" in told.message


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "content", [b'"""\\' * 250_000, b"'" * 1_000_001, b'"' * 1_000_001, b"'''\n" * 199_999]
)
def test_strings_without_an_end_cost_no_more(tmp_path, content):
    refused(tmp_path / "config.toml", content)


def test_brackets_and_dots_in_strings_and_comments_are_no_structure(tmp_path):
    path = tmp_path / "config.toml"
    deep, dotted = "[" * 100, "." * 100
    path.write_text(
        f"# {deep} {dotted} it's\n"
        f'a = \'{deep}\'\nb = "{dotted}\\"{deep}"\n'
        f'c = """\n{deep}\n"quoted"\n{dotted}"""\n'
        f"d = '''\n{deep}'\n{dotted}'''\n"
        f'"{dotted}" = [[1.5, 2.5], {{x.y = "{deep}"}}]\n'
    )
    assert read_tables(path) == tomllib.loads(path.read_text())


_LINES = st.lists(
    st.sampled_from(
        ["a = 1", "[t]", "[[u]]", "b.c = 'x.[{'", 'd = "[[\\"" # it\'s', "e = {f = [1, 2]}", "# '"]
    ),
    max_size=8,
)


@given(lines=_LINES)
def test_what_tomllib_reads_is_read_alike(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("config") / "config.toml"
    path.write_text("\n".join(lines))
    try:
        wanted = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError:
        refused(path, path.read_bytes())
    else:
        assert read_tables(path) == wanted


def test_the_mark_that_some_editors_put_before_utf_8_is_no_fault(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(codecs.BOM_UTF8 + b"a = 1\n")
    assert read_tables(path) == {"a": 1}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_told_as_what_it_is(tmp_path, encoding):
    told = refused(tmp_path / "config.toml", "[dock]\n".encode(encoding))
    assert "UTF-16" in told.message
    assert "UTF-8" in told.hint


def test_a_byte_that_is_no_text_and_a_fault_of_syntax_name_their_line(tmp_path):
    told = refused(tmp_path / "config.toml", b"[dock]\nid = 'caf\xe9'\n")
    assert "line 2" in told.message
    told = refused(tmp_path / "config.toml", b"[dock]\nid = \n")
    assert "line 2" in told.message
    assert "line 2" in told.hint


def test_what_cannot_be_read_says_what_to_do(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, words in ((tmp_path, "directory"), (pipe, "regular"), (tmp_path / "no", "read")):
        with pytest.raises(ConfigError, match=words) as caught:
            load(path)
        assert "--config" in caught.value.hint

    def forbidden(*_arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", forbidden)
    with pytest.raises(ConfigError, match="Permission denied") as caught:
        load(tmp_path / "config.toml")
    assert "daemon's user" in caught.value.hint
