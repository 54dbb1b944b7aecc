"""Functions of the system and of the product that a test makes fail, or listens to."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from bodycam_ingest.linux import durable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest


def always(*_arguments: Any, **_more: Any) -> bool:
    return True


def fail(
    patch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    error: BaseException | int,
    when: Callable[..., bool] = always,
    *,
    after: int = 0,
) -> list[Any]:
    """Have a function raise; returns the arguments of the calls that did, as they come.

    Args:
        patch: what puts it back.
        where: its module or class.
        name: its name there.
        error: what it raises; a number is an OSError's.
        when: which calls, by their arguments; the others go through.
        after: so many of these calls go through as well.
    """
    real, failed, left = getattr(where, name), list[Any](), iter(range(after))
    told = OSError(error, os.strerror(error)) if isinstance(error, int) else error

    def call(*arguments: Any, **more: Any) -> Any:
        if when(*arguments, **more) and next(left, None) is None:
            failed.append(arguments)
            raise told
        return real(*arguments, **more)

    patch.setattr(where, name, call)
    return failed


def note(
    patch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    what: Callable[..., Any] = lambda *arguments, **_more: arguments,
    into: list[Any] | None = None,
) -> list[Any]:
    """Listen to a function; returns `what` of the arguments of each call that came back."""
    real, noted = getattr(where, name), [] if into is None else into

    def call(*arguments: Any, **more: Any) -> Any:
        answer = real(*arguments, **more)
        noted.append(what(*arguments, **more))
        return answer

    patch.setattr(where, name, call)
    return noted


class Crash(BaseException):
    """Ends the work at once, as a kill does; what the code tidies up, a test puts back."""


@contextlib.contextmanager
def acts(
    is_end: Callable[[str], bool] | None = None, error: type[BaseException] | BaseException = Crash
) -> Iterator[list[str]]:
    """The sides of durable acts as they are come to; one that `is_end` is true of raises."""
    seen: list[str] = []

    def listener(side: str) -> None:
        seen.append(side)
        if is_end is not None and is_end(side):
            raise error

    durable.listen(listener)
    try:
        yield seen
    finally:
        durable.listen(None)
