"""The daemon killed at every durable step, one step a run, and started again.

A first run counts the steps on the whole way of a card: docked, read, verified, uploaded to a real
S3 server over TLS (one file in parts), confirmed, anchored, released, purged from staging, pulled
out; then docked again with one file new and one name used again. Each further run kills the daemon
with SIGKILL before or after one of them, starts it again and lets it finish; then the test's own
code looks for what would be lost, doubled or left behind.

A run counts about 250 marks, before and after each act. `make test` kills at the first end of
most kinds of acts; `make crash` (`CRASH_EVERY=1`) at each mark;
`CRASH_EVERY=7` at the first and the last of every kind and every seventh of all.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time
import uuid
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from bodycam_ingest.cli import main as cli_main
from bodycam_ingest.daemon import control, service
from bodycam_ingest.linux import durable
from tests.support import prefork
from tests.support.dock import Dock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.seaweedfs import SeaweedServer

pytestmark = pytest.mark.timeout(300)

MIB: Final = 1024 * 1024
RUN_S: Final = 120
# 0: the first of each kind alone.
EVERY: Final = int(os.environ.get("CRASH_EVERY", "0"))
SHARES: Final = 4
ACTS: Final = (
    "docking.directory",
    "item.write",
    "item.directory_sync",
    "item.rename",
    "item.unlink",
    "ledger.commit",
    "ledger.state_file",
    "store.abort",
    "store.complete",
    "store.create",
    "store.part",
    "store.put",
    "upload.begun",
    "upload.completing",
    "upload.part",
)
# Before an act stands what the act before it left, unless a store did it and its answer was lost.
# The single steps of an upload have test_upload_crash.py.
FIRST_MARKS: Final = (
    "after:docking.directory",
    "after:item.rename",
    "after:item.unlink",
    "after:ledger.commit",
    "after:ledger.state_file",
    "after:upload.begun",
    "after:store.complete",
    "before:store.put",
)
FIRST: Final = {
    "DCIM/A.MP4": random.Random(1).randbytes(6 * MIB + 5),
    "DCIM/B.MP4": random.Random(2).randbytes(9_000),
    "empty.log": b"",
}
SECOND: Final = {
    **FIRST,
    "DCIM/B.MP4": random.Random(3).randbytes(9_000),
    "DCIM/C.MP4": random.Random(4).randbytes(7_000),
}
DIGESTS: Final = sorted(
    hashlib.sha256(data).hexdigest()
    for data in {*FIRST.values(), SECOND["DCIM/B.MP4"], SECOND["DCIM/C.MP4"]}
)


def forked(work: Callable[[], int], log: Path) -> int:
    """Start `work` in a process of its own; returns its pid."""
    pid = os.fork()
    if not pid:
        prefork.end_with(functools.partial(_logging, work, log))
    return pid


def _logging(work: Callable[[], int], log: Path) -> int:
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    sys.stdout = sys.stderr = os.fdopen(os.dup(fd), "w", buffering=1)
    return work()


class Moment(NamedTuple):
    """When to kill: at a mark such as `after:item.rename`, the first time or a later one."""

    mark: str
    nth: int

    def __str__(self) -> str:
        return f"{self.mark}-{self.nth}".replace(":", "-")


def run_daemon(config: Path, kill_at: Moment | None, marks: Path) -> int:
    """The daemon, killing itself at one moment."""
    fd = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    seen: collections.Counter[str] = collections.Counter()
    one_at_a_time = threading.Lock()

    def note(mark: str) -> None:
        # Never given back when the end has come: no other thread may pass a mark before the kill.
        with one_at_a_time:
            seen[mark] += 1
            os.write(fd, f"{mark}\n".encode())
            if kill_at == (mark, seen[mark]):
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)

    durable.listen(note)
    return service.run(config)


def run_command(config: Path, *arguments: str) -> int:
    """One command of the command line."""
    sys.argv = ["bodycam-ingest", "--config", str(config), *arguments]
    return cli_main()


class Run:
    """One dock, one kill, and the way to the end."""

    def __init__(self, root: Path, server: SeaweedServer, name: str) -> None:
        root.mkdir()
        self.prefix = f"crash/{name}-{uuid.uuid4().hex}"
        self.dock = Dock(root, stores=server.table(root, self.prefix))
        self.dock.edit("settle_s = 0.1", "settle_s = 0.05")
        self.dock.keep_days(0)
        self.server = server
        self.marks = root / "marks"
        self.phase = 0

    def command(self, *arguments: str) -> int:
        """Run a command to its end."""
        pid = forked(lambda: run_command(self.dock.config, *arguments), self.dock.log)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def go(self, kill_at: Moment | None) -> int:
        """Run the daemon until it is killed or all is done; returns its exit code."""
        pid = forked(lambda: run_daemon(self.dock.config, kill_at, self.marks), self.dock.log)
        until_s = time.monotonic() + RUN_S
        stopping = False
        while time.monotonic() < until_s:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if not stopping and self.advance():
                os.kill(pid, signal.SIGTERM)
                stopping = True
            time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise AssertionError(f"stuck in phase {self.phase}\n{self.dock.tail()}")

    def advance(self) -> bool:
        """Do what the officer does next; returns whether the whole way is gone."""
        try:
            status = control.ask(self.dock.state_dir, control.StatusRequest())
        except Exception:  # noqa: BLE001 - it may die in the middle of an answer
            return False
        if status is None:
            return False
        queue = status["queue"]
        all_purged = list(queue["items"]) == ["purged"]
        count = queue["items"].get("purged", {}).get("items", 0)
        if self.phase in {0, 2} and all_purged and count == (3, 0, 5)[self.phase]:
            self.dock.unplug("CAM1")
            self.phase += 1
        elif self.phase == 1 and not status["bays"]:
            card = self.dock.mnt / ".CAM1"
            for name in ("DCIM/B.MP4", "DCIM/C.MP4"):
                (card / name).write_bytes(SECOND[name])
            self.dock.replug("CAM1")
            self.phase = 2
        elif self.phase == 3 and not status["bays"]:
            return list(queue["objects"]) == ["confirmed"]
        return False

    def check(self) -> None:
        """Nothing is lost, nothing is doubled, nothing is left behind, and the ledger holds."""
        with contextlib.closing(sqlite3.connect(self.dock.state_dir / "bodycam.db")) as raw:
            rows = raw.execute("SELECT item_id, sha256, state FROM item").fetchall()
        assert sorted(row[1].hex() for row in rows) == DIGESTS, rows
        assert {row[2] for row in rows} == {"purged"}, rows
        assert sorted(self._objects()) == DIGESTS
        assert self.server.uploads(prefix=self.prefix) == []
        left = [p for p in self.dock.staging.rglob("*") if p.is_file()]
        assert left == []
        assert self.command("verify", "--files", "--stores") == 0, self.dock.tail()

    def _objects(self) -> Iterator[str]:
        for key, body in self.server.objects(f"{self.prefix}/evidence/"):
            if not key.endswith("/manifest.json"):
                yield hashlib.sha256(body).hexdigest()


def whole_way(root: Path, server: SeaweedServer, name: str, kill_at: Moment | None) -> list[str]:
    """One run with one kill; returns the marks up to it, or all where that moment never came."""
    run = Run(root, server, name)
    assert run.command("init") == 0, run.dock.tail()
    run.dock.plug("CAM1", FIRST)
    code = run.go(kill_at)
    marks = run.marks.read_text().splitlines()
    if code == -signal.SIGKILL:
        assert kill_at is not None
        assert marks[-1] == kill_at.mark
        code = run.go(None)
    assert code == 0, f"exit code {code}\n{run.dock.tail()}"
    run.check()
    shutil.rmtree(root)
    return marks


def killed_at(root: Path, server: SeaweedServer, moment: Moment) -> None:
    """One run with one kill, which must have come to it."""
    marks = whole_way(root / str(moment), server, str(moment), moment)
    assert marks.count(moment.mark) == moment.nth, f"{moment} was never come to: {marks}"


def count_marks(root: Path, server: SeaweedServer, name: str) -> None:
    """A run without a kill; writes its marks down."""
    marks = whole_way(root / name, server, name, None)
    (root / "all").write_text("\n".join(marks))


def marks_of(tmp_path: Path, server: SeaweedServer, name: str) -> list[str]:
    """The marks of a run without a kill."""
    prefork.apart(functools.partial(count_marks, tmp_path, server, name), tmp_path / "log")
    return (tmp_path / "all").read_text().split()


def test_the_acts_that_are_killed_are_all_there_are(tmp_path, seaweed):
    kinds = {mark.partition(":")[2] for mark in marks_of(tmp_path, seaweed, "whole")}
    # An upload is given up only where another worker was faster.
    assert kinds | {"store.abort"} == set(ACTS)


@pytest.mark.parametrize("mark", FIRST_MARKS)
def test_the_daemon_finishes_its_work_after_a_kill(tmp_path, seaweed, mark):
    work = functools.partial(killed_at, tmp_path, seaweed, Moment(mark, 1))
    prefork.apart(work, tmp_path / "log")


if EVERY:

    @pytest.mark.timeout(3600)
    @pytest.mark.parametrize("share", range(SHARES))
    def test_the_daemon_finishes_its_work_after_a_kill_at_any_mark(tmp_path, seaweed, share):
        seen: collections.Counter[str] = collections.Counter()
        moments = []
        for mark in marks_of(tmp_path, seaweed, "every"):
            seen[mark] += 1
            moments.append(Moment(mark, seen[mark]))
        edges = {moment for moment in moments if moment.nth in {1, seen[moment.mark]}}
        missed = []
        wanted = sorted(edges | set(moments[::EVERY]))
        # Each share counts for itself, and the counts differ: what is whose must not.
        mine = [m for m in wanted if zlib.crc32(str(m).encode()) % SHARES == share]
        for moment in mine:
            log = tmp_path / f"{moment}.log"
            try:
                prefork.apart(functools.partial(killed_at, tmp_path, seaweed, moment), log)
            except AssertionError:
                # How often the ledger commits differs from run to run.
                if "was never come to" not in log.read_text():
                    raise
                missed.append(moment)
        assert not [moment for moment in missed if moment.nth == 1]
        assert len(missed) <= len(mine) // 5, missed
