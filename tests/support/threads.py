"""Threads that a test starts and ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def together(act: Callable[[Any], Any], arguments: Iterable[Any]) -> None:
    """One act for each argument, all at once; returns when they have ended."""
    threads = [threading.Thread(target=act, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
