"""Uploads killed on either side of every durable act: the next process ends the work, once.

Each try runs in a forked process that kills itself with SIGKILL at one act; a second one goes on.
"""

from __future__ import annotations

import functools
import itertools
import os
import random
import shutil
import signal
from typing import TYPE_CHECKING

import pytest

from bodycam_ingest.config.stores import DirectoryStoreConfig, FileCredentials, S3StoreConfig
from bodycam_ingest.linux import durable
from bodycam_ingest.model import backoff
from bodycam_ingest.model.lifecycle import ItemState, UploadState
from bodycam_ingest.stores.registry import open_store, prepare_store
from bodycam_ingest.upload.uploader import Uploader
from tests.support import prefork
from tests.support.dockbench import Bench

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.seaweedfs import SeaweedServer

pytestmark = pytest.mark.timeout(300)

_PART_BYTES = 5 * 1024 * 1024
# 0: the first of each kind alone.
EVERY = int(os.environ.get("CRASH_EVERY", "0"))
_BODIES = (os.urandom(_PART_BYTES + 77), b"small")
_KILLED = -signal.SIGKILL


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own; returns its exit code, negative for a signal."""
    pid = os.fork()
    if not pid:
        prefork.end_with(work)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def upload_all(directory: Path, config: DirectoryStoreConfig | S3StoreConfig) -> None:
    bench = Bench(directory, create=False)
    store = open_store(config)
    uploader = Uploader(
        engine=bench.engine,
        ledger=bench.ledger,
        stores={config.name: store},
        open_staged=bench.staging.open_staged,
        delay_s=functools.partial(
            backoff.delay_s, uniform=random.uniform, short=backoff.Delays(0.05, 0.2)
        ),
        limits=dict,
    )
    while (wait_s := uploader.run_due(config.name)) is not None:
        assert wait_s == 0.0, "something failed that should not"
    store.close()
    bench.close()


def acts_of(directory: Path, config: DirectoryStoreConfig | S3StoreConfig) -> list[str]:
    """The acts of one undisturbed run, in order."""
    record = directory / "acts"

    def work() -> None:
        with record.open("w", encoding="utf-8") as file:

            def note(name: str) -> None:
                file.write(f"{name}\n")
                file.flush()

            durable.listen(note)
            upload_all(directory, config)

    assert forked(work) == 0
    return record.read_text(encoding="utf-8").split()


def points(acts: list[str]) -> list[int]:
    """Where to kill, from 1: before everything, and after acts that changed something.

    Between the end of one act and the beginning of the next nothing durable happens.
    """
    if EVERY:
        ends = [
            number
            for number, (last, act) in enumerate(itertools.pairwise(acts), 2)
            if last == act.replace("after:", "before:") and act != last
        ]
    else:
        ends = [acts.index(act) + 1 for act in set(acts) if act.startswith("after:")]
    return [1, *sorted(ends)]


def die_at(number: int) -> Callable[[str], None]:
    count = 0

    def listener(_name: str) -> None:
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return listener


def make_template(directory: Path) -> None:
    bench = Bench(directory)
    for body in _BODIES:
        bench.add(body, [("main", True)], part_size_bytes=_PART_BYTES)
    bench.close()


def run_through(
    tmp_path: Path,
    config_of: Callable[[str], DirectoryStoreConfig | S3StoreConfig],
    check: Callable[[DirectoryStoreConfig | S3StoreConfig], None],
) -> list[str]:
    """Kill at every act in turn; returns the acts."""
    template, first = tmp_path / "template", tmp_path / "first"
    template.mkdir()
    make_template(template)
    shutil.copytree(template, first)
    acts = acts_of(first, config_of("p0"))
    for number in points(acts):
        directory = tmp_path / f"p{number}"
        shutil.copytree(template, directory)
        config = config_of(f"p{number}")

        def killed(number: int = number, directory: Path = directory, config=config) -> None:
            durable.listen(die_at(number))
            upload_all(directory, config)

        assert forked(killed) == _KILLED, acts[number - 1]
        assert forked(functools.partial(upload_all, directory, config)) == 0, acts[number - 1]
        check_bench(directory, acts[number - 1])
        check(config)
        shutil.rmtree(directory)
    return acts


def check_bench(directory: Path, act: str) -> None:
    bench = Bench(directory, create=False)
    try:
        for number in range(1, len(_BODIES) + 1):
            item_id = f"01J000000000000000000{number:05d}"
            assert bench.item(item_id).state is ItemState.CONFIRMED, act
            assert bench.upload(item_id, "main").state is UploadState.CONFIRMED, act
        assert len(bench.entries("item.confirmed")) == len(_BODIES), act
        assert len(bench.entries("store.pinned")) == 1, act
        assert bench.open_alarms() == [], act
    finally:
        bench.close()


def check_objects(config: DirectoryStoreConfig | S3StoreConfig) -> None:
    store = open_store(config)
    keys = list(store.keys(""))
    assert len(keys) == len(_BODIES)
    assert {b"".join(store.read(key)) for key in keys} == set(_BODIES)
    store.close()


def directory_way(tmp_path: Path) -> None:
    def config_of(prefix: str) -> DirectoryStoreConfig:
        path = tmp_path / f"store-{prefix}"
        path.mkdir()
        config = DirectoryStoreConfig(name="main", type="directory", path=path)
        prepare_store(config)
        return config

    def check(config: DirectoryStoreConfig | S3StoreConfig) -> None:
        assert isinstance(config, DirectoryStoreConfig)
        check_objects(config)
        left = [p.name for p in config.path.rglob("*") if p.name.endswith((".part", ".tmp"))]
        assert left == []
        shutil.rmtree(config.path)

    acts = run_through(tmp_path, config_of, check)
    assert {"before:store.put", "after:store.put"} <= set(acts)


def s3_way(tmp_path: Path, server: SeaweedServer) -> None:
    keys_file = server.write_keys_file(tmp_path / "keys")

    def config_of(prefix: str) -> S3StoreConfig:
        return S3StoreConfig(
            name="main",
            type="s3",
            bucket=server.bucket,
            prefix=f"upload-crash/{prefix}",
            endpoint_url=server.url,
            ca_bundle=server.ca_bundle,
            credentials=FileCredentials(source="file", path=keys_file),
        )

    def check(config: DirectoryStoreConfig | S3StoreConfig) -> None:
        assert isinstance(config, S3StoreConfig)
        check_objects(config)
        assert server.uploads(prefix=config.prefix) == []

    acts = run_through(tmp_path, config_of, check)
    wanted = {"store.create", "upload.begun", "store.part", "upload.part", "upload.completing"}
    wanted |= {"store.complete", "store.put", "ledger.commit", "ledger.state_file"}
    assert wanted <= {act.partition(":")[2] for act in acts}
    assert len(points(acts)) > len(wanted)


def test_a_directory_store(tmp_path) -> None:
    prefork.apart(functools.partial(directory_way, tmp_path), tmp_path / "log")


@pytest.mark.server
def test_an_s3_store(tmp_path, seaweed) -> None:
    prefork.apart(functools.partial(s3_way, tmp_path, seaweed), tmp_path / "log")
