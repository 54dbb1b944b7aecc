"""A card, opened as a camera's volume."""

from __future__ import annotations

import os

import pytest

from bodycam_ingest.camera import files


@pytest.fixture
def card(tmp_path):
    """Its directory, and that opened."""
    root = tmp_path / "card"
    root.mkdir()
    fd = files.open_volume(root)
    yield root, fd
    os.close(fd)
