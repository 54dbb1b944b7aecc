"""docs/events.md against the code: every event that the daemon can log, its level and its keys."""

from __future__ import annotations

import ast
import functools
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
EVENT = re.compile(r"[a-z][a-z_]*(\.[a-z][a-z_]*)+")


@dataclass
class Event:
    levels: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    places: set[str] = field(default_factory=set)
    open_keys: bool = False


def _methods(node: ast.expr) -> set[str]:
    """The levels that an expression such as `log.warning if … else log.error` can call."""
    if isinstance(node, ast.Attribute) and node.attr in LEVELS:
        return {"error" if node.attr == "exception" else node.attr}
    if isinstance(node, ast.IfExp):
        body, other = _methods(node.body), _methods(node.orelse)
        return body | other if body and other else set()
    return set()


def _calls(tree: ast.AST):
    for scope in ast.walk(tree):
        if not isinstance(scope, (ast.FunctionDef, ast.Module)):
            continue
        named = {
            target.id: _methods(node.value)
            for node in ast.walk(scope)
            if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Attribute, ast.IfExp))
            for target in node.targets
            if isinstance(target, ast.Name) and _methods(node.value)
        }
        for node in ast.walk(scope):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            levels = _methods(node.func)
            if isinstance(node.func, ast.Name):
                levels = named.get(node.func.id, set())
            first = node.args[0]
            if levels and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node, first.value, levels


@functools.cache
def logged() -> dict[str, Event]:
    events: defaultdict[str, Event] = defaultdict(Event)
    for path in sorted((ROOT / "bodycam_ingest").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for call, name, levels in _calls(tree):
            event = events[name]
            event.levels |= levels
            event.keys |= {k.arg for k in call.keywords if k.arg and k.arg != "exc_info"}
            event.open_keys |= any(k.arg is None for k in call.keywords)
            event.places.add(f"{path.relative_to(ROOT)}:{call.lineno}")
    return dict(events)


def rows() -> list[tuple[str, set[str], set[str], str]]:
    text = (ROOT / "docs/events.md").read_text(encoding="utf-8")
    found = re.findall(r"(?m)^\| ([^|]+) \| ([^|]+) \| ([^|]*) \| (.+) \|$", text)
    return [
        (
            event.strip("` "),
            set(re.findall(r"[a-z]+", level)) - {"or"},
            set(re.findall(r"[a-z][a-z0-9_]*", keys)),
            meaning.strip(),
        )
        for event, level, keys, meaning in found
        if event.strip() != "event"
    ]


def test_names_are_constant_and_dotted():
    for name, event in logged().items():
        assert EVENT.fullmatch(name), (name, event.places)


def test_keys_are_written_out_at_the_call():
    assert {n: e.places for n, e in logged().items() if e.open_keys} == {}


def test_rows_are_sorted_and_stand_once():
    names = [row[0] for row in rows()]
    assert names == sorted(set(names))


def test_every_event_of_the_code_is_in_the_table():
    listed = {row[0] for row in rows()}
    assert {n: e.places for n, e in logged().items() if n not in listed} == {}


def test_no_row_tells_of_an_event_that_nobody_logs():
    assert {row[0] for row in rows()} - logged().keys() == set()


def test_levels_and_keys_are_those_of_the_code():
    events = logged()
    wrong = {}
    for name, levels, keys, meaning in rows():
        event = events.get(name)
        if event is None:
            continue
        if (levels, keys) != (event.levels, event.keys) or not meaning:
            wrong[name] = f"level {sorted(event.levels)}, keys {sorted(event.keys)}"
    assert wrong == {}
