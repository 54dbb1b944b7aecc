"""Every dependency has its reason, its lower bound and its pinned, hashed version."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUNTIME = PROJECT["project"]["dependencies"]
DEV = PROJECT["dependency-groups"]["dev"]
EXTRAS = [
    d for group in PROJECT["project"].get("optional-dependencies", {}).values() for d in group
]


def names(requirements):
    return [re.split(r"[\[<>=!~; ]", requirement)[0].lower() for requirement in requirements]


def sections():
    text = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    program, _, development = text.partition("## Development and tests")
    row = re.compile(r"(?m)^\| ([a-z0-9-]+) \| (.+) \|$")
    drop = {"package"}
    return (
        [name for name, _ in row.findall(program) if name not in drop],
        [name for name, _ in row.findall(development) if name not in drop],
    )


def test_every_dependency_has_its_reason_and_no_other_is_listed():
    program, development = sections()
    assert program == sorted(names(RUNTIME + EXTRAS))
    assert development == sorted(names(DEV))


@pytest.mark.parametrize("requirement", RUNTIME + EXTRAS + DEV)
def test_every_dependency_has_a_lower_bound(requirement):
    assert ">=" in requirement


@pytest.mark.parametrize(("file", "requirements"), [("run", RUNTIME), ("dev", RUNTIME + DEV)])
def test_every_dependency_is_pinned_with_hashes_and_names_no_registry(file, requirements):
    text = (ROOT / f"requirements/{file}.txt").read_text(encoding="utf-8")
    pinned = re.findall(
        r"(?m)^([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==[^\\\n]+\\\n\s+--hash=sha256:", text
    )
    assert len(pinned) == len(re.findall(r"(?m)^[a-z0-9]", text))
    assert set(names(requirements)) <= set(pinned)
    assert "://" not in text


def test_lower_bounds_are_not_above_what_is_pinned():
    text = (ROOT / "requirements/dev.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"(?m)^([a-z0-9-]+)==([0-9.]+)", text))
    for requirement in RUNTIME + DEV:
        (name,) = names([requirement])
        bound = re.search(r">=([0-9.]+)", requirement)
        assert bound
        parts = [tuple(int(p) for p in v.split(".")) for v in (bound[1], pinned[name])]
        assert parts[0] <= parts[1], requirement
