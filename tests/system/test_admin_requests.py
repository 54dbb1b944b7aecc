"""What an admin asks for: the same answer and exit code with a daemon and without."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys

from bodycam_ingest.daemon.control.client import short_address

NOBODY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
UNKNOWN = (
    (("retry", NOBODY), "no item"),
    (("retry", "--store", "NOPE"), "no store"),
    (("quarantine", "add", NOBODY, "--reason", "x"), "no item"),
    (("quarantine", "requeue", NOBODY, "--reason", "x"), "no item"),
    (("quarantine", "reinstate", NOBODY), "no item"),
    (("cameras", "assign", "NOPE", "officer"), "no camera"),
    (("findings", "close", NOBODY, "--reason", "x"), "no finding"),
    (("items", NOBODY), "no item"),
    (("items", "--camera", "NOPE"), "no camera"),
    (("items", "--store", "nasty"), "no store"),
    (("items", "--not-in", "nope"), "no store"),
    (("items", "--docking", "ZZZ"), "no docking"),
    (("items", "--bay", "nope"), "no bay"),
    (("dockings", "--camera", "NOPE"), "no camera"),
    (("findings", "--store", "nope"), "no store"),
)


def refusals(dock):
    found = []
    for arguments, words in UNKNOWN:
        done = dock.run(*arguments)
        assert words in done.stderr, (arguments, done.stderr)
        assert done.stdout == "", arguments
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
        dock.wait_for(lambda: [item["state"] for item in dock.items()] == ["released"])
        item_id = dock.items()[0]["item_id"]
        for command in (("add", item_id, "--reason", "x"), ("reinstate", item_id)):
            done = dock.run("quarantine", *command)
            assert done.returncode == 2, done.stderr
            assert f"item {item_id} is released" in done.stderr


@contextlib.contextmanager
def connected(dock):
    with (
        short_address(dock.state_dir) as address,
        socket.socket(socket.AF_UNIX) as sock,
    ):
        sock.connect(address)
        sock.settimeout(60)
        yield sock


def test_the_socket_stands_silent_slow_huge_and_deep_requests_and_the_daemon_stays_well(dock):
    with dock.running(), contextlib.ExitStack() as held:
        for _ in range(80):
            held.enter_context(connected(dock)).sendall(b'{"comm')
        assert dock.json("status")["running"]
        for line in (
            b'{"command": "status", "x": "' + b"y" * 60_000_000 + b'"}\n',
            b"[" * 60_000 + b"\n",
            b'{"command": "retry", "store": 5}\n',
            b'{"command": "reinstate", "item": %d}\n' % 2**70,
            b'{"command": "assign", "camera": "x", "officer": null}\n',
            b'{"command": "quarantine", "item": ["a"], "reason": 5}\n',
        ):
            with connected(dock) as sock, sock.makefile("rb") as answers:
                with contextlib.suppress(OSError):
                    sock.sendall(line)
                assert json.loads(answers.readline())["code"] == "usage"
        dock.ok("retry")
        assert [f["code"] for f in dock.json("findings") if f["severity"] == "alarm"] == []
    assert not {"worker.crashed", "daemon.stalled", "daemon.halted"} & set(dock.events())


def test_a_copy_that_takes_long_to_read_is_waited_for_with_the_true_exit_code(dock):
    # Without its store the item stays where an admin can still set it apart.
    dock.store.rename(dock.root / "store-away")
    dock.plug("CAM1", {"A.MP4": b"x" * 5000})
    with dock.running():
        dock.wait_state("CAM1", "copied")
        item = dock.items()[0]
        dock.ok("quarantine", "add", item["item_id"], "--reason", "a look")
        copy = dock.staging / item["staged_path"]
        copy.chmod(0o600)
        os.truncate(copy, 3_000_000_000)
        asking = subprocess.Popen(
            [sys.executable, "-m", "bodycam_ingest", "quarantine", "reinstate", item["item_id"]],
            env=dock.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        dock.wait_for(lambda: "reinstate" in [line.get("command") for line in dock.lines()])
        assert dock.json("status")["running"]
        dock.ok("retry")
        _, told = asking.communicate(timeout=120)
        assert asking.returncode == 47, told
        assert "no longer is what was read off the camera" in told
        assert dock.items()[0]["state"] == "quarantined"
