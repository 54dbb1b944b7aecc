"""What the documents tell a reader to type exists, and what they link to is there."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from bodycam_ingest.cli.group import COMMANDS, group
from bodycam_ingest.config import examine

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"))


def typed() -> list[tuple[Path, list[str]]]:
    found = []
    for path in PAGES:
        for block in blocks(path, "sh"):
            plain = re.sub(r"(?ms)<<'END'.*?^END$", "", block)
            for line in plain.splitlines():
                words = shlex.split(line, comments=True)
                if words:
                    found.append((path, words))
    return found


def spoken() -> set[str]:
    """`bodycam-ingest …` in running text and in hints."""
    sources = [*PAGES, *(ROOT / "bodycam_ingest").rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    return set(re.findall(r"`bodycam-ingest ([a-z][a-z-]+)", text))


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"(?m)^([a-z]+):(?!=)", makefile))


def test_make_targets_exist():
    asked = {words[1] for _path, words in typed() if words[0] == "make"}
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES)
    asked |= set(re.findall(r"`make ([a-z]+)", text))
    assert {"demo", "test", "check"} <= asked
    assert asked - targets() == set()


def test_every_target_is_explained_by_help():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets() == set(re.findall(r"(?m)^([a-z]+):.*## ", makefile))


@pytest.mark.parametrize(
    "words",
    [words for _path, words in typed() if words[0] == "bodycam-ingest"],
    ids=" ".join,
)
def test_commands_and_options_exist(words):
    command = group.get_command(click.Context(group), words[1])
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words[2:] if word.startswith("-")} <= known


def test_commands_that_are_spoken_of_exist():
    assert spoken() - COMMANDS.keys() == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_says_what_it_does(name):
    command = group.get_command(click.Context(group), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_configurations_that_are_shown_hold(tmp_path):
    (trial,) = re.findall(
        r"(?ms)config\.toml <<'END'\n(.*?)^END$", (ROOT / "README.md").read_text(encoding="utf-8")
    )
    (cloud,) = blocks(ROOT / "README.md", "toml")
    path = tmp_path / "config.toml"
    path.write_text(trial + cloud, encoding="utf-8")
    tomllib.loads(trial)
    assert examine(path)[1] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    text = re.sub(r"(?ms)^```.*?^```", "", path.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), target
