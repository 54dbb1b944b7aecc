"""The frame of the command line: exit codes, what goes where, hostile names on a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bodycam_ingest import errors
from bodycam_ingest.cli import group, output
from bodycam_ingest.cli.tables import Column
from tests.support.dock import SMALL_CONFIG
from tests.support.terminal import said

HOSTILE = b"a\n\x1b[2K[bold red]x[/]\xff.mp4"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(SMALL_CONFIG, encoding="utf-8")
    for name in ("cameras", "staging", "archive"):
        (tmp_path / name).mkdir()
    return path


def call(*arguments):
    done = said(*map(str, arguments), env={})
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def failing(monkeypatch):
    def replace(error):
        @click.command("status")
        @click.option("--json", is_flag=True)
        def command(**_options):
            raise error

        monkeypatch.setattr(group.LazyGroup, "get_command", lambda *_: command)

    return replace


def process(*arguments, **more):
    command = [sys.executable, "-m", "bodycam_ingest", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)


@pytest.mark.parametrize("fault", errors.all_error_classes(), ids=lambda fault: fault.code)
def test_each_fault_ends_with_its_own_code_its_message_and_its_hint(failing, fault):
    failing(fault("what happened"))
    code, out, err = call("status")
    assert code == fault.exit_code
    assert out == ""
    assert "what happened" in err
    assert fault.default_hint in err


def test_with_json_a_fault_is_one_line_of_json_on_stderr(failing):
    failing(errors.StoreFullError("no room\x1b[2K in cloud"))
    code, out, err = call("status", "--json")
    assert (code, out) == (errors.StoreFullError.exit_code, "")
    assert "\x1b" not in err
    assert json.loads(err) == {
        "schema": 1,
        "error": {
            "code": "store_full",
            "exit_code": errors.StoreFullError.exit_code,
            "message": "no room\x1b[2K in cloud",
            "hint": errors.StoreFullError.default_hint,
        },
    }


@pytest.mark.parametrize(
    "wrong",
    [
        ["nonsense"],
        ["--nonsense"],
        ["check-config", "--nonsense"],
        ["items", "--state", "uploaded"],
        ["ingest", "/x"],
    ],
)
def test_what_click_refuses_has_the_form_of_every_other_fault(wrong):
    code, out, err = call(*wrong)
    assert (code, out) == (2, "")
    assert err.startswith("bodycam-ingest: ")
    assert "Usage:" in err
    assert "--help` says more" in err.splitlines()[-1]
    code, out, err = call(*wrong, "--json")
    told = json.loads(err)["error"]
    assert (code, out, told["code"], told["exit_code"]) == (2, "", "usage", 2)


def test_an_interrupt_ends_with_130(failing):
    failing(KeyboardInterrupt())
    assert call("status")[0] == 130


def test_a_defect_is_not_hidden(failing):
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        call("status")


@pytest.mark.process
def test_the_code_that_a_command_returns_is_the_code_of_the_process(config):
    assert process("--config", config, "check-config").returncode == 0
    config.write_text("[dock]", encoding="utf-8")
    done = process("--config", config, "check-config")
    assert done.returncode == 2
    assert "dock.id: missing" in done.stderr


@pytest.mark.process
def test_a_reader_that_goes_away_is_no_fault(config):
    command = f"{sys.executable} -m bodycam_ingest --config {config} check-config --json"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{{ sleep 0.5; {command}; }} | true"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 141
    assert done.stderr == ""


def test_help_loads_no_command_and_no_library_of_the_daemon():
    code = (
        "import sys; sys.argv = ['x', '--help']\n"
        "from bodycam_ingest.cli import main; main()\n"
        "heavy = {'pydantic', 'sqlalchemy', 'botocore', 'rich', 'structlog', 'watchdog'}\n"
        "own = 'camera docking acquire upload release audit staging stores daemon doctor db'\n"
        "heavy |= {f'bodycam_ingest.{name}' for name in own.split()}\n"
        "sys.exit(' '.join(heavy & sys.modules.keys()) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in group.COMMANDS)


@pytest.mark.process
def test_the_configuration_is_found_by_option_then_environment(config, tmp_path):
    environment = {**os.environ, "BODYCAM_INGEST_CONFIG": str(config)}
    assert process("check-config", env=environment).returncode == 0
    other = process("--config", tmp_path / "none.toml", "check-config", env=environment)
    assert other.returncode == 2
    assert "none.toml cannot be read" in other.stderr


def test_check_config_gives_faults_as_data(config):
    code, out, _ = call("--config", config, "check-config", "--json")
    assert (code, json.loads(out)["result"]) == (0, "holds")
    config.write_text(SMALL_CONFIG + "[lgo]\n", encoding="utf-8")
    code, out, _ = call("--config", config, "check-config", "--json")
    told = json.loads(out)
    assert (code, told["result"]) == (2, "broken")
    assert told["faults"] == [
        {"key": "lgo", "problem": "unknown key", "value": "{}", "hint": "did you mean log?"}
    ]


def test_a_hostile_name_reaches_no_terminal_raw(capsys):
    row = {"path": HOSTILE, "state": os.fsdecode(HOSTILE)}
    output.table([Column(">PATH", "path"), Column("STATE", "state")], [row])
    output.sentence(os.fsdecode(HOSTILE), state="ALARM")
    output.line(os.fsdecode(HOSTILE))
    output.say(os.fsdecode(HOSTILE).replace("\n", " "))
    output.emit_json({"path": HOSTILE, "text": os.fsdecode(HOSTILE), "at": Path("/x")})
    for text in capsys.readouterr():
        assert "\x1b" not in text
        assert all(c.isprintable() or c == "\n" for c in text)
    output.table([Column("PATH", "path")], [row])
    assert "[bold red]x[/]" in capsys.readouterr().out


def test_a_pipe_gets_whole_lines(capsys):
    columns = [Column("PATH", "path"), Column("SHA-256", "sha256")]
    output.table(columns, [{"path": "p" * 300, "sha256": "f" * 64}])
    assert capsys.readouterr().out.splitlines()[1] == "p" * 300 + "  " + "f" * 64


def test_no_bar_is_drawn_where_no_terminal_is(capsys):
    with output.progress("copying", 10) as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")
