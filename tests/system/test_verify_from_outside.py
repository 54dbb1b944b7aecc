"""`verify` against what was kept off the dock: its key, and a checkpoint of another day.

Who has the dock has its key and can write everything in the state directory, so alone it always
holds. These tests do what he would do.
"""

from __future__ import annotations

import json
import re
import shutil

import pytest


def begin(dock):
    """Make the state directory; returns the verifier key that `init` printed."""
    shutil.rmtree(dock.state_dir)
    found = re.search(r"key, to be kept off this machine: (\S+)", dock.ok("init"))
    assert found
    return found[1]


def record(dock, camera):
    dock.plug(camera, {"A.MP4": camera.encode()})
    with dock.running():
        dock.wait_state(camera, "confirmed")


def verify(dock, *arguments):
    """Result, codes of findings, and the beginnings of what is not proven."""
    told = json.loads(dock.run("verify", *arguments, "--json").stdout)
    codes = {finding["code"] for finding in told["findings"]}
    return told["result"], codes, [" ".join(what.split()[:3]) for what in told["not_proven"]]


KEY = "that the key"
END = "that nothing was"


def test_without_anything_from_outside_it_says_what_it_does_not_prove(dock):
    vkey = begin(dock)
    record(dock, "CAM1")
    kept = dock.root / "kept"
    shutil.copy(dock.state_dir / "checkpoint", kept)
    record(dock, "CAM2")
    assert verify(dock) == ("holds", set(), [KEY, END])
    assert verify(dock, "--key", vkey) == ("holds", set(), [END])
    assert verify(dock, "--checkpoint", str(kept)) == ("holds", set(), [KEY])
    assert verify(dock, "--key", vkey, "--checkpoint", str(kept)) == ("holds", set(), [])
    assert verify(dock, "--key", vkey, "--stores") == ("holds", set(), [])
    assert "not proven: that the key is the dock's own" in dock.ok("verify")


def test_a_ledger_begun_anew_with_another_key_does_not_pass(dock):
    vkey = begin(dock)
    record(dock, "CAM1")
    # All of it again, by the product itself, without the recording that somebody wants gone.
    begin(dock)
    record(dock, "CAM2")
    assert verify(dock)[0] == "holds"
    result, codes, _ = verify(dock, "--key", vkey)
    assert result == "broken"
    assert "key_replaced" in codes


def test_a_ledger_cut_back_to_an_earlier_day_does_not_pass(dock):
    vkey = begin(dock)
    record(dock, "CAM1")
    earlier = dock.root / "earlier"
    shutil.copytree(dock.state_dir, earlier)
    record(dock, "CAM2")
    kept = dock.root / "kept"
    shutil.copy(dock.state_dir / "checkpoint", kept)
    shutil.rmtree(dock.state_dir)
    shutil.copytree(earlier, dock.state_dir)
    assert verify(dock, "--key", vkey)[0] == "holds"
    result, codes, _ = verify(dock, "--checkpoint", str(kept))
    assert (result, codes) == ("broken", {"rolled_back"})


@pytest.mark.parametrize("given", ["", "x", "a+b+c", "other.example/dock-1+00000000+AAAA"])
def test_a_key_that_is_none_accuses_nobody(dock, given):
    done = dock.run("verify", f"--key={given or '+'}")
    assert done.returncode == 2
    assert "--key" in done.stderr


def test_a_key_and_a_checkpoint_of_another_dock_accuse_nobody(dock):
    vkey = begin(dock)
    kept = dock.root / "kept"
    text = (dock.state_dir / "checkpoint").read_text()
    for content in (b"", b"\xff", b"no checkpoint\n", text.replace("dock-1", "dock-2").encode()):
        kept.write_bytes(content)
        done = dock.run("verify", "--checkpoint", str(kept))
        assert done.returncode == 2, content
        assert "--checkpoint" in done.stderr
    done = dock.run("verify", "--key", vkey.replace("dock-1", "dock-2"))
    assert done.returncode == 2
    # Of this log, and signed by nobody: that is said of the checkpoint, not passed over.
    kept.write_text(text.rsplit("\n", 2)[0].rsplit("\n", 1)[0] + "\n\n")
    assert verify(dock, "--checkpoint", str(kept))[1] == {"signature_bad"}
