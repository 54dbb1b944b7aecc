"""What is copied, and where to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.recordings import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A card and a staging directory."""
    made = Desk.at(tmp_path)
    yield made
    made.close()
