"""What a right configuration means: defaults, paths, reloads, what the ledger records of it."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

import pytest

from bodycam_ingest.config import (
    Config,
    CurrentConfig,
    S3StoreConfig,
    changes,
    digest,
    load,
    portions,
    settings,
)
from bodycam_ingest.custody import entries
from bodycam_ingest.custody.entry import SYSTEM, Moment, Position, build_entry
from bodycam_ingest.model.backoff import closed_for_s
from tests.config.test_faults import S3
from tests.support.dock import SMALL_CONFIG


def read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def test_relative_paths_start_at_the_file_whatever_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    config = read(tmp_path, SMALL_CONFIG.replace('"cameras"', '"../cameras", "/media/b"'))
    assert config.staging.dir == tmp_path / "staging"
    assert config.dock.state_dir == tmp_path / "state"
    assert config.cameras.mount_roots == (tmp_path.parent / "cameras", Path("/media/b"))


def test_the_relative_name_of_the_file_itself_does_not_matter(tmp_path, monkeypatch):
    read(tmp_path, SMALL_CONFIG)
    monkeypatch.chdir(tmp_path)
    assert load(Path("config.toml")).staging.dir == tmp_path / "staging"


def test_what_the_ledger_is_called_comes_from_agency_and_dock(tmp_path):
    assert read(tmp_path, SMALL_CONFIG).origin == "police.example.org/custody/dock-7"


def test_defaults_are_safe(tmp_path):
    config = read(tmp_path, SMALL_CONFIG + S3)
    assert config.release.policy == "keep"
    assert all(store.required for store in config.stores)
    store = config.stores[1]
    assert isinstance(store, S3StoreConfig)
    assert not store.allow_http


def test_http_is_for_this_machine_alone_and_asked_for(tmp_path):
    config = read(
        tmp_path, SMALL_CONFIG + S3 + 'allow_http = true\nendpoint_url = "http://127.0.0.1:8333/"'
    )
    store = config.stores[1]
    assert isinstance(store, S3StoreConfig)
    assert store.endpoint_url == "http://127.0.0.1:8333"


def test_equal_configurations_have_one_digest_however_they_are_written(tmp_path):
    plain = read(tmp_path, SMALL_CONFIG)
    spelt = read(tmp_path, "# comment\n" + SMALL_CONFIG.replace('"staging"', '"./x/../staging"'))
    assert settings(plain) == settings(spelt)


def test_a_change_is_named_by_its_key_and_says_whether_it_needs_a_restart(tmp_path):
    old = read(tmp_path, SMALL_CONFIG + S3)
    new = read(
        tmp_path,
        (SMALL_CONFIG + S3).replace('"evidence"', '"evidence-2"') + '[log]\nlevel = "debug"\n',
    )
    changed = changes(settings(old), settings(new))
    assert changed == {"log.level": '"debug"', "stores.cloud.bucket": '"evidence-2"'}
    assert CurrentConfig(old).waiting(new) == {"stores.cloud.bucket"}
    assert digest(settings(old)) != digest(settings(new))
    gone = read(tmp_path, SMALL_CONFIG)
    assert changes(settings(old), settings(gone))["stores.cloud.bucket"] is None


def test_a_reload_brings_into_force_what_is_marked_so_and_nothing_else(tmp_path):
    new = (
        "[staging]\nkeep_days = 3\ndir = 'elsewhere'\n[upload]\nwindows = ['01:00-02:00']\n"
        "workers = 9\n[log]\nlevel = 'debug'\nformat = 'json'\n"
    )
    small = re.sub(r"(?s)\[staging\].*?(?=\[|\Z)", "", SMALL_CONFIG)
    current = CurrentConfig(read(tmp_path, SMALL_CONFIG + S3))
    before = current.now
    fresh = read(tmp_path, small + new + S3 + "windows = ['03:00-04:00']\nprefix = 'other'\n")
    waiting = {"staging.dir", "upload.workers", "log.format", "stores.cloud.prefix"}
    assert current.waiting(fresh) == waiting
    current.reload(fresh)
    now = current.now
    assert (now.staging.keep_days, now.log.level) == (3, "debug")
    assert now.upload.windows == fresh.upload.windows
    assert now.stores[1].windows == fresh.stores[1].windows
    assert current.waiting(fresh) == waiting
    assert current.waiting(before) == frozenset()
    assert now.staging.dir == before.staging.dir


def test_a_store_that_comes_or_goes_waits_for_a_restart(tmp_path):
    one, two = read(tmp_path, SMALL_CONFIG), read(tmp_path, SMALL_CONFIG + S3)
    for now, fresh in ((one, two), (two, one)):
        current = CurrentConfig(now)
        assert "stores.cloud.bucket" in current.waiting(fresh)
        current.reload(fresh)
        assert current.now.stores == now.stores


def test_the_largest_configuration_has_room_in_entries(tmp_path):
    profiles = "".join(
        f'[[cameras.profile]]\nname = "p{n}"\ninclude = [{", ".join(globs)}]\n'
        f'match = {{ "größe.{n}" = "{chr(92) * 4}*" }}\n'
        for n, globs in enumerate([['"**"'], ['"\\"x"'] * 3000, *[['"\\"y"'] * 700] * 40])
    )
    now = settings(read(tmp_path, SMALL_CONFIG + profiles))
    assert now["cameras.profile.p1.include"].startswith("sha256:")
    parts = list(portions(changes({}, now)))
    assert {key: value for part in parts for key, value in part.items()} == now
    place = Position("o", 0, bytes(32), "config", 0, None)
    for part in parts:
        draft = entries.config_changed(
            sha256=digest(now), before="", values=part, waits=sorted(part), at="reload"
        )
        build_entry(
            place, Moment("2026-11-24T00:00:00.000Z", "b", 0), draft.type, SYSTEM, draft.data
        )


@pytest.mark.parametrize(
    ("window", "minute", "inside"),
    [
        ("22:00-06:00", 22 * 60, True),
        ("22:00-06:00", 5 * 60 + 59, True),
        ("22:00-06:00", 6 * 60, False),
        ("22:00-06:00", 12 * 60, False),
        ("09:30-17:00", 9 * 60 + 30, True),
        ("09:30-17:00", 17 * 60, False),
        ("09:30-17:00", 0, False),
    ],
)
def test_windows_hold_their_minutes_also_past_midnight(tmp_path, window, minute, inside):
    config = read(tmp_path, SMALL_CONFIG + f'[upload]\nwindows = ["{window}"]')
    local = dt.datetime(2026, 3, 14) + dt.timedelta(minutes=minute)  # noqa: DTZ001 - local time
    assert (closed_for_s(config.upload.windows, local) == 0) is inside
