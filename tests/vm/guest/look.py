"""What the daemon's database says of a camera's items, as JSON; read with nothing of the product.

look CAMERA
"""

from __future__ import annotations

import json
import sqlite3
import sys

_DATABASE = "file:/var/lib/bodycam-ingest/state/bodycam.db?mode=ro"
_QUERY = """
SELECT item.item_id, item.path, item.state, hex(item.sha256), item.size_bytes, item.mtime_ns,
       item.attempts, item.last_error, item.docking_id, upload.key
FROM item LEFT JOIN upload ON upload.item_id = item.item_id
WHERE item.camera = ? ORDER BY item.item_id
"""
_DOCKINGS = """
SELECT docking_id, bay, ended_at, inventoried, complete FROM docking WHERE camera = ?
ORDER BY docking_id
"""


def main() -> None:
    """Print it."""
    database = sqlite3.connect(_DATABASE, uri=True, timeout=60)
    names = "item_id path state sha256 size_bytes mtime_ns attempts last_error docking_id key"
    items = [
        dict(zip(names.split(), row, strict=True)) for row in database.execute(_QUERY, sys.argv[1:])
    ]
    for item in items:
        item["path"] = item["path"].decode("utf-8", "backslashreplace")
        item["sha256"] = item["sha256"].lower()
    names = "docking_id bay ended_at inventoried complete"
    dockings = [
        dict(zip(names.split(), row, strict=True))
        for row in database.execute(_DOCKINGS, sys.argv[1:])
    ]
    print(json.dumps({"items": items, "dockings": dockings}))


if __name__ == "__main__":
    main()
