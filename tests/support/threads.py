"""Threads that a test starts and ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def together(act: Callable[[Any], Any], arguments: Iterable[Any]) -> None:
    """One act for each argument, all at once; raises what the first of them that failed raised."""
    given = list(arguments)
    with ThreadPoolExecutor(len(given)) as threads:
        for done in [threads.submit(act, argument) for argument in given]:
            done.result()
