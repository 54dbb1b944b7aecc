from __future__ import annotations

import itertools
import json
import re
import threading
import tomllib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bodycam_ingest.camera.profile import (
    ItemFacts,
    LimitedSearch,
    facts_of,
    is_included,
    profile_for,
    safe_serial,
    serial_in_text,
)
from bodycam_ingest.config import CameraProfile

# As an admin writes them; each is the layout of real cards.
PROFILES = r"""
[[profile]]
name = "numbered clips"
match = { FOLDER_NAME = "NUM*" }
patterns = ['^DCIM/\d{3}[A-Z0-9_]{5}/[A-Z_]{4}(?P<number>\d{4})\.[A-Z0-9]+$']

[[profile]]
name = "time in the name"
match = { FOLDER_NAME = "BV*" }
patterns = ['^BlackVue/Record/(?P<recorded_at>\d{8}_\d{6})_[A-Z]{1,2}\.']

[[profile]]
name = "date in the folder"
match = { FOLDER_NAME = "CAM[0-9][0-9]" }
patterns = ['^mpt/(?P<date>[\d-]{10})/\d{3}/dav/\d\d/(?P<time>[\d.]{8})-']
recorded_at_format = "%Y-%m-%d %H.%M.%S"

[[profile]]
name = "date folder and counter"
match = { FOLDER_NAME = "M*" }
patterns = ['(?:^|/)(?P<recorded_at>\d{8})/\d+M(?P<number>\d{6})\.mp4$']
recorded_at_format = "%Y%m%d"

[[profile]]
name = "session folders"
patterns = [
  '^(?P<officer>[^/_]+)_[^/_]+_(?P<recorded_at>\d{8}T\d{6}Z)/',
]
recorded_at_format = "%Y%m%dT%H%M%SZ"
serial_file = "device.txt"
serial_pattern = 'SN[:=]\s*(?P<serial>.+)'
"""
LOADED = [CameraProfile(**table) for table in tomllib.loads(PROFILES)["profile"]]


def told(folder: str, path: bytes) -> ItemFacts:
    return facts_of(profile_for({"FOLDER_NAME": folder}, LOADED), path)


@pytest.mark.parametrize(
    ("folder", "path", "facts"),
    [
        ("NUM1", b"DCIM/100MEDIA/YDXJ0001.JPG", ItemFacts(number=1)),
        ("NUM1", b"DCIM/100MEDIA/FSCK0000.REC", ItemFacts(number=0)),
        (
            "BV1",
            b"BlackVue/Record/20240607_081530_NF.mp4",
            ItemFacts(recorded_at="2024-06-07T08:15:30"),
        ),
        (
            "BV1",
            b"BlackVue/Record/19700101_000000_NF.gps",
            ItemFacts(recorded_at="1970-01-01T00:00:00"),
        ),
        ("BV1", b"BlackVue/Record/20241307_081530_NF.mp4", ItemFacts()),
        (
            "CAM01",
            b"mpt/2026-01-15/001/dav/14/14.30.45-14.31.12[R][0@0][0].mp4",
            ItemFacts(recorded_at="2026-01-15T14:30:45"),
        ),
        (
            "M7",
            b"20240607/1M123455.mp4",
            ItemFacts(recorded_at="2024-06-07T00:00:00", number=123455),
        ),
        (
            "anything",
            b"okafor_X812_20240607T081530Z/clip-01.key",
            ItemFacts("2024-06-07T08:15:30", None, "okafor"),
        ),
        ("anything", b"files/data/nothing.bin", ItemFacts()),
    ],
)
def test_paths_of_real_cards_tell_time_number_officer_and_serial(folder, path, facts):
    assert told(folder, path) == facts


def test_a_camera_that_no_profile_knows_is_taken_whole():
    assert profile_for({"FOLDER_NAME": "X"}, LOADED[:-1]) is None
    assert is_included(None, b"\xff/any[thing]")
    assert facts_of(None, b"DCIM/100MEDIA/YDXJ0001.JPG") == ItemFacts()


@given(st.binary(min_size=1, max_size=60))
def test_whatever_a_name_tells_can_be_written_to_the_ledger(name):
    facts = told("anything", b"o" + name.replace(b"/", b"") + b"_S1_20240607T081530Z/a.mkv")
    line = json.dumps([facts.officer, facts.recorded_at], ensure_ascii=False)
    assert line.encode("utf-8")
    assert facts.officer.isprintable()


def test_a_number_of_monstrous_length_is_none():
    profile = CameraProfile(name="p", patterns=(r"(?P<number>\d+)",))
    assert facts_of(profile, b"9" * 1000).number is None
    assert facts_of(profile, b"0042").number == 42


def test_a_path_longer_than_any_pattern_was_meant_for_is_not_searched():
    profile = CameraProfile(name="p", patterns=(r"(?P<officer>a)",))
    assert facts_of(profile, b"a" * 1025) == ItemFacts()


HOSTILE = ["..", "/etc", ".hidden", "a/b", "a\nb", "x" * 300, "ä", "\udcff", "\ud800", "a\x1b[0m"]


@pytest.mark.parametrize("raw", HOSTILE)
def test_a_hostile_serial_becomes_safe_and_stays_its_own(raw):
    safe = safe_serial(raw)
    assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", safe)
    assert len({safe_serial(other) for other in HOSTILE}) == len(HOSTILE)


@given(st.text(max_size=80))
def test_every_serial_is_empty_or_safe(raw):
    safe = safe_serial(raw)
    assert bool(safe) is bool(raw.strip())
    assert re.fullmatch(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]{0,63})?", safe)


def test_a_plain_serial_stays_as_it_is():
    assert safe_serial("X81-2_4.B") == "X81-2_4.B"
    assert safe_serial(" X812\r\n") == "X812"
    assert safe_serial("") == safe_serial(" \t") == ""


@pytest.mark.parametrize("text", ["SN: X812\r\nfirmware 3", "model=A\nSN=X812"])
def test_a_serial_is_read_from_the_cameras_own_file(text):
    assert serial_in_text(LOADED[-1], text) == "X812"


def test_a_file_without_a_serial_tells_none():
    assert serial_in_text(LOADED[-1], "nothing here") == ""
    assert serial_in_text(LOADED[0], "SN: X812") == ""


def selects(pattern: str, path: bytes) -> bool:
    return is_included(CameraProfile.model_construct(name="p", include=(pattern,)), path)


@pytest.mark.parametrize(
    ("pattern", "path", "taken"),
    [
        ("**", b"a/b/c", True),
        ("DCIM/**", b"dcim/100/A.MP4", True),
        ("**/*.mp4", b"A.MP4", True),
        ("**/*.mp4", b"a/b/A.mp4", True),
        ("*.mp4", b"a/A.mp4", False),
        ("?.mp4", b"/.mp4", False),
        ("[!a].mp4", b"b.mp4", True),
        ("[!a].mp4", b"a.mp4", False),
        ("x[!a]y", b"x/y", False),
        ("[ab^].mp4", b"^.mp4", True),
        ("[[x].mp4", b"[.mp4", True),
        ("[]", b"[]", True),
        ("**/*.bin", b"caf\xe9/\xff.bin", True),
        ("**", b"new\nline", True),
        ("a.mp4", b"aXmp4", False),
    ],
)
def test_shell_patterns_take_what_they_say(pattern, path, taken):
    assert selects(pattern, path) is taken


def test_what_is_left_out_goes_before_what_is_taken():
    profile = CameraProfile(name="p", include=("**",), exclude=("**/thumbs/**",))
    assert is_included(profile, b"DCIM/A.MP4")
    assert not is_included(profile, b"DCIM/thumbs/A.MP4")


def test_every_property_of_a_profile_must_match():
    one = CameraProfile(name="one", match={"ID_VENDOR_ID": "4255", "ID_FS_LABEL": "CAM*"})
    assert profile_for({"ID_VENDOR_ID": "4255", "ID_FS_LABEL": "CAM01"}, [one]) is one
    assert profile_for({"ID_VENDOR_ID": "4255"}, [one]) is None


def _plainly(pattern: str, path: str) -> bool:
    """What a pattern means, tried place by place."""
    if not pattern:
        return not path
    if pattern.startswith("**"):
        return any(_plainly(pattern[2:], path[i:]) for i in range(len(path) + 1))
    if pattern[0] == "*":
        ends = itertools.takewhile(lambda i: "/" not in path[:i], range(len(path) + 1))
        return any(_plainly(pattern[1:], path[i:]) for i in ends)
    if not path or (pattern[0] == "?" and path[0] == "/"):
        return False
    return pattern[0] in {"?", path[0]} and _plainly(pattern[1:], path[1:])


@settings(max_examples=500)
@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**", "?"]), max_size=7).map("".join),
    st.text("ab/", max_size=8),
)
def test_a_pattern_selects_what_it_says_in_whatever_order_it_is_looked_for(pattern, path):
    # `**/` where a directory begins is a word of its own, with cases of its own above.
    assume("***" not in pattern and not re.search(r"(^|/)\*\*/", pattern))
    assert selects(pattern, path.encode()) is _plainly(pattern, path)


@pytest.mark.timeout(20)
def test_no_name_and_no_file_makes_an_admins_expression_work_for_long():
    slow = r"(?P<serial>(a|a)*)+$"
    hostile = "a" * 60 + "!"
    profile = CameraProfile(
        name="one",
        patterns=(slow.replace("serial", "officer"), r"(?P<number>\d+)"),
        serial_file="sn",
        serial_pattern=slow,
    )
    beats = []
    stop = threading.Event()

    def beat():
        while not stop.wait(0.001):
            beats.append(1)

    other = threading.Thread(target=beat)
    other.start()
    assert serial_in_text(profile, hostile) == ""
    facts = facts_of(profile, f"17{hostile}".encode())
    stop.set()
    other.join()
    # The next pattern is tried, and the other threads went on.
    assert facts.number == 17
    given_up: list[str] = []
    search = LimitedSearch(given_up.append)
    for n in range(10_000):
        assert facts_of(profile, f"{n}{hostile}".encode(), search).number == n
    assert given_up == [profile.patterns[0]]
    assert len(beats) > 10


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*_*_*_*_*_*_*_*.mp4", b"_" * 255),
        ("**/*_*_*_*_*.mp4", b"/".join([b"_" * 255] * 4)),
        ("**a**a**a**a**b", b"a" * 1024),
        ("**/a**/a**/a**/b", b"a/" * 512),
    ],
)
def test_no_name_makes_a_pattern_work_for_long(pattern, path):
    # Each took seconds to ages, with the interpreter's lock held, for one name of a card.
    for _ in range(100):
        assert not selects(pattern, path)
