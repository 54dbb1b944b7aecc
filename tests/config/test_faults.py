"""A wrong configuration: every fault at once, each findable, none showing a secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bodycam_ingest.config import examine, load
from bodycam_ingest.config.faults import shown_value
from bodycam_ingest.errors import ConfigError
from tests.support.dock import SMALL_CONFIG

S3 = """
[[stores]]
name = "cloud"
type = "s3"
bucket = "evidence"
"""


def faults(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return {fault.key: fault for fault in examine(path)[1]}


def message(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value.message


def test_every_fault_stands_in_one_message_with_key_value_and_hint(tmp_path):
    told = message(
        tmp_path,
        """
        unknown_top = 1
        [dock]
        id = "dock 7"
        agncy = "police.example.org"
        [cameras]
        mount_roots = []
        settle_s = "5"
        [cameras.limits]
        max_dept = 3
        [[cameras.profile]]
        name = "a"
        patterns = ["ok", "("]
        [upload]
        workers = 0
        windows = ["22:00-06:00", "25:00-26:00"]
        backoff_initial_s = 10
        backoff_max_s = 5
        [release]
        policy = "wipe"
        [log]
        format = "yaml"
        [[stores]]
        name = "archive"
        type = "directory"
        [[stores]]
        type = "ftp"
        [[stores]]
        name = "cloud"
        type = "s3"
        bucket = "Evidence"
        credentials = { source = "file" }
        """,
    )
    for part in (
        "17 faults",
        "unknown_top = 1: unknown key",
        'dock.id = "dock 7": is not of the right form',
        "dock.agency: missing",
        'dock.agncy = "police.example.org": unknown key\n      hint: did you mean agency?',
        "cameras.mount_roots = []",
        'cameras.settle_s = "5": must be a number',
        "cameras.limits.max_dept = 3: unknown key\n      hint: did you mean max_depth?",
        'cameras.profile.#1.patterns.#2 = "(": is no regular expression',
        "upload.workers = 0",
        'upload.windows.#2 = "25:00-26:00": is no time window',
        "upload.backoff_max_s = 5: is less than upload.backoff_initial_s",
        'release.policy = "wipe": not built yet',
        'log.format = "yaml"',
        "stores.archive.path: missing",
        'stores.#2.type = "ftp": is of an unknown type',
        'stores.cloud.bucket = "Evidence": is no bucket name',
        "stores.cloud.credentials.path: missing",
    ):
        assert part in told
    assert told.count("hint: ") >= 17


@pytest.mark.parametrize(
    ("text", "key", "problem"),
    [
        ('[cameras]\nsource = "mtp"\nmount_roots = ["c"]', "cameras.source", "'folder' or 'usb'"),
        (
            S3 + 'endpoint_url = "http://s3.example.org"\nallow_http = true',
            "stores.cloud.endpoint_url",
            "is not encrypted",
        ),
        (
            S3 + 'endpoint_url = "http://127.0.0.1:8333"',
            "stores.cloud.endpoint_url",
            "is not encrypted",
        ),
        (S3 + 'kms_key_id = "k"', "stores.cloud.kms_key_id", 'has no use unless sse = "aws:kms"'),
        (S3 + 'prefix = "../x"', "stores.cloud.prefix", "is no prefix"),
        ("[upload]\npart_size_bytes = 6_000_000", "upload.part_size_bytes", "multiple of"),
        (S3 + "required = false", "stores", "no store is required"),
        ("stores = 3", "stores", "must be a list of tables"),
        ("dock = 3", "dock", "must be a table"),
        (S3 + "[custody]\nanchor_interval_s = inf", "custody.anchor_interval_s", "finite"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, text, key, problem):
    assert problem in faults(tmp_path, text)[key].problem


@pytest.mark.parametrize(
    ("change", "key", "problem"),
    [
        (('"staging"', '"cameras/staging"'), "cameras.mount_roots", "holds staging.dir"),
        (('"state"', '"staging/state"'), "staging.dir", "holds dock.state_dir"),
        (('path = "archive"', 'path = "staging/a"'), "stores.archive.path", "inside staging.dir"),
        (('path = "archive"', 'path = "./staging"'), "stores.archive.path", "same directory"),
    ],
)
def test_directories_of_ours_are_kept_apart(tmp_path, change, key, problem):
    found = faults(tmp_path, SMALL_CONFIG.replace(*change))
    assert list(found) == [key]
    assert problem in found[key].problem


@pytest.mark.parametrize(
    ("line", "key", "problem"),
    [
        ("patterns = ['(?P<seriel>x)']", "patterns.#1", "has a group of no meaning: seriel"),
        ("exclude = ['DCIM/[z-a].mp4']", "exclude.#1", "is no shell pattern"),
        ("serial_file = 'id.txt'", "serial_pattern", "need each other"),
        ("serial_pattern = '(?P<serial>x)'", "serial_pattern", "need each other"),
        ("serial_file = 'id.txt'\nserial_pattern = 'x'", "serial_pattern", "no group named serial"),
    ],
)
def test_patterns_that_could_never_tell_anything_are_refused(tmp_path, line, key, problem):
    text = SMALL_CONFIG + '[[cameras.profile]]\nname = "a"\n' + line
    found = faults(tmp_path, text)
    assert list(found) == [f"cameras.profile.#1.{key}"]
    assert problem in found[f"cameras.profile.#1.{key}"].problem


def test_a_link_does_not_hide_that_two_directories_are_one(tmp_path):
    (tmp_path / "staging").mkdir()
    (tmp_path / "link").symlink_to("staging")
    found = faults(tmp_path, SMALL_CONFIG.replace('path = "archive"', 'path = "link"'))
    assert "same directory as staging.dir" in found["stores.archive.path"].problem


def test_one_copy_does_not_count_as_two_stores(tmp_path):
    found = faults(tmp_path, SMALL_CONFIG + S3 + S3.replace("cloud", "other"))
    assert "is the same place as stores.cloud" in found["stores.other.bucket"].problem
    assert "stands twice" in faults(tmp_path, SMALL_CONFIG + S3 + S3)["stores.cloud.name"].problem


def test_secrets_that_stand_where_they_should_not_are_masked(tmp_path):
    told = message(
        tmp_path,
        SMALL_CONFIG
        + S3
        + 'secret_access_key = "hunter2"\nendpoint_url = "https://u:hunter2@s3.example.org"\n'
        + 'credentials = { source = "profile", password = "hunter2" }\n',
    )
    assert "hunter2" not in told
    assert "secrets do not stand in this file" in told


@given(st.text(), st.text(max_size=40))
def test_no_value_can_break_the_message(key, value):
    shown = shown_value(key, [value, {"token": "hunter2"}])
    assert shown.isprintable()
    assert "hunter2" not in shown


@pytest.mark.parametrize("content", [b"[dock", b"a = 1\na = 2"])
def test_what_is_no_toml_is_said_so(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is no TOML"):
        load(path)


def test_a_missing_file_says_how_to_name_one(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load(tmp_path / "none.toml")
    assert "BODYCAM_INGEST_CONFIG" in caught.value.hint
