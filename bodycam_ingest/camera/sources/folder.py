"""The folder source: each directory directly below a mount root is a camera.

File system events only wake; what is there is found by looking, at every call. So it works with
no events at all: where inotify is exhausted, on network mounts, or switched off.

A directory may be a file system of its own, as a desktop mounts a camera. Then being there means
more: after a pull the mount stays, and a FAT lists it as empty with success, until someone
unmounts it; and the bare mount point that is left is no camera with an empty card.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING, Final

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

from bodycam_ingest.camera.sources.volume import (
    BLOCK_DEVICES,
    DiskHealth,
    MountedVolume,
    disk_health,
)
from bodycam_ingest.linux.mountinfo import MountWatch
from bodycam_ingest.log import log
from bodycam_ingest.model.evidence import printable_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from watchdog.observers.api import BaseObserver, ObservedWatch


# The file system's own, below the root of every ext4.
_NO_CAMERAS: Final = frozenset({"lost+found"})


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Any directory that comes or goes is a hint to look."""
        if isinstance(event, (DirCreatedEvent, DirDeletedEvent, DirMovedEvent)):
            self._wake()


class FolderSource:
    """Cameras as directories below roots that may come later; `watch` asks for events."""

    def __init__(self, mount_roots: Sequence[Path], *, watch: bool = True) -> None:
        self._roots = tuple(mount_roots)
        self._watch = watch
        self._wake: Callable[[], None] = lambda: None
        self._observer: BaseObserver | None = None
        self._mount_watch: MountWatch | None = None
        self._watched: dict[Path, tuple[tuple[int, int], ObservedWatch | None]] = {}
        self._mount_points: set[Path] = set()
        self._reported: set[tuple[Path, int]] = set()
        self._lock = threading.Lock()

    def start(self, wake: Callable[[], None]) -> None:
        """Begin to watch; `wake` is called, from another thread, when a directory came or went."""
        self._wake = wake
        if self._watch:
            self._observer = Observer()
            self._observer.start()
            self._follow_roots()
            self._mount_watch = MountWatch(wake)
            self._mount_watch.start()

    def stop(self) -> None:
        """Stop watching."""
        watch, self._mount_watch = self._mount_watch, None
        if watch is not None:
            watch.stop()
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def present(self) -> list[MountedVolume]:
        """The cameras that are there now, by looking, in the order of their names.

        Hidden directories are left out: vendor tools build a card there and rename it into place.
        A root that cannot be listed counts as empty and is logged, once a change.
        """
        self._follow_roots()
        found = []
        for root in self._roots:
            try:
                names = sorted(os.listdir(root))  # noqa: PTH208 - names are looked at one by one
                device = root.stat().st_dev
            except OSError as error:
                self._report_once(root, error)
                continue
            self._reported = {one for one in self._reported if one[0] != root}
            for name in names:
                volume = self._look(root, name, device)
                if volume is not None:
                    found.append(volume)
        return found

    def is_present(self, mounted: MountedVolume) -> bool:
        """Whether that very directory is still there; a new one of the same name is another."""
        try:
            status = os.lstat(mounted.mount_path)
        except OSError:
            return False
        same = (status.st_dev, status.st_ino) == (mounted.device, mounted.inode)
        return same and not (mounted.mount_path in self._mount_points and _pulled(status.st_dev))

    def disk_health(self, mounted: MountedVolume) -> DiskHealth:
        """How the disk below it stands, where there is one."""
        return disk_health(mounted.device)

    def _look(self, root: Path, name: str, root_device: int) -> MountedVolume | None:
        if name.startswith(".") or name in _NO_CAMERAS:
            return None
        path = root / name
        try:
            status = os.lstat(path)
        except OSError:
            # It went away since the listing; the next look shows it.
            return None
        if not stat.S_ISDIR(status.st_mode):
            return None
        if status.st_dev != root_device:
            self._mount_points.add(path)
            if _pulled(status.st_dev):
                return None
        elif path in self._mount_points and _is_empty(path):
            return None
        # A name may be any bytes; what is written of it is text.
        shown = printable_path(os.fsencode(name))
        return MountedVolume(
            camera=shown,
            bay=f"folder:{shown}",
            volume="",
            mount_path=path,
            device=status.st_dev,
            inode=status.st_ino,
            properties={
                "SOURCE": "folder",
                "FOLDER_ROOT": printable_path(os.fsencode(root)),
                "FOLDER_NAME": shown,
            },
        )

    def _report_once(self, root: Path, error: OSError) -> None:
        key = (root, error.errno or 0)
        if key not in self._reported:
            self._reported.add(key)
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
                    identity = (status.st_dev, status.st_ino)
                except OSError:
                    identity = None
                known, watch = self._watched.get(root, (None, None))
                if known == identity:
                    continue
                if watch is not None:
                    # It watches a directory that is gone; one of the same name is another.
                    observer.unschedule(watch)
                self._watched.pop(root, None)
                if identity is not None:
                    self._watched[root] = (identity, self._schedule(observer, root))

    def _schedule(self, observer: BaseObserver, root: Path) -> ObservedWatch | None:
        try:
            return observer.schedule(_Waker(self._wake), str(root), recursive=False)
        except OSError as error:
            # Out of inotify watches: the rescan finds everything all the same.
            log.warning("source.events_off", root=str(root), error=str(error))
            return None


def _pulled(device: int) -> bool:
    """Whether a mounted file system's disk is gone; the mount outlives it."""
    major, minor = os.major(device), os.minor(device)
    # Major 0: not on one disk (network, tmpfs, FUSE); without sysfs nothing is known.
    if major == 0 or not BLOCK_DEVICES.is_dir():
        return False
    return not (BLOCK_DEVICES / f"{major}:{minor}").exists()


def _is_empty(path: Path) -> bool:
    try:
        with os.scandir(path) as names:
            return next(names, None) is None
    except OSError:
        return False
