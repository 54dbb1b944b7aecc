"""Keys and metadata of objects: safe characters only, whatever a camera calls its files.

Pure. A key tells people where an object belongs; the true path stands in metadata and ledger, and
the ids in the key make it unique, so nothing is lost where a name has to be made safe.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping

EVIDENCE_PREFIX: Final = "evidence"
LEDGER_PREFIX: Final = "ledger"
# File systems take 255 bytes a name; S3 takes 1024 a key, and 2048 for all metadata together, of
# which a checkpoint with a long origin takes 1000.
_SEGMENT_MAX: Final = 120
_TAIL_CHARS: Final = 24
_SOURCE_PATH_MAX: Final = 512
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
_SIZE_DIGITS: Final = 20
_CHECKPOINT_NAME: Final = re.compile(r"([0-9]{20})(?:-[0-9A-HJKMNP-TV-Z]{26})?")


def safe_segment(text: str) -> str:
    """One segment of a key: `A-Z a-z 0-9 . _ -`, 1 to 120 characters, no leading dot.

    Text that is none gets `_` for every other character, and is cut in the middle.
    """
    safe = _UNSAFE.sub("_", text)
    if len(safe) > _SEGMENT_MAX:
        safe = f"{safe[: _SEGMENT_MAX - _TAIL_CHARS - 1]}_{safe[-_TAIL_CHARS:]}"
    # Directory stores keep their own files under names with a dot in front.
    if safe.startswith("."):
        safe = "_" + safe[1:]
    return safe or "_"


def _docking_prefix(camera: str, moment: dt.datetime, docking_id: str) -> str:
    day = moment.astimezone(dt.UTC).strftime("%Y/%m/%d")
    return f"{EVIDENCE_PREFIX}/{safe_segment(camera)}/{day}/{safe_segment(docking_id)}"


def evidence_key(
    camera: str, moment: dt.datetime, docking_id: str, item_id: str, path: bytes
) -> str:
    """`evidence/<camera>/<YYYY>/<MM>/<DD>/<docking id>/<item id>/<file name>`, an item's key.

    Args:
        camera: its camera's serial.
        moment: when it was discovered, with a time zone; the key has the UTC date.
        docking_id: docking in which it was discovered.
        item_id: the item.
        path: path on the card.
    """
    name = path.rpartition(b"/")[2].decode("utf-8", "replace")
    prefix = _docking_prefix(camera, moment, docking_id)
    return f"{prefix}/{safe_segment(item_id)}/{safe_segment(name)}"


def manifest_key(camera: str, moment: dt.datetime, docking_id: str) -> str:
    """`evidence/<camera>/<YYYY>/<MM>/<DD>/<docking id>/manifest.json`, a manifest's key.

    The date is the UTC date of when the docking began: `moment`, with a time zone.
    """
    return f"{_docking_prefix(camera, moment, docking_id)}/manifest.json"


def checkpoint_key(origin: str, size: int) -> str:
    """The key of a checkpoint of so many entries: `ledger/<origin>/checkpoint/<20 digits>`."""
    name = "/".join(safe_segment(part) for part in origin.split("/"))
    return f"{LEDGER_PREFIX}/{name}/checkpoint/{size:0{_SIZE_DIGITS}d}"


def moved_checkpoint_key(key: str, mark: str) -> str:
    """Where a checkpoint goes whose own key is taken: with a ULID, no one can guess it before.

    The key may be one that was moved before.
    """
    name, _, size = key.rpartition("/")
    return f"{name}/{size[:_SIZE_DIGITS]}-{mark}"


def checkpoint_size(name: str) -> int | None:
    """The ledger's size that the last part of a checkpoint's key names, None where it is none."""
    found = _CHECKPOINT_NAME.fullmatch(name)
    return int(found[1]) if found else None


def source_path_metadata(path: bytes) -> Mapping[str, str]:
    """A path on a card as `source-path`, percent-encoded; its digest where that is too long."""
    encoded = quote(path, safe="/")
    if len(encoded) <= _SOURCE_PATH_MAX:
        return {"source-path": encoded}
    return {"source-path-sha256": hashlib.sha256(path).hexdigest()}


def evidence_metadata(
    *,
    item_id: str,
    sha256: bytes,
    camera: str,
    dock_id: str,
    ledger_entry: int,
    checkpoint: str,
    path: bytes,
) -> Mapping[str, str]:
    """What an item's object bears: `item-id` and `sha256` decide whose it is.

    `ledger_entry` is the one that says that its copy was verified, `checkpoint` covers it, signed.
    """
    return {
        "item-id": item_id,
        "sha256": sha256.hex(),
        "camera": safe_segment(camera),
        "dock": safe_segment(dock_id),
        "ledger-entry": str(ledger_entry),
        "custody-checkpoint": base64.b64encode(checkpoint.encode()).decode("ascii"),
        **source_path_metadata(path),
    }
