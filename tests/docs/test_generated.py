"""Documents that are drawn from the code are the code's."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import bodycam_ingest
from bodycam_ingest import errors
from bodycam_ingest.cli import group
from docs import generate


@pytest.mark.parametrize("name", generate.PARTS)
def test_generated_parts_are_current(name):
    path = generate.DOCS / generate.PARTS[name][0]
    text = path.read_text(encoding="utf-8")
    assert generate.renewed(name, text) == text, "run `make docs`"


def test_every_fault_is_in_the_one_tree_and_has_a_code_of_its_own():
    for module in pkgutil.walk_packages(bodycam_ingest.__path__, "bodycam_ingest."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    faults = errors.all_error_classes()
    assert {fault.__module__ for fault in faults} <= {
        f"bodycam_ingest.errors.{m}" for m in ("base", "edges")
    }
    codes = [fault.code for fault in faults]
    assert len(set(codes)) == len(codes)
    own = [fault.exit_code for fault in faults if fault.exit_code > 2]
    assert len(set(own)) == len(own)
    assert {group.EXIT_INTERRUPTED, group.EXIT_BROKEN_PIPE}.isdisjoint(own)
    assert all(fault.exit_code <= 125 for fault in faults)
    assert all(fault.default_hint and fault.__doc__ for fault in faults)
