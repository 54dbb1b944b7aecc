from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING

import pytest

from bodycam_ingest.acquire.acquirer import SMALL_FILE_BYTES
from bodycam_ingest.errors import (
    AbandonedError,
    IngestError,
    ItemMovedError,
    SourceChangedError,
    StagingFullError,
    StagingUnreadableError,
)
from bodycam_ingest.linux import group_commit
from bodycam_ingest.model.evidence import Acquired
from tests.support.patching import fail, note
from tests.support.recordings import Desk, content, digests_of, file_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bodycam_ingest.model.evidence import CopyRequest

PART = 10_000


@pytest.fixture(params=[True, False], ids=["one syncfs", "fsync side by side"])
def whole(request) -> bool:
    answer: bool = request.param
    return answer


def small_files(desk: Desk, count: int) -> list[tuple[CopyRequest, bytes]]:
    made = []
    for number in range(count):
        data = content(number * 97, seed=number)
        made.append((desk.record(f"G{number:04}.gps", data, PART), data))
    return made


def assert_whole(
    desk: Desk, wanted: CopyRequest, data: bytes, outcome: Acquired | IngestError
) -> None:
    assert isinstance(outcome, Acquired), outcome
    assert outcome.item_id == wanted.item_id
    assert outcome.digests == digests_of(wanted.path, data, PART)
    path = desk.staging / outcome.staged_path
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o400


def assert_all_whole(desk: Desk, made, outcomes) -> None:
    for (wanted, data), outcome in zip(made, outcomes, strict=True):
        assert_whole(desk, wanted, data, outcome)


def batch(desk: Desk, made, whole: bool) -> list[Acquired | IngestError]:  # noqa: FBT001 - a fixture
    acquirer = desk.acquirer(own_file_system=whole)
    return acquirer.acquire_batch(desk.root_fd, [wanted for wanted, _ in made])


def parts(desk: Desk) -> list[str]:
    return [name for name in desk.staged_files() if name.endswith(".part")]


def test_two_hundred_with_one_bad_are_199_good(desk, whole):
    made = small_files(desk, 200)
    with (desk.card / "G0077.gps").open("ab") as file:
        file.write(b"the camera still writes")
    read: list[int] = []

    acquirer = desk.acquirer(own_file_system=whole)
    outcomes = acquirer.acquire_batch(desk.root_fd, [wanted for wanted, _ in made], read.append)

    assert isinstance(outcomes[77], SourceChangedError)
    assert_all_whole(desk, made[:77] + made[78:], outcomes[:77] + outcomes[78:])
    assert len(desk.staged_files()) == 199
    assert sum(read) == sum(len(data) for _, data in made) - len(made[77][1])
    good = [one for one in outcomes if isinstance(one, Acquired)]
    assert set(acquirer.read_back_batch(good)) <= {"direct", "cache_dropped", "memory"}


def test_a_small_source_that_changes_while_it_is_read_is_not_acquired(desk, monkeypatch, whole):
    made = small_files(desk, 5)
    real = os.readv

    def changing(fd, views):
        count = real(fd, views)
        if file_of(fd).endswith("G0003.gps"):
            os.utime(desk.card / "G0003.gps", ns=(1, 1))
        return count

    monkeypatch.setattr(os, "readv", changing)
    outcomes = batch(desk, made, whole)

    assert isinstance(outcomes[3], SourceChangedError)
    assert [isinstance(one, Acquired) for one in outcomes].count(True) == 4
    assert len(desk.staged_files()) == 4


def test_a_large_item_among_small_ones_is_copied_too(desk, whole):
    made = small_files(desk, 3)
    data = content(SMALL_FILE_BYTES + 1)
    made.insert(1, (desk.record("A0001.mp4", data, PART), data))

    outcomes = batch(desk, made, whole)

    assert_all_whole(desk, made, outcomes)


def test_items_of_several_dockings_go_to_their_own_directories(desk, whole):
    made = small_files(desk, 2)
    other = Desk(desk.card, desk.staging, desk.root_fd, "01K00000000000000000000000")
    made.append((other.want("G0001.gps", PART), made[1][1]))

    outcomes = batch(desk, made, whole)

    for (wanted, data), outcome in zip(made, outcomes, strict=True):
        assert_whole(desk, wanted, data, outcome)
        assert isinstance(outcome, Acquired)
        assert outcome.staged_path.startswith(wanted.docking_id + "/")


def test_left_overs_of_an_earlier_try_are_no_obstacle(desk, whole):
    made = small_files(desk, 4)
    acquirer = desk.acquirer(own_file_system=whole)
    first = acquirer.acquire(desk.root_fd, made[1][0])
    part = desk.staging / made[2][0].docking_id / f".{made[2][0].item_id}.part"
    part.write_bytes(b"half")

    outcomes = acquirer.acquire_batch(desk.root_fd, [wanted for wanted, _ in made])

    assert_all_whole(desk, made, outcomes)
    assert outcomes[1] == first
    assert parts(desk) == []


def test_one_file_that_cannot_be_written_fails_alone(desk, monkeypatch, whole):
    made = small_files(desk, 6)
    bad = f".{made[3][0].item_id}.part"
    fail(monkeypatch, os, "open", errno.ENOSPC, lambda path, *_, **__: str(path).endswith(bad))
    outcomes = batch(desk, made, whole)

    assert isinstance(outcomes[3], StagingFullError)
    assert_all_whole(desk, made[:3] + made[4:], outcomes[:3] + outcomes[4:])
    assert parts(desk) == []


def test_a_file_whose_fsync_fails_is_not_acquired(desk, monkeypatch):
    made = small_files(desk, 6)
    bad = f".{made[3][0].item_id}.part"
    fail(monkeypatch, os, "fsync", errno.EIO, lambda fd: file_of(fd).endswith(bad))
    outcomes = batch(desk, made, False)

    assert isinstance(outcomes[3], StagingUnreadableError)
    assert_all_whole(desk, made[:3] + made[4:], outcomes[:3] + outcomes[4:])
    assert len(desk.staged_files()) == 5


def test_when_the_common_flush_fails_each_is_made_durable_alone(desk, monkeypatch):
    made = small_files(desk, 5)
    fail(monkeypatch, group_commit, "_syncfs", errno.EIO)
    synced = note(monkeypatch, os, "fsync", file_of)
    outcomes = batch(desk, made, True)

    assert_all_whole(desk, made, outcomes)
    for wanted, _ in made:
        assert any(name.endswith(f".{wanted.item_id}.part") for name in synced)


def test_names_that_cannot_be_made_durable_are_not_acquired_and_found_again(desk, monkeypatch):
    made = small_files(desk, 3)
    acquirer = desk.acquirer(own_file_system=True)
    acquirer.staging.make_docking_directory(desk.docking_id)
    wanted = [one for one, _ in made]
    with monkeypatch.context() as patch:
        fail(patch, os, "fsync", errno.EIO, lambda fd: file_of(fd).endswith(desk.docking_id))
        refused = acquirer.acquire_batch(desk.root_fd, wanted)
    assert {type(one) for one in refused} == {StagingUnreadableError}

    outcomes = acquirer.acquire_batch(desk.root_fd, wanted)

    assert_all_whole(desk, made, outcomes)
    assert len(desk.staged_files()) == 3


def test_where_not_all_fit_those_that_fit_are_copied(desk, monkeypatch):
    sizes = [100, 60_000, 200]
    made = []
    for number, size_bytes in enumerate(sizes):
        data = content(size_bytes)
        made.append((desk.record(f"G{number}.gps", data, PART), data))

    class Status:
        f_bavail, f_frsize, f_blocks, f_flag = 50, 1000, 200, 0

    monkeypatch.setattr(os, "statvfs", lambda _: Status)
    outcomes = desk.acquirer().acquire_batch(desk.root_fd, [wanted for wanted, _ in made])

    assert isinstance(outcomes[1], StagingFullError)
    assert_whole(desk, *made[0], outcomes[0])
    assert_whole(desk, *made[2], outcomes[2])


def test_a_stop_leaves_the_rest_and_finishes_what_was_read(desk, whole):
    made = small_files(desk, 20)
    abandon = threading.Event()
    read: list[int] = []

    def stop_after_five(count):
        read.append(count)
        if len(read) == 5:
            abandon.set()

    outcomes = desk.acquirer(own_file_system=whole, abandon=abandon).acquire_batch(
        desk.root_fd, [wanted for wanted, _ in made], stop_after_five
    )

    assert_all_whole(desk, made[:5], outcomes[:5])
    assert {type(one) for one in outcomes[5:]} == {AbandonedError}
    assert len(desk.staged_files()) == 5


def test_an_item_wanted_twice_is_copied_once(desk, whole):
    (wanted, data), *_ = small_files(desk, 1)

    outcomes = desk.acquirer(own_file_system=whole).acquire_batch(desk.root_fd, [wanted, wanted])

    assert_whole(desk, wanted, data, outcomes[0])
    assert isinstance(outcomes[1], ItemMovedError)
    assert len(desk.staged_files()) == 1


def test_a_fault_of_the_program_leaves_no_temporary_file(desk, whole):
    made = small_files(desk, 10)
    read: list[int] = []

    def broken(count):
        read.append(count)
        if len(read) == 7:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        desk.acquirer(own_file_system=whole).acquire_batch(
            desk.root_fd, [wanted for wanted, _ in made], broken
        )

    assert desk.staged_files() == []


def test_threads_end_with_the_batch(desk):
    before = threading.active_count()
    made = small_files(desk, 40)
    acquirer = desk.acquirer(own_file_system=False)

    outcomes = acquirer.acquire_batch(desk.root_fd, [wanted for wanted, _ in made])
    acquirer.read_back_batch([one for one in outcomes if isinstance(one, Acquired)])

    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("release", "told"),
    [
        ("5.8.0-1-amd64", True),
        ("5.10.0", True),
        ("6.1", True),
        ("5.7.9", False),
        ("4.19.0-27-amd64", False),
        ("odd", False),
    ],
)
def test_old_kernels_whose_syncfs_hides_faults_are_not_trusted(release, told):
    assert group_commit.syncfs_tells_errors(release) is told


def test_a_failing_syncfs_is_told():
    with pytest.raises(OSError) as caught:
        group_commit._syncfs(-1)
    assert caught.value.errno == errno.EBADF


def test_an_empty_batch_has_no_outcome(desk):
    empty: Sequence[CopyRequest] = []
    assert desk.acquirer().acquire_batch(desk.root_fd, empty) == []
    assert desk.acquirer().read_back_batch([]) == []
