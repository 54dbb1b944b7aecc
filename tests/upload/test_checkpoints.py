from __future__ import annotations

import dataclasses

import pytest

from bodycam_ingest.upload.checkpoints import AnchorFacts, due

INTERVAL_MS = 900_000
QUIET = AnchorFacts(size=10, queued_size=8, age_ms=2_000, waiting_seq=None, under_way=0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, False),
        ({"age_ms": INTERVAL_MS}, True),
        ({"size": 8, "age_ms": 10 * INTERVAL_MS}, False),
        # A release waits: at once when the burst is over, once a minute while it lasts.
        ({"waiting_seq": 9}, True),
        ({"waiting_seq": 9, "age_ms": 500}, False),
        ({"waiting_seq": 9, "under_way": 3}, False),
        ({"waiting_seq": 9, "under_way": 3, "age_ms": 60_000}, True),
        # What waits lies under a checkpoint that is on its way already.
        ({"waiting_seq": 7}, False),
    ],
)
def test_a_checkpoint_is_written_when_something_waits_for_it_and_not_for_every_entry(
    change, expected
):
    assert due(dataclasses.replace(QUIET, **change), interval_ms=INTERVAL_MS) is expected
