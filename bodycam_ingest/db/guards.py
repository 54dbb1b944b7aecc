"""Triggers that refuse to change what was recorded. They stop accidents, and show tampering."""

from __future__ import annotations

from typing import Final

GUARDED: Final = {
    "ledger_entry": ("log_id", "seq"),
    "ledger_node": ("log_id", "level", "idx"),
    "ledger_checkpoint": ("log_id", "size"),
}


def _statements() -> dict[str, str]:
    found = {}
    for table, keys in GUARDED.items():
        for act in ("UPDATE", "DELETE"):
            name = f"guard_{table}_{act.lower()}"
            found[name] = (
                f"CREATE TRIGGER {name} BEFORE {act} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        same = " AND ".join(f"{key} = NEW.{key}" for key in keys)
        # INSERT OR REPLACE walks past the two above.
        name = f"guard_{table}_insert"
        found[name] = (
            f"CREATE TRIGGER {name} BEFORE INSERT ON {table} WHEN EXISTS "  # noqa: S608 - our names
            f"(SELECT 1 FROM {table} WHERE {same}) "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
    return found


GUARDS: Final = _statements()
"""Every guard by its name, as SQLite stores it; `verify` compares."""
