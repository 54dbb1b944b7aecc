"""SIGKILL on either side of every durable act of copying, proving and purging."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from bodycam_ingest.errors import ReadBackMismatchError
from bodycam_ingest.model.evidence import Acquired
from tests.support.patching import note
from tests.support.recordings import Desk, content, file_of

pytestmark = pytest.mark.process

DOCKING = "01K0000000000000000000D0CK"
ITEMS = {
    "A0001.mp4": (content(60_000, seed=1), "01K00000000000000000000001"),
    "G0001.gps": (content(500, seed=2), "01K00000000000000000000002"),
    "G0002.gps": (content(0, seed=3), "01K00000000000000000000003"),
}

# One process per kill, forked from one that has imported everything and has no threads.
ALL_THE_WAY = textwrap.dedent(
    """
    import os, pathlib, signal, sys
    from bodycam_ingest.linux import durable
    from tests.acquire.test_acquirer_crash import desk_with_items, work

    base, whole = pathlib.Path(sys.argv[1]), sys.argv[2] == "whole"
    number, killed = 0, True
    while killed:
        desk, wanted = desk_with_items(base / str(number))
        child = os.fork()
        if not child:
            seen = [0]
            def listener(name):
                if seen[0] == number:
                    print("KILL", name, flush=True)
                    os.kill(os.getpid(), signal.SIGKILL)
                seen[0] += 1
            durable.listen(listener)
            try:
                work(desk, wanted, whole)
                os._exit(0)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        if not killed:
            sys.exit(os.waitstatus_to_exitcode(status))
        number += 1
    """
)


def desk_with_items(directory: Path):
    directory.mkdir(exist_ok=True)
    made = Desk.at(directory)
    desk = dataclasses.replace(made, docking_id=DOCKING)
    wanted = []
    for name, (data, item_id) in ITEMS.items():
        if not (desk.card / name).exists():
            (desk.card / name).write_bytes(data)
        wanted.append(dataclasses.replace(desk.want(name, 10_000), item_id=item_id))
    return desk, wanted


def work(desk: Desk, wanted, whole) -> None:
    """Copy all, prove all, lose one to a bad disk, purge another."""
    acquirer = desk.acquirer(own_file_system=whole)
    acquirer.staging.recover()
    outcomes = acquirer.acquire_batch(desk.root_fd, wanted)
    copies = [one for one in outcomes if isinstance(one, Acquired)]
    assert len(copies) == len(ITEMS)
    bad = desk.staging / copies[0].staged_path
    bad.chmod(0o600)
    bad.write_bytes(b"damaged")
    proofs = acquirer.read_back_batch(copies)
    assert isinstance(proofs[0], ReadBackMismatchError), proofs
    assert all(isinstance(one, str) for one in proofs[1:]), proofs
    acquirer.staging.purge(copies[1].staged_path)


@pytest.mark.parametrize("whole", ["whole", "each"])
def test_after_a_kill_anywhere_names_tell_the_truth_and_the_work_goes_on(tmp_path, whole):
    done = subprocess.run(
        [sys.executable, "-c", ALL_THE_WAY, str(tmp_path), whole],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    kills = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("KILL ")]
    assert set(kills) == {
        f"{side}:{act}"
        for side in ("before", "after")
        for act in (
            "docking.directory",
            "item.write",
            "item.rename",
            "item.directory_sync",
            "item.quarantine",
            "item.unlink",
        )
    }
    for number in range(len(kills)):
        assert_recovers(tmp_path / str(number), kills[number])


def assert_recovers(directory: Path, kill: str) -> None:
    desk, wanted = desk_with_items(directory)
    acquirer = desk.acquirer()

    recovered = acquirer.staging.recover()

    assert [name for name in desk.staged_files() if name.endswith(".part")] == [], kill
    for copy in recovered.sealed:
        path = desk.staging / copy.staged_path
        spoilt_by_the_test = path.read_bytes() == b"damaged"
        assert spoilt_by_the_test or sha256(path) == copy.sha256.hex(), kill
        assert spoilt_by_the_test or path.stat().st_mode & 0o777 == 0o400, kill
    outcomes = acquirer.acquire_batch(desk.root_fd, wanted)
    copies = [one for one in outcomes if isinstance(one, Acquired)]
    assert len(copies) == len(ITEMS), kill
    assert all(isinstance(one, str) for one in acquirer.read_back_batch(copies)), kill
    for name in desk.staged_files():
        if name.startswith("quarantine/"):
            assert (desk.staging / name).read_bytes() == b"damaged", kill
    sealed = [name for name in desk.staged_files() if not name.startswith("quarantine/")]
    assert sealed == sorted(copy.staged_path for copy in copies), kill
    desk.close()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_recovery_touches_nothing_that_is_not_its_own(tmp_path):
    desk = Desk.at(tmp_path)
    docking = desk.staging / DOCKING
    docking.mkdir()
    foreign = [
        desk.staging / ".01K00000000000000000000001.part",
        desk.staging / "notes.part",
        docking / ".note.part",
        docking / ".01K00000000000000000000001.part.bak",
        docking / f"01K00000000000000000000001-{'0' * 63}",
    ]
    for path in foreign:
        path.write_bytes(b"not ours")
    part = docking / ".01K00000000000000000000001.part"
    part.write_bytes(b"half")
    (desk.staging / "01K0000000000000000000GQNE").mkdir()

    recovered = desk.acquirer().staging.recover()

    assert not part.exists()
    assert recovered.sealed == []
    assert all(path.read_bytes() == b"not ours" for path in foreign)
    assert not (desk.staging / "01K0000000000000000000GQNE").exists()
    assert (desk.staging / "quarantine").is_dir()
    desk.close()


def test_a_directory_left_by_a_killed_process_is_made_durable_before_it_is_used(
    tmp_path, monkeypatch
):
    desk, wanted = desk_with_items(tmp_path)
    (desk.staging / DOCKING).mkdir()
    synced = note(monkeypatch, os, "fsync", lambda fd: Path(file_of(fd)).name)
    desk.acquirer().acquire(desk.root_fd, wanted[0])

    assert synced[0] == desk.staging.name
    desk.close()


def test_recovery_lists_what_was_sealed(tmp_path):
    desk, wanted = desk_with_items(tmp_path)
    acquirer = desk.acquirer()
    copies = acquirer.acquire_batch(desk.root_fd, wanted)

    sealed = desk.acquirer().staging.recover().sealed

    found = {(one.item_id, one.docking_id, one.staged_path, one.sha256) for one in sealed}
    assert found == {
        (one.item_id, DOCKING, one.staged_path, one.digests.sha256)
        for one in copies
        if isinstance(one, Acquired)
    }
    desk.close()


def test_a_bad_copy_is_told_from_a_good_one_by_its_name(tmp_path):
    """What recovery does with a name whose bytes it cannot trust: hash them again."""
    desk, wanted = desk_with_items(tmp_path)
    acquirer = desk.acquirer()
    copy = acquirer.acquire(desk.root_fd, wanted[0])
    path = desk.staging / copy.staged_path
    path.chmod(0o600)
    path.write_bytes(b"damaged")

    (found,) = acquirer.staging.recover().sealed

    assert acquirer.copies.rehash(found.staged_path, wanted[0].path, 10_000).sha256 != found.sha256
    with pytest.raises(ReadBackMismatchError):
        acquirer.read_back(copy)
    desk.close()
