"""The dock that most tests of the daemon begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.dock import Dock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def dock(tmp_path: Path) -> Iterator[Dock]:
    """A dock after `init`, with one directory as its store; its daemon is ended."""
    made = Dock.ready(tmp_path)
    yield made
    if made.daemon is not None:
        made.stop(kill=True)
