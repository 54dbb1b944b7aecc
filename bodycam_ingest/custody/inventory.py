"""Inventories: what lay on a camera's volume, a document that an entry names by its digest (pure).

A line a path, in the order of the paths' bytes: RFC 8785 JSON and a newline. Figures stand as text,
since they can pass 2^53. docs/ledger-format.md is normative.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from bodycam_ingest.custody.entry import canonical, escaped
from bodycam_ingest.model.evidence import EntryKind, Verdict, encode_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Line(NamedTuple):
    """What was found at one path.

    Args:
        path: relative to the volume's root.
        size_bytes: length of a file, None for everything else.
        mtime_ns: raw modification time of a file, None for everything else.
        verdict: what comparing it with the camera's history said.
        item_id: None for what is not ingested.
        detail: reason, for people.
    """

    path: bytes
    kind: EntryKind
    size_bytes: int | None
    mtime_ns: int | None
    verdict: Verdict
    item_id: str | None = None
    detail: str = ""

    @property
    def is_file(self) -> bool:
        """Whether it is a file that lies there; one that is missing does not."""
        return self.kind is EntryKind.FILE and self.verdict is not Verdict.MISSING


def fields(line: Line) -> dict[str, Any]:
    """A line's JSON object."""
    found = {
        "path": encode_path(line.path),
        "kind": line.kind.value,
        "size_bytes": None if line.size_bytes is None else str(line.size_bytes),
        "mtime_ns": None if line.mtime_ns is None else str(line.mtime_ns),
        "verdict": line.verdict.value,
        "item_id": line.item_id,
    }
    if line.detail:
        found["detail"] = escaped(line.detail)
    return found


def document(lines: Iterable[Line]) -> bytes:
    """The bytes of an inventory, whatever order its lines come in."""
    return b"".join(canonical(fields(line)) + b"\n" for line in sorted(lines))


def lines_of(body: bytes) -> list[dict[str, Any]]:
    """The lines of a document, as `fields` made them."""
    # As one array: no string of JSON holds a newline.
    found: list[dict[str, Any]] = json.loads(b"[" + body.rstrip(b"\n").replace(b"\n", b",") + b"]")
    return found


def seen(body: bytes) -> Iterator[tuple[str, int]]:
    """The items that lay on the volume by a document, each with its modification time, ns."""
    for one in lines_of(body):
        if one["item_id"] is not None and one["verdict"] != Verdict.MISSING:
            yield one["item_id"], int(one["mtime_ns"])
