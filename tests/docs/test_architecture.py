"""What import contracts cannot see: I/O in pure modules, sizes, who may import what, leftovers."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "bodycam_ingest"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LINES_MAX = 400
FUNCTION_LINES_MAX = 70
STATE = re.compile(r"(ItemState|UploadState)\.[A-Z]+(\.value)?")
SUBJECT = re.compile(r"f.(bay|camera|docking|finding|item|store|upload|object|anchors|worker):\{")

# Values and decisions: they are given bytes, numbers and moments, and return the same.
PURE = [
    "errors",
    "model",
    "custody",
    "docking/comparison",
    "docking/manifest",
    "camera/profile",
    "release/decision",
]
PURE_FORBIDDEN_MODULES = {
    "os", "io", "time", "socket", "subprocess", "threading", "shutil", "tempfile", "random",
    "secrets", "structlog", "sqlalchemy", "botocore", "requests",
}  # fmt: skip
PURE_FORBIDDEN_CALLS = {"open", "print", "input", "exec", "eval"}
PURE_FORBIDDEN_ATTRIBUTES = {"now", "utcnow", "today"}

# Who alone may import what; the rest goes through them.
ONLY_IMPORTERS: dict[str, str | tuple[str, ...]] = {
    "watchdog": "camera/sources/",
    "pyudev": "camera/sources/",
    "sqlalchemy": "db/",
    "alembic": "db/",
    "botocore": "stores/",
    "click": "cli/",
    "rich": "cli/",
    "pydantic": ("config/", "daemon/control/requests.py"),
    "tomllib": "config/",
}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def pure_modules() -> list[Path]:
    found = []
    for name in PURE:
        path = PACKAGE / name
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
    return [path for path in found if path.exists()]


def imported(tree: ast.Module, *, typing_too: bool) -> set[str]:
    skipped: set[ast.AST] = set()
    if not typing_too:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                skipped |= {inner for part in node.body for inner in ast.walk(part)}
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_pure_modules_do_no_input_or_output():
    offenders = []
    for path in pure_modules():
        tree = tree_of(path)
        foreign = imported(tree, typing_too=False) & PURE_FORBIDDEN_MODULES
        offenders += [f"{name_of(path)} imports {name}" for name in sorted(foreign)]
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = node.func
            if (isinstance(called, ast.Name) and called.id in {*PURE_FORBIDDEN_CALLS, "Path"}) or (
                isinstance(called, ast.Attribute) and called.attr in PURE_FORBIDDEN_ATTRIBUTES
            ):
                offenders.append(f"{name_of(path)}:{node.lineno} {ast.unparse(called)}")
    assert offenders == []


def test_foreign_packages_are_met_at_one_edge():
    offenders = [
        f"{name_of(path)} imports {package}"
        for path in MODULES
        for package in imported(tree_of(path), typing_too=False) & ONLY_IMPORTERS.keys()
        if not name_of(path).startswith(ONLY_IMPORTERS[package])
    ]
    assert offenders == []


def test_modules_and_functions_stay_short():
    offenders = []
    for path in MODULES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        offenders += [f"{name_of(path)}: {lines} lines"] * (lines > LINES_MAX)
        for node in ast.walk(tree_of(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    offenders.append(f"{name_of(path)} {node.name}: {lines} lines")
    assert offenders == []


def swallows(node: ast.ExceptHandler) -> bool:
    if node.type is None:
        return True
    if not (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}):
        return False
    text = ast.unparse(ast.Module(body=node.body, type_ignores=[]))
    logged = re.search(r"\.exception\(|\.critical\(|\.error\(", text)
    # A thread hands what stopped it to the one that waits for it.
    handed_on = node.name is not None and re.search(rf"\b{node.name}\b", text)
    return not ("raise" in text or logged or handed_on)


def test_no_error_is_swallowed():
    offenders = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and swallows(node)
    ]
    assert offenders == []


def test_nothing_is_left_for_later_in_the_code():
    marks = "|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"])
    offenders = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in [*MODULES, *TESTS]
        for line in re.findall(rf"(?m)^.*\b(?:{marks})\b.*$", path.read_text(encoding="utf-8"))
    ]
    assert offenders == []


def is_set_of_states(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Set | ast.List | ast.Tuple)
        and len(node.elts) > 1
        and all(STATE.fullmatch(ast.unparse(each)) for each in node.elts)
    )


def is_subject(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) and SUBJECT.match(ast.unparse(node)) is not None


@pytest.mark.parametrize(
    ("found", "home"),
    [(is_set_of_states, "model/lifecycle.py"), (is_subject, "model/subjects.py")],
)
def test_sets_of_states_and_subjects_are_written_out_in_one_module(found, home):
    where = {name_of(path) for path in MODULES if any(map(found, ast.walk(tree_of(path))))}
    assert where == {home}


def test_every_exception_to_a_rule_has_its_reason():
    offenders = [
        f"{name_of(path)}: {line.strip()}"
        for path in MODULES
        for line in path.read_text(encoding="utf-8").splitlines()
        if ("# noqa" in line and not re.search(r"# noqa: [A-Z0-9, ]+ - \S", line))
        or re.search(r"# type: ignore(?!\[)", line)
    ]
    assert offenders == []


def test_every_importable_folder_says_what_it_is_for():
    for folder in {path.parent for path in MODULES}:
        assert ast.get_docstring(tree_of(folder / "__init__.py")), folder


def test_the_tree_names_nothing_of_the_machine_that_it_was_made_on():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    if listed.returncode != 0:
        pytest.skip("expected: no git checkout")
    words = ["/wo" + "rk/", "/tmp" + "/w/", "py" + "pi.org", "pythonh" + "osted", "index" + "-url"]
    allowed = {"Makefile", "tests/docs/test_architecture.py"}
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if name in allowed or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        assert [word for word in words if word in text] == [], name


def test_the_architecture_page_names_what_is_there():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    named = {
        one
        for one in re.findall(r"`([a-z_]+/[a-z_0-9/]*(?:\.py)?)`", page)
        if one.split("/")[0] in folders
    }
    assert len(named) > 20
    assert [one for one in sorted(named) if not (PACKAGE / one).exists()] == []
