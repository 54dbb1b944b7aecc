"""Where each subject stands, whether it is in memory or not any more."""

from __future__ import annotations

import contextlib
import random

import pytest

from bodycam_ingest.db import subjects as module
from bodycam_ingest.db.subjects import Subjects


@pytest.mark.parametrize("young", [1, 2, 7, 1000])
def test_the_last_entry_of_each_subject_is_told(young, monkeypatch):
    monkeypatch.setattr(module, "_YOUNG_AT_MOST", young)
    dice = random.Random(7)
    right: dict[str, tuple[int, int]] = {}
    with contextlib.closing(Subjects()) as subjects:
        for seq in range(2000):
            name = f"item:{dice.randrange(90)}"
            before = right.get(name)
            ordinal = before[0] + 1 if before else 0
            assert subjects.swap(name, ordinal, seq) == before
            right[name] = (ordinal, seq)
