"""Keys stay safe whatever a camera's files are called."""

from __future__ import annotations

import datetime as dt
import re
from urllib.parse import unquote_to_bytes

from hypothesis import example, given
from hypothesis import strategies as st

from bodycam_ingest.model import object_keys

_MOMENT = dt.datetime(2026, 3, 1, 0, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,119}")


def test_the_key_is_as_documented_and_has_the_utc_date() -> None:
    key = object_keys.evidence_key("X81-0042", _MOMENT, "DOCK", "ITEM", b"DCIM/100/clip 1.MP4")
    assert key == "evidence/X81-0042/2026/02/28/DOCK/ITEM/clip_1.MP4"
    assert object_keys.manifest_key("X81-0042", _MOMENT, "DOCK") == (
        "evidence/X81-0042/2026/02/28/DOCK/manifest.json"
    )
    assert object_keys.checkpoint_key("pd.example/custody/dock-1", 42) == (
        "ledger/pd.example/custody/dock-1/checkpoint/00000000000000000042"
    )


@given(camera=st.text(), path=st.binary())
@example(camera="..", path=b"../../..")
@example(camera=".", path=b"a/.bodycam-store")
@example(camera="a/b", path=b"\xff\xfe\n")
@example(camera="x" * 500, path=b"y" * 500 + b".mp4")
def test_every_segment_is_safe(camera, path) -> None:
    key = object_keys.evidence_key(camera, _MOMENT, "DOCK", "ITEM", path)
    segments = key.split("/")
    assert len(segments) == 8
    assert all(_SAFE.fullmatch(segment) for segment in segments), key
    assert len(key) < 1024


def test_a_long_name_keeps_its_extension() -> None:
    name = object_keys.safe_segment("a" * 300 + ".MP4")
    assert name.endswith(".MP4")


@given(st.binary(max_size=400))
def test_the_source_path_comes_back_from_metadata(path) -> None:
    values = object_keys.source_path_metadata(path)
    if "source-path" in values:
        assert unquote_to_bytes(values["source-path"]) == path
    else:
        assert len(values["source-path-sha256"]) == 64
    assert all(v.isascii() and v.isprintable() and len(v) <= 512 for v in values.values())


def test_a_path_too_long_for_metadata_is_told_by_its_digest() -> None:
    assert set(object_keys.source_path_metadata(b"\xff" * 2000)) == {"source-path-sha256"}
