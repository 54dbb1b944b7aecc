"""Help as a newcomer looks for it: groups, examples, `help`, man page, completion, version."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest

from bodycam_ingest.cli import group, manual
from tests.support.terminal import said, told

REPOSITORY = Path(__file__).parents[2]


def every_command():
    root = click.Context(group.group, info_name="bodycam-ingest")

    def below(command, path):
        yield path, command
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield from below(inner, f"{path} {name}")

    for name in group.COMMANDS:
        found = group.group.get_command(root, name)
        assert found is not None
        yield from below(found, name)


ALL = dict(every_command())


@pytest.mark.parametrize("path", ALL)
def test_each_command_has_an_example_in_its_help_at_80_columns(path):
    for words in ([*path.split(), "--help"], [*path.split(), "-h"], ["help", *path.split()]):
        done = said(*words, env={}, columns=80)
        assert done.returncode == 0
        assert "Examples:" in done.stdout
        assert f"bodycam-ingest {path.split()[0]}" in done.stdout
        # The words of a choice are one word for click: it does not fold them.
        assert all(len(line) <= 80 or "|" in line for line in done.stdout.splitlines())


@pytest.mark.parametrize("path", ALL)
def test_each_example_is_one_that_the_program_takes(path):
    for typed, _ in manual.EXAMPLES[path]:
        words = shlex.split(re.split(r" [>|] ", typed)[0])
        command = ALL[words[0]]
        words = words[1:]
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command, words = command.commands[words[0]], words[1:]
        context = click.Context(group.group, info_name="bodycam-ingest")
        command.make_context("x", words, parent=context)


def test_the_commands_are_grouped():
    done = said("--help", env={}, columns=80)
    titles = [line for line in done.stdout.splitlines() if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert titles == ["Options:", "Look:", "Act:", "Set up:", "Help:"]
    assert all(f"\n  {name} " in done.stdout for name in group.COMMANDS)


def test_without_a_command_it_says_what_there_is():
    done = said(env={})
    assert (done.returncode, done.stdout) == (2, "")
    assert "Look:" in done.stderr


@pytest.mark.parametrize(("typed", "meant"), [("staus", "status"), ("item", "items")])
def test_a_mistyped_command_is_told_the_nearest(typed, meant):
    for words in ([typed], ["help", typed]):
        done = said(*words, env={})
        assert done.returncode == 2
        assert f"Did you mean {meant}?" in done.stderr


def test_help_of_what_is_not_there():
    assert said("help", "xyzzy", env={}).returncode == 2
    assert said("help", "items", "xyzzy", env={}).returncode == 2
    assert said("help", "findings", "xyzzy", env={}).returncode == 2


def test_the_configuration_may_be_named_after_the_command_too(tmp_path):
    for words in (
        ["--config", f"{tmp_path}/a.toml", "items"],
        ["items", "--config", f"{tmp_path}/a.toml"],
        ["findings", "close", "X", "--reason", "y", "--config", f"{tmp_path}/a.toml"],
        ["findings", "--config", f"{tmp_path}/a.toml", "close", "X", "--reason", "y"],
    ):
        done = said(*words, env={})
        assert done.returncode == 2
        assert f"{tmp_path}/a.toml cannot be read" in done.stderr


def test_version_says_what_a_report_needs():
    value = told("version", env={})
    assert value["schema"] == 1
    assert value["version"] == importlib.metadata.version("bodycam-ingest")
    assert value["botocore"] == importlib.metadata.version("botocore")
    assert value["python"] == ".".join(map(str, sys.version_info[:3]))
    assert value["commit"] is None or re.fullmatch(r"[0-9a-f]{40}", value["commit"])
    text = said("version", env={}).stdout
    assert all(word in text for word in ("commit", "sqlite", value["botocore"]))


def test_the_man_page_has_every_command_option_and_exit_code():
    page = said("man", env={}).stdout
    assert page.startswith(".TH BODYCAM-INGEST 1")
    for path, command in ALL.items():
        assert f"\n.SS {path.replace('-', chr(92) + '-')}" in page
        for param in command.params:
            if isinstance(param, click.Option) and not param.hidden:
                assert max(param.opts, key=len).replace("-", "\\-") in page
    assert "\n.B 81 (not_running)" in page
    # A line that begins with a point or a quote is a request: only those that are meant.
    requests = {line.split(" ")[0] for line in page.splitlines() if line[:1] in {".", "'"}}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".RS", ".RE", ".nf", ".fi"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_for_each_shell(shell):
    script = said("completion", shell, env={}).stdout
    assert "_BODYCAM_INGEST_COMPLETE" in script
    assert f"{shell}_complete" in script


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("bodycam-ingest st", "status"),
        ("bodycam-ingest items --st", "--state"),
        ("bodycam-ingest items --state rel", "released"),
        ("bodycam-ingest quarantine re", "requeue"),
    ],
)
def test_the_shell_gets_completions(typed, wanted):
    done = subprocess.run(
        [sys.executable, "-m", "bodycam_ingest"],
        env={
            **os.environ,
            "_BODYCAM_INGEST_COMPLETE": "bash_complete",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split()) - 1),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"plain,{wanted}\n" in done.stdout


def test_the_example_configuration_comes_along():
    text = (REPOSITORY / "config.example.toml").read_text(encoding="utf-8")
    assert said("example-config", env={}).stdout == text


def test_a_wheel_holds_the_example_configuration(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    text = (REPOSITORY / "config.example.toml").read_bytes()
    assert zipfile.ZipFile(wheel).read("bodycam_ingest/config.example.toml") == text
