"""Commands that read, on a terminal of 80 columns and in a pipe: whole ids, whole times."""

from __future__ import annotations

import random
import re

import pytest

from bodycam_ingest.db import findings
from bodycam_ingest.errors import NotRunningError, UnknownSubjectError
from bodycam_ingest.model import subjects
from tests.support.dock import DIRECTORY_STORE, Dock
from tests.support.ledgers import opened
from tests.support.terminal import on_a_terminal, said, told

SECOND = (
    '[[stores]]\nname = "second-archive"\ntype = "directory"\npath = "second"\nrequired = false\n'
)
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d\d:\d\d")
READING = [
    ["items"],
    ["items", "--camera", "X60A1001", "--sort", "size"],
    ["cameras"],
    ["dockings"],
    ["findings"],
    ["findings", "--all"],
    ["status"],
    ["quarantine"],
    ["doctor"],
    ["verify", "--files", "--stores"],
]


@pytest.fixture(scope="module")
def dock(tmp_path_factory):
    """A dock with two cameras' recordings, one of them set apart, and findings."""
    made = Dock(tmp_path_factory.mktemp("reading"), stores=DIRECTORY_STORE + SECOND)
    for name in ("store", "second"):
        (made.root / name).mkdir()
    made.init()
    made.env["TZ"] = "Europe/Berlin"
    data = random.Random(7)
    names = [f"DCIM/100BWC/X60A1001_20261123_20{n:02}00_0000.MP4" for n in range(4)]
    made.plug("X60A1001", {name: data.randbytes(30_000) for name in names})
    made.plug("BWC-00042", {"A.MP4": data.randbytes(1_500_000)})
    with made.running():
        made.wait_state("X60A1001", "confirmed")
        made.wait_state("BWC-00042", "confirmed")
        made.unplug("X60A1001")
        made.wait_for(lambda: made.bay("X60A1001") is None)
        made.plug("LATE", {"B.MP4": data.randbytes(2000)})
        made.wait_state("LATE", "confirmed")
    rescue = made.root / "rescue"
    rescue.mkdir()
    (rescue / "C.MP4").write_bytes(data.randbytes(5000))
    made.ok("ingest", str(rescue), "--camera", "OLD1", "--no-upload")
    (item,) = made.json("items", "--camera", "OLD1")
    made.ok("quarantine", "add", item["item_id"][:-2].lower(), "--reason", "looks odd " * 12)
    origin = "police.example.org/custody/dock-1"
    detail = f"{item['item_id']} is not what {item['docking_id']} said of it. " * 4
    about = (subjects.item(item["item_id"]), subjects.store("nas"), subjects.camera("OLD1"))
    # Ids of one millisecond follow on one another: their beginnings would name several findings.
    for subject in about:
        with opened(made.state_dir, origin) as (_, ledger), ledger.transaction() as txn:
            findings.alarm(txn, subject, "something_odd", detail)
    (first, *_) = made.json("findings")
    made.ok("findings", "close", first["finding_id"][:-1].lower(), "--reason", "seen")
    return made


def plain(text):
    return ANSI.sub("", text)


def ids(dock):
    found = [row["item_id"] for row in told("items", env=dock.env)]
    found += [row["docking_id"] for row in told("dockings", env=dock.env)]
    return found + [row["finding_id"] for row in told("findings", "--all", env=dock.env)]


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_at_80_columns_nothing_is_broken_over_lines(dock, command):
    text = said(*command, env=dock.env, columns=80).stdout
    # What moves on a terminal is wiped away again.
    lines = [line for line in plain(text).splitlines() if "Verifying" not in line]
    assert lines
    roots = str(dock.root.resolve())
    for line in lines:
        # A single path may be longer than any terminal; it is folded by the terminal, not by us.
        assert len(line) <= 80 or roots in line, line
        assert line == line.rstrip()
    for line in lines:
        for piece in re.findall(r"\b[0-9A-HJKMNP-TV-Z]{10,26}\b", line):
            assert len(piece) == 26 or piece not in "".join(ids(dock)), f"cut id in {line!r}"
        for day in re.findall(r"\d{4}-\d\d-\d\d\b(?![_T])", line):
            assert TIME.search(line), f"cut time {day} in {line!r}"


def test_every_item_has_one_line_with_its_whole_id(dock):
    text = said("items", env=dock.env, columns=80).stdout
    lines = plain(text).splitlines()
    for item in told("items", env=dock.env):
        if item["camera"] == "X60A1001":
            (line,) = [line for line in lines if item["item_id"] in line]
            assert item["state"] in line
            assert item["path"][-8:] in line


def test_times_are_local_for_people_and_utc_for_scripts(dock):
    text = said("cameras", env=dock.env).stdout
    assert TIME.search(text)
    assert all(found.endswith(("+01:00", "+02:00")) for found in TIME.findall(text))
    assert all(row["last_docked_at"].endswith("Z") for row in told("cameras", env=dock.env))


@pytest.mark.parametrize("command", [c for c in READING if c[0] != "doctor"], ids=" ".join)
def test_in_a_pipe_lines_are_whole_without_trailing_blanks_or_colours(dock, command):
    text = said(*command, env=dock.env).stdout
    assert "\x1b" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    if command == ["items"]:
        assert all(item["path"] in text for item in told("items", env=dock.env))
        assert "SHA-256" in text
        assert "second-archive: confirmed" in text


def test_an_item_by_the_beginning_of_its_id_or_digest(dock):
    item = told("items", "--camera", "LATE", env=dock.env)[0]
    wanted = item["item_id"]
    assert told("items", wanted.lower(), env=dock.env)["item_id"] == wanted
    assert told("items", item["sha256"][:12], env=dock.env)["item_id"] == wanted
    assert told("items", wanted[:-1], env=dock.env)["item_id"] == wanted
    several = said("items", wanted[:4], env=dock.env)
    assert several.returncode == 2
    assert wanted in several.stderr
    assert said("items", "7ZZ", env=dock.env).returncode == UnknownSubjectError.exit_code


def test_filters(dock):
    assert {i["camera"] for i in told("items", "--camera", "x60a1001", env=dock.env)} == {
        "X60A1001"
    }
    assert len(told("items", "--state", "quarantined", env=dock.env)) == 1
    assert len(told("items", "--not-in", "nas", env=dock.env)) == 1
    assert len(told("items", "--store", "second-archive", env=dock.env)) == 7
    docking = told("dockings", "--camera", "X60A1001", env=dock.env)[0]["docking_id"]
    assert len(told("items", "--docking", docking[:-3].lower(), env=dock.env)) == 4
    assert told("items", "--since", "1h", env=dock.env) == told("items", env=dock.env)
    assert told("items", "--until", "yesterday", env=dock.env) == []
    assert len(told("items", "--until", "today", env=dock.env)) == 7
    assert said("items", "--since", "soon", env=dock.env).returncode == 2


def test_a_cut_list_says_so_and_an_empty_one_too(dock):
    done = said("items", "--limit", "2", env=dock.env)
    assert "2 of 7 items shown" in done.stderr
    assert len(done.stdout.splitlines()) == 3
    done = said("items", "--limit", "0", env=dock.env)
    assert done.stderr == ""
    for command, words in (
        (["items", "--until", "yesterday"], "no items match"),
        (["items", "--until", "yesterday", "--json"], "no items match"),
        (["findings", "--until", "yesterday"], "no open findings match"),
        (["dockings", "--until", "yesterday"], "no dockings match"),
    ):
        done = said(*command, env=dock.env)
        assert (done.returncode, done.stderr.strip()) == (0, words)
        assert done.stdout.strip() in ("", "[]")


def test_states_have_colours_on_a_terminal_unless_they_are_not_wanted(dock):
    text = said("items", env=dock.env, columns=80).stdout
    assert "\x1b[32mreleased\x1b[0m" in text
    assert "\x1b[31mquarantined\x1b[0m" in text
    for command, env in (
        (["items"], {"TERM": "dumb"}),
        (["items"], {"NO_COLOR": "1"}),
        (["--color", "never", "items"], {}),
        (["items", "--color", "never"], {}),
    ):
        text = said(*command, env={**dock.env, **env}, columns=80).stdout
        assert "\x1b" not in text
    assert "\x1b[32m" in said("items", "--color", "always", env=dock.env).stdout


def test_a_narrow_terminal_gets_records(dock):
    text = said("items", env=dock.env, columns=50).stdout
    for item in told("items", env=dock.env):
        assert f"\n{item['item_id']}\n" in "\n" + plain(text)
        assert f"  sha-256  {item['sha256'][:16]}\n" in plain(text)


def test_status_of_a_dock_without_cameras_names_its_stores(dock):
    code, text = on_a_terminal("status", env=dock.env)
    assert code == NotRunningError.exit_code
    assert "store nas: " in text
    assert "store second-archive: " in text
    assert all(len(line) <= 80 for line in plain(text).splitlines())
