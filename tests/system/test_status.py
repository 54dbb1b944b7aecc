"""`status` as an admin meets it: whether the daemon runs, since when not, and why."""

from __future__ import annotations

import os

from bodycam_ingest.errors import LedgerUnwritableError, NotRunningError


def told(dock):
    done = dock.run("status")
    assert done.returncode == NotRunningError.exit_code
    assert "NOT RUNNING" in done.stdout
    assert "not running" in done.stderr
    return dock.json("status")["stopped"], done.stdout


def test_a_daemon_that_never_ran_and_one_that_was_asked_to_stop(dock):
    stopped, text = told(dock)
    assert (stopped["started_at"], stopped["stopped_at"], stopped["error"]) == (None, None, None)
    assert "it has not run yet" in text
    assert "store nas: nothing sent yet" in text
    with dock.running():
        status = dock.run("status")
        assert (status.returncode, status.stderr) == (0, "")
        assert "store nas: nothing sent yet" in status.stdout
        assert dock.json("status")["stopped"] is None
    stopped, text = told(dock)
    assert stopped["stopped_at"].endswith("Z")
    assert stopped["error"] is None
    assert "as it was asked to" in text


def test_a_killed_daemon_shows_no_camera_as_being_read(dock):
    dock.plug("CAM1", {"A.MP4": os.urandom(30_000)})
    dock.start()
    dock.wait_state("CAM1", "confirmed")
    dock.stop(kill=True)
    stopped, text = told(dock)
    assert stopped["started_at"]
    assert stopped["stopped_at"] is None
    assert stopped["last_entry_at"]
    assert "ended without a word" in text
    (bay,) = dock.json("status")["bays"]
    assert (bay["state"], bay["release"], bay["watched"]) == ("unknown", False, False)
    assert "nobody knows whether it is still there" in text


# A daemon whose ledger cannot take a camera's docking; an admin cannot bring that about at will.
REFUSING = """
import bodycam_ingest.db.ledger as ledger
from bodycam_ingest.errors import LedgerUnwritableError
append = ledger.Txn.append
def refused(self, type, *rest, **more):
    if type == "camera.docked":
        raise LedgerUnwritableError("the disk is full")
    return append(self, type, *rest, **more)
ledger.Txn.append = refused
"""


def test_why_it_halted_is_told_until_it_runs_again(dock):
    dock.plug("CAM1", {"A.MP4": os.urandom(30_000)})
    dock.start(wait=False, changed=REFUSING)
    assert dock.daemon is not None
    code = dock.daemon.wait(60)
    dock.daemon = None
    assert code == LedgerUnwritableError.exit_code
    stopped, text = told(dock)
    assert stopped["stopped_at"]
    assert stopped["error"] == LedgerUnwritableError.code
    assert stopped["error"] in text
    assert stopped["message"] in text
    with dock.running():
        pass
    stopped, _ = told(dock)
    assert stopped["error"] is None
