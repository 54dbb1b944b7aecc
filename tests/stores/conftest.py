"""The stores that the contract is held against."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from bodycam_ingest.errors import StoreUnreachableError
from bodycam_ingest.linux import beneath, durable
from bodycam_ingest.stores.directory import DirectoryStore, prepare
from bodycam_ingest.stores.s3.client import S3Client
from bodycam_ingest.stores.s3.store import S3Store
from tests.support.faultproxy import Fault, FaultProxy
from tests.support.memory_store import MemoryStore
from tests.support.patching import fail
from tests.support.sending import Bytes, Journal, object_of, unfinished

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.seaweedfs import SeaweedServer

_prefixes = itertools.count(1)


@dataclass
class Cut:
    """A fault at one step; `hit` tells whether it was come to."""

    hit: bool = False


@pytest.fixture(scope="session")
def _proxy(seaweed):
    with FaultProxy(("127.0.0.1", seaweed.http_port), seaweed.certificate) as proxy:
        yield proxy


@pytest.fixture
def proxy(_proxy):
    """The way to the server, over TLS, with faults at will."""
    _proxy.clear()
    yield _proxy
    _proxy.clear()


@pytest.fixture
def open_s3(seaweed, proxy):
    """Opens S3 stores under a prefix of their own."""
    opened = []

    def make(url="", **settings):
        settings.setdefault("prefix", f"t{os.getpid()}-{next(_prefixes)}")
        store = S3Store(S3Client(seaweed.config(url or proxy.url, **settings)))
        opened.append(store)
        return store

    yield make
    for store in opened:
        store.close()


@dataclass
class MemoryHarness:
    store: MemoryStore = field(default_factory=lambda: MemoryStore("memory"))

    def overwrite(self, obj, data):
        self.store.objects[obj.key].body = data

    def take_key(self, obj, data):
        other = MemoryStore("other")
        other.send(object_of(data, obj.key), Bytes(data), Journal())
        self.store.objects[obj.key] = other.objects[obj.key]

    def unfinished(self):
        return list(self.store.open)

    @contextlib.contextmanager
    def cut(self, step, *, done):
        cut, steps, call = Cut(), itertools.count(), self.store._call

        def cutting(name, key, do):
            if next(steps) != step:
                return call(name, key, do)
            cut.hit = True
            if done:
                call(name, key, do)
            raise StoreUnreachableError("cut off")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.store, "_call", cutting)
            yield cut


@dataclass
class DirectoryHarness:
    store: DirectoryStore
    root: Path

    def overwrite(self, obj, data):
        path = self.root / obj.key
        path.chmod(0o600)
        path.write_bytes(data)

    def take_key(self, obj, data):
        path = self.root / obj.key
        path.parent.mkdir(parents=True)
        path.write_bytes(data)

    def unfinished(self):
        return unfinished(self.root)

    @contextlib.contextmanager
    def cut(self, step, *, done):
        cut, steps, when = Cut(), itertools.count(), "after:" if done else "before:"

        def cutting(act):
            if act.startswith(when) and next(steps) == step:
                cut.hit = True
                raise StoreUnreachableError("cut off")

        durable.listen(cutting)
        yield cut
        durable.listen(None)


@dataclass
class S3Harness:
    store: S3Store
    server: SeaweedServer
    way: FaultProxy

    def _key(self, obj):
        return {"Bucket": self.server.bucket, "Key": self.store._prefix + obj.key}

    def overwrite(self, obj, data):
        self.server.admin().put_object(
            **self._key(obj), Body=data, Metadata=dict(obj.metadata), ChecksumAlgorithm="SHA256"
        )

    def take_key(self, obj, data):
        self.server.admin().put_object(**self._key(obj), Body=data)

    def unfinished(self):
        return self.server.uploads(prefix=self.store._prefix)

    @contextlib.contextmanager
    def cut(self, step, *, done):
        self.way.clear()
        fault = self.way.add(Fault("lost_answer" if done else "refuse", skip=step))
        cut = Cut()
        yield cut
        cut.hit = fault.hits > 0
        self.way.clear()


@pytest.fixture(
    params=["memory", "directory", "walked", pytest.param("s3", marks=pytest.mark.server)]
)
def harness(request, tmp_path, monkeypatch):
    """A store, and ways to do to it what others could do."""
    if request.param == "memory":
        return MemoryHarness()
    if request.param == "walked":
        # A directory where openat2(2) is forbidden, as in many containers.
        fail(monkeypatch, beneath, "_openat2", errno.ENOSYS)
    if request.param != "s3":
        prepare(tmp_path)
        return DirectoryHarness(DirectoryStore("directory", tmp_path), tmp_path)
    store = request.getfixturevalue("open_s3")()
    # As before its first upload: who it is and what it does is known.
    store.identity()
    store.probe()
    return S3Harness(store, request.getfixturevalue("seaweed"), request.getfixturevalue("proxy"))


@pytest.fixture
def root(tmp_path):
    """A directory that was made a store."""
    path = tmp_path / "archive"
    path.mkdir()
    prepare(path)
    return path


@pytest.fixture
def archive(root):
    """That store."""
    return DirectoryStore("archive", root)


@pytest.fixture
def store(harness):
    """The harness's store."""
    return harness.store
