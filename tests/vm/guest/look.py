"""What the daemon knows, as JSON; the product's own commands would take ten times longer.

look CAMERA    items and dockings of a camera, and the codes of open findings, from the database
look           what the daemon answers to `status`
"""

from __future__ import annotations

import json
import socket
import sqlite3
import sys

_STATE = "/var/lib/bodycam-ingest/state"
_DATABASE = f"file:{_STATE}/bodycam.db?mode=ro"
_QUERY = """
SELECT item.item_id, item.path, item.state, hex(item.sha256), item.size_bytes, item.mtime_ns,
       coalesce(item_work.attempts, 0), coalesce(item_work.last_error, ''), item.docking_id,
       item.camera, item.discovered_at, upload.item_id IS NOT NULL
FROM item LEFT JOIN upload ON upload.item_id = item.item_id
          LEFT JOIN item_work ON item_work.item_id = item.item_id
WHERE item.camera = ? ORDER BY item.item_id
"""
_DOCKINGS = """
SELECT docking_id, bay, ended_at, inventoried, complete FROM docking WHERE camera = ?
ORDER BY docking_id
"""

_FINDINGS = "SELECT code FROM finding WHERE closed_at IS NULL ORDER BY code"


def main() -> None:
    if sys.argv[1:]:
        print(json.dumps(stored(sys.argv[1])))
    else:
        print(json.dumps(status()))


def status() -> object:
    """The daemon's own answer; nothing while it starts."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(60)
        try:
            line.connect(f"{_STATE}/control.sock")
        except (FileNotFoundError, ConnectionRefusedError):
            return {"bays": []}
        line.sendall(b'{"command": "status"}\n')
        # A daemon that takes long says so in lines of their own.
        replies = (json.loads(text) for text in line.makefile("rb"))
        reply = next(reply for reply in replies if "ok" in reply)
    return reply["result"] if reply["ok"] else {"bays": []}


def stored(camera: str) -> dict[str, object]:
    """What the database says."""
    database = sqlite3.connect(_DATABASE, uri=True, timeout=60)
    names = (
        "item_id path state sha256 size_bytes mtime_ns attempts last_error docking_id camera "
        "discovered_at queued"
    )
    items = [
        dict(zip(names.split(), row, strict=True)) for row in database.execute(_QUERY, [camera])
    ]
    for item in items:
        item["path"] = item["path"].decode("utf-8", "backslashreplace")
        item["sha256"] = item["sha256"].lower()
        day = item["discovered_at"][:10].replace("-", "/")
        name = item["path"].rpartition("/")[2]
        place = f"{item['camera']}/{day}/{item['docking_id']}/{item['item_id']}/{name}"
        item["key"] = f"evidence/{place}" if item["queued"] else None
    names = "docking_id bay ended_at inventoried complete"
    dockings = [
        dict(zip(names.split(), row, strict=True)) for row in database.execute(_DOCKINGS, [camera])
    ]
    findings = [code for (code,) in database.execute(_FINDINGS)]
    return {"items": items, "dockings": dockings, "findings": findings}


if __name__ == "__main__":
    main()
