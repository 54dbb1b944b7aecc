"""config.example.toml is what admins copy: it must load, and show every key with its default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter
from pydantic_core import PydanticUndefined

from bodycam_ingest.config import (
    Cameras,
    Config,
    Credentials,
    DirectoryStoreConfig,
    S3StoreConfig,
    load,
)
from bodycam_ingest.config.kinds import Section

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"
# Keys that have no default, or none that TOML can write: the file shows an example.
_SHOWN_BY_EXAMPLE = {
    "stores.s3.ca_bundle",
    *(
        f"stores.{kind}.{key}"
        for kind in ("directory", "s3")
        for key in ("bandwidth_limit_bytes_per_s", "windows", "workers")
    ),
}


def text() -> str:
    return EXAMPLE.read_text(encoding="utf-8")


def with_every_key() -> str:
    return re.sub(r"(?m)^#(?=\[|[a-z_]+ = )", "", text())


def alternatives() -> list[dict[str, Any]]:
    lines = re.findall(r"(?m)^# or: (.+)$", text())
    return [tomllib.loads(line)["credentials"] for line in lines]


def test_it_loads_as_it_stands_and_means_the_defaults():
    config = load(EXAMPLE)
    assert [store.name for store in config.stores] == ["archive"]
    assert config.cameras.profile == ()


def test_it_loads_with_every_key(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(with_every_key(), encoding="utf-8")
    config = load(path)
    assert [store.name for store in config.stores] == ["archive", "cloud"]
    assert len(config.cameras.profile) == 1


def _keys(model: type[Section], shown: dict[str, Any], where: str, missing: list[str]) -> None:
    for name, field in model.model_fields.items():
        key = f"{where}.{name}"
        if name not in shown:
            missing.append(f"{key}: not in the file")
            continue
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            _keys(inner, shown[name], key, missing)
            continue
        default = field.get_default(call_default_factory=True, validated_data={})
        if default is PydanticUndefined or key in _SHOWN_BY_EXAMPLE or name == "profile":
            continue
        wanted = TypeAdapter(Any).dump_python(default, mode="json")
        if shown[name] != wanted:
            missing.append(f"{key}: shown as {shown[name]!r}, the default is {wanted!r}")


def test_every_key_is_shown_with_its_default():
    shown = tomllib.loads(with_every_key())
    missing: list[str] = []
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            _keys(field.annotation, shown[name], name, missing)
    profile = Cameras.model_fields["profile"]
    _keys(get_args(profile.annotation)[0], shown["cameras"]["profile"][0], "profile", missing)
    by_type = {store["type"]: store for store in shown["stores"]}
    _keys(DirectoryStoreConfig, by_type["directory"], "stores.directory", missing)
    _keys(S3StoreConfig, by_type["s3"], "stores.s3", missing)
    assert missing == []


def test_every_way_to_name_credentials_is_shown_with_every_key():
    shown = tomllib.loads(with_every_key())
    ways = [shown["stores"][1]["credentials"], *alternatives()]
    by_source = {way["source"]: way for way in ways}
    missing: list[str] = []
    for model in get_args(Credentials):
        (source,) = get_args(model.model_fields["source"].annotation)
        _keys(model, by_source[source], f"credentials.{source}", missing)
    assert missing == []


def test_no_key_hides_in_prose():
    # "# key = value" would look like a key that can be switched on, and be none.
    assert not re.findall(r"(?m)^# [a-z_]+ = ", text())
