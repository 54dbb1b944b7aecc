"""Uploads that run beside the copying that a benchmark measures."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from typing import TYPE_CHECKING

from bodycam_ingest.config.stores import DirectoryStoreConfig, S3StoreConfig
from bodycam_ingest.db.upload_journal import PassingJournal
from bodycam_ingest.errors import AbandonedError
from bodycam_ingest.model.evidence import PART_SIZE_BYTES_DEFAULT, Digests, StoreObject
from bodycam_ingest.stores import open_store
from bodycam_ingest.upload.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_WORKERS = 2


def _config(path: Path) -> DirectoryStoreConfig | S3StoreConfig:
    table = json.loads(path.read_bytes())
    if table["type"] == "s3":
        return S3StoreConfig.model_validate(table)
    return DirectoryStoreConfig.model_validate(table)


class _File:
    """A file as what is sent."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY)

    def read_at(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def close(self) -> None:
        os.close(self._fd)


class Uploads:
    """Sends the recordings of a card to a store over and over, each time as another object.

    Args:
        config: the store's table, as JSON.
        source: the card.
        makes_room: for copying, as the daemon's uploads do.
    """

    def __init__(self, config: Path, source: Path, *, makes_room: bool) -> None:
        self._makes_room = makes_room
        self._stop = threading.Event()
        store = open_store(_config(config))
        store.identity()
        store.probe()
        self._connections = Connections([store.name], dict, self._stop)
        self._store = self._connections.attend(store, lambda: None)
        self._paths = sorted(source.iterdir())[: 2 * _WORKERS]
        self._sha256 = [hashlib.sha256(path.read_bytes()).digest() for path in self._paths]
        self._lock = threading.Lock()
        self._sent_bytes = 0
        self._threads: list[threading.Thread] = []

    def begin(self, copying: Callable[[], bool]) -> None:
        if self._makes_room:
            self._connections.courtesy.copying = copying
        self._threads = [
            threading.Thread(target=self._work, args=(number,), name="upload")
            for number in range(_WORKERS)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> int:
        """Stop; returns the bytes that went out."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        return self._sent_bytes

    def _work(self, worker: int) -> None:
        for number in range(10**6):
            chosen = (worker + _WORKERS * number) % len(self._paths)
            path, sha256 = self._paths[chosen], self._sha256[chosen]
            digests = Digests(path.stat().st_size, sha256, PART_SIZE_BYTES_DEFAULT, b"")
            item = f"{os.getpid()}-{worker}-{number}"
            obj = StoreObject(
                f"bench/{item}/{path.name}", digests, {"item-id": item, "sha256": sha256.hex()}
            )
            source = _File(path)
            try:
                stored = self._store.send(obj, source, PassingJournal(), self._count)
                self._store.confirm(obj, stored)
            except AbandonedError:
                return
            finally:
                source.close()

    def _count(self, count: int) -> None:
        with self._lock:
            self._sent_bytes += count
