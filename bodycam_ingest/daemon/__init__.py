"""The daemon: its parts put together, run, watched and ended; `control` is how a command asks it.

Everything here is loaded when it is used: a command needs one thing of it, and no stage for that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bodycam_ingest.daemon.admin import AdminCommands
    from bodycam_ingest.daemon.components import Components
    from bodycam_ingest.daemon.ingest_once import RescueReport, look_at, rescue
    from bodycam_ingest.daemon.service import run
    from bodycam_ingest.daemon.status import dock_status

_HOME: Final = {
    "AdminCommands": "admin",
    "Components": "components",
    "RescueReport": "ingest_once",
    "dock_status": "status",
    "look_at": "ingest_once",
    "rescue": "ingest_once",
    "run": "service",
}

__all__ = [
    "AdminCommands",
    "Components",
    "RescueReport",
    "dock_status",
    "look_at",
    "rescue",
    "run",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
