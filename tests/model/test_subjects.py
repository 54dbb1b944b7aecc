"""The texts of subjects, which the ledger format publishes."""

from __future__ import annotations

import pytest

from bodycam_ingest.model import subjects
from bodycam_ingest.model.rows import CHECKPOINT, MANIFEST

ITEM = "01J00000000000000000000AAA"
KEY = "manifests/X81/2026/a.json"


@pytest.mark.parametrize(
    ("subject", "text", "store"),
    [
        (subjects.STAGING, "dock:staging", ""),
        (subjects.CLOCK, "clock", ""),
        (subjects.camera("X81"), "camera:X81", ""),
        (subjects.item(ITEM), f"item:{ITEM}", ""),
        (subjects.store("main"), "store:main", "main"),
        (subjects.upload(ITEM, "main"), f"upload:{ITEM}:main", "main"),
        (subjects.own_object("main", CHECKPOINT, "a"), "object:main:checkpoint", "main"),
        (subjects.own_object("main", CHECKPOINT, "b"), "object:main:checkpoint", "main"),
        (subjects.own_object("main", MANIFEST, KEY), "object:main:f4d3d98fc01dc15a", "main"),
        (subjects.moved_checkpoints("main"), "anchors:main", ""),
    ],
)
def test_a_subject_is_the_text_of_the_format_and_tells_its_store(subject, text, store):
    assert (subject, subjects.store_of(subject)) == (text, store)


def test_of_a_long_path_the_end_is_kept():
    subject = subjects.mount_root("/" + "a" * 200 + "/media")
    assert (len(subject), subject[:12], subject[-6:]) == (128, "mount_root:a", "/media")
