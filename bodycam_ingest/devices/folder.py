"""The folder source: each directory directly below a mount root is a camera.

File system events only wake; what is there is found by looking, at every call. So it works with
no events at all: where inotify is exhausted, on network mounts, or switched off.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from bodycam_ingest.devices.mounted import MountedVolume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from watchdog.observers.api import BaseObserver

log = structlog.get_logger(__name__)


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Any directory that comes or goes is a hint to look."""
        if isinstance(event, (DirCreatedEvent, DirDeletedEvent, DirMovedEvent)):
            self._wake()


class FolderSource:
    """Cameras as directories.

    Args:
        mount_roots: where they appear; a root may be missing and come later.
        watch: whether to ask for events at all.
    """

    def __init__(self, mount_roots: Sequence[Path], *, watch: bool = True) -> None:
        self._roots = tuple(mount_roots)
        self._watch = watch
        self._wake: Callable[[], None] = lambda: None
        self._observer: BaseObserver | None = None
        self._watched: dict[Path, tuple[int, int]] = {}
        self._told: set[tuple[Path, int]] = set()
        self._lock = threading.Lock()

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to watch; `wake` is called when a directory came or went."""
        self._wake = wake
        if self._watch:
            self._observer = Observer()
            self._observer.start()
            self._follow_roots()

    def stop(self) -> None:
        """Stop watching."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def present(self) -> list[MountedVolume]:
        """The cameras that are there now, by looking, in the order of their names.

        Hidden directories are left out: vendor tools build a card aside and rename it into place.
        A root that cannot be listed counts as empty and is logged, once a change.
        """
        self._follow_roots()
        found = []
        for root in self._roots:
            try:
                names = sorted(os.listdir(root))  # noqa: PTH208 - names are looked at one by one
            except OSError as error:
                self._tell_once(root, error)
                continue
            self._told = {told for told in self._told if told[0] != root}
            for name in names:
                volume = self._look(root, name)
                if volume is not None:
                    found.append(volume)
        return found

    def still_there(self, mounted: MountedVolume) -> bool:
        """Whether that very directory is still there; a new one of the same name is another."""
        try:
            status = os.lstat(mounted.mount_path)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (mounted.device, mounted.inode)

    def _look(self, root: Path, name: str) -> MountedVolume | None:
        if name.startswith("."):
            return None
        path = root / name
        try:
            status = os.lstat(path)
        except OSError:
            # It went away since the listing; the next look tells.
            return None
        if not stat.S_ISDIR(status.st_mode):
            return None
        return MountedVolume(
            camera=name,
            bay=f"folder:{name}",
            volume="",
            mount_path=path,
            device=status.st_dev,
            inode=status.st_ino,
            properties={"SOURCE": "folder", "FOLDER_ROOT": str(root), "FOLDER_NAME": name},
        )

    def _tell_once(self, root: Path, error: OSError) -> None:
        key = (root, error.errno or 0)
        if key not in self._told:
            self._told.add(key)
            log.warning("source.root_unreadable", root=str(root), error=str(error))

    def _follow_roots(self) -> None:
        """Watch roots that came, or came back as another directory."""
        observer = self._observer
        if observer is None:
            return
        with self._lock:
            for root in self._roots:
                try:
                    status = root.stat()
                except OSError:
                    self._watched.pop(root, None)
                    continue
                identity = (status.st_dev, status.st_ino)
                if self._watched.get(root) == identity:
                    continue
                self._watched[root] = identity
                try:
                    observer.schedule(_Waker(self._wake), str(root), recursive=False)
                except OSError as error:
                    # Out of inotify watches: the rescan finds everything all the same.
                    log.warning("source.events_off", root=str(root), error=str(error))
