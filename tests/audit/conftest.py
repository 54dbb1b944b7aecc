"""A dock with something in every state, to be tampered with."""

from __future__ import annotations

import shutil

import pytest

from tests.support.goldendock import Dock, build


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """Made once; a test works on a copy."""
    return build(tmp_path_factory.mktemp("golden") / "dock")


@pytest.fixture
def dock(golden, tmp_path):
    """A copy of the golden dock."""
    shutil.copytree(golden.root, tmp_path / "dock", symlinks=True)
    (tmp_path / "dock/state").chmod(0o700)
    return Dock(tmp_path / "dock")
