"""What an admin asks for: the same answer and exit code with a daemon and without."""

from __future__ import annotations

import pytest

from tests.dock import Dock

pytestmark = pytest.mark.system

NOBODY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
UNKNOWN = (
    (("retry", NOBODY), "no item"),
    (("retry", "--store", "NOPE"), "no store"),
    (("quarantine", "add", NOBODY, "--reason", "x"), "no item"),
    (("quarantine", "requeue", NOBODY, "--reason", "x"), "no item"),
    (("quarantine", "reinstate", NOBODY), "no item"),
    (("cameras", "assign", "NOPE", "officer"), "no camera"),
    (("findings", "close", NOBODY, "--reason", "x"), "no open finding"),
    (("items", NOBODY), "no item"),
)


@pytest.fixture
def dock(tmp_path):
    made = Dock(tmp_path)
    made.store.mkdir()
    made.init()
    yield made
    if made.daemon is not None:
        made.stop(kill=True)


def refusals(dock):
    found = []
    for arguments, words in UNKNOWN:
        done = dock.run(*arguments)
        assert words in done.stderr, (arguments, done.stderr)
        found.append((arguments, done.returncode))
    return found


def test_what_does_not_exist_is_told_by_one_code_with_a_daemon_and_without(dock):
    wanted = [(arguments, 4) for arguments, _ in UNKNOWN]
    assert refusals(dock) == wanted
    with dock.running():
        assert refusals(dock) == wanted


def test_a_step_that_an_item_cannot_take_is_a_refusal_and_no_defect(dock):
    dock.plug("CAM1", {"A.MP4": b"x" * 5000})
    with dock.running():
        dock.wait_state("CAM1", "confirmed")
        item_id = dock.items()[0]["item_id"]
        for command in (("add", item_id, "--reason", "x"), ("reinstate", item_id)):
            done = dock.run("quarantine", *command)
            assert done.returncode == 2, done.stderr
            assert f"item {item_id} is released" in done.stderr
