"""Subjects: what a ledger entry or a finding is about, made and read here alone (pure).

Each is a text, `kind:name` or a word, that the ledger format publishes.
"""

from __future__ import annotations

import hashlib
from typing import Final, NewType

from bodycam_ingest.model.rows import CHECKPOINT

Subject = NewType("Subject", str)

CLOCK: Final = Subject("clock")
CONFIG: Final = Subject("config")
DAEMON: Final = Subject("daemon")
LOG: Final = Subject("log")
STAGING: Final = Subject("dock:staging")

# As much as a column takes.
_MAX: Final = 128


def bay(name: str) -> Subject:
    """A bay of the dock."""
    return Subject(f"bay:{name}")


def camera(serial: str) -> Subject:
    """A camera, and each of its dockings' entries."""
    return Subject(f"camera:{serial}")


def docking(docking_id: str) -> Subject:
    """What is wrong with one docking."""
    return Subject(f"docking:{docking_id}")


def finding(finding_id: str) -> Subject:
    """A finding's own entries."""
    return Subject(f"finding:{finding_id}")


def item(item_id: str) -> Subject:
    """A recording."""
    return Subject(f"item:{item_id}")


def mount_root(shown: str) -> Subject:
    """A directory in which cameras appear; of a long path the end tells more."""
    prefix = "mount_root:"
    return Subject(prefix + shown[-(_MAX - len(prefix)) :])


def store(name: str) -> Subject:
    """A store."""
    return Subject(f"store:{name}")


def upload(item_id: str, store: str) -> Subject:
    """What is wrong with one recording at one store."""
    return Subject(f"upload:{item_id}:{store}")


def own_object(store: str, kind: str, key: str) -> Subject:
    """A manifest at a store, or all checkpoints: an alarm for each would make the next one due."""
    name = kind if kind == CHECKPOINT else hashlib.sha256(key.encode()).hexdigest()[:16]
    return Subject(f"object:{store}:{name}")


def moved_checkpoints(store: str) -> Subject:
    """Checkpoints whose key somebody else had taken at a store."""
    return Subject(f"anchors:{store}")


def worker(name: str) -> Subject:
    """A thread of the daemon."""
    return Subject(f"worker:{name}")


def split(subject: str) -> tuple[str, str]:
    """Kind and name; a word has no name."""
    kind, _, name = subject.partition(":")
    return kind, name


def store_of(subject: str) -> str:
    """The store that a subject is, or whose upload or object it is; empty for others."""
    kind, name = split(subject)
    if kind == "upload":
        return name.partition(":")[2]
    if kind == "object":
        return name.partition(":")[0]
    return name if kind == "store" else ""
