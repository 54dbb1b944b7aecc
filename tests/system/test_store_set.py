"""The set of stores changes: taken out, retired, added, renamed, doubled, required or not."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.support.dock import Dock


def table(name: str, *, required: bool = True, path: str = "") -> str:
    return (
        f'[[stores]]\nname = "{name}"\ntype = "directory"\npath = "{path or name}"\n'
        f"required = {str(required).lower()}\n"
    )


class Station:
    """A dock whose stores change between two runs of its daemon."""

    def __init__(self, root, *stores: str, keep_days: int = 30) -> None:
        self.root = root
        self.dock = Dock(root, stores="@STORES@\n")
        self._template = self.dock.config.read_text()
        self._keep_days = keep_days
        self.configure(*stores)
        self.dock.init()

    def configure(self, *stores: str) -> None:
        for text in stores:
            path = text.split('path = "')[1].split('"')[0]
            (self.root / path).mkdir(exist_ok=True)
        self._stores = stores
        self.dock.config.write_text(self._template.replace("@STORES@", "\n".join(stores)))
        self.dock.keep_days(self._keep_days)

    def keep_days(self, days: int) -> None:
        self._keep_days = days
        self.configure(*self._stores)

    def mark(self, *names: str) -> None:
        """As `init` prepares a directory store."""
        for name in names:
            (self.root / name / ".bodycam-store").write_text(f"01KA8ZQ3T4V5W6X7Y8Z9{name:0>6}\n")

    def away(self, name: str) -> None:
        (self.root / name).rename(self.root / f"{name}.away")

    def back(self, name: str) -> None:
        (self.root / f"{name}.away").rename(self.root / name)

    def states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for item in self.dock.items():
            found[item["state"]] = found.get(item["state"], 0) + 1
        return found

    def listed(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = self.dock.json("stores", "list")
        return next(store for store in found if store["name"] == name)

    def held(self, name: str) -> int:
        return sum(
            path.is_file() and not path.name.startswith(".") and path.name != "manifest.json"
            for path in (self.root / name / "evidence").rglob("*")
        )

    def proven(self, name: str) -> int:
        """Recordings that a store has and that the dock knows it to have."""
        confirmed: int = self.listed(name)["confirmed"]
        assert self.held(name) >= confirmed
        return confirmed

    def entries(self, item_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.dock.json("items", item_id)["entries"]
        return found

    def take(self, count: int) -> None:
        """So many recordings of a camera, until each store that is required has them."""
        self.dock.plug("CAM1", some(count))
        with self.dock.running():
            self.dock.wait_state("CAM1", "confirmed")

    def holds(self) -> None:
        done = self.dock.run("verify", "--files", "--stores", "--json")
        assert done.returncode == 0, done.stdout


def some(number: int, tag: str = "") -> dict[str, bytes]:
    return {f"{tag}{n}.MP4": os.urandom(30_000) for n in range(number)}


@pytest.fixture
def station(tmp_path):
    return Station(tmp_path, table("nas"), table("mirror"))


def waits_for_mirror(station: Station) -> None:
    """Three recordings are in nas alone; mirror is not there."""
    station.away("mirror")
    station.dock.plug("CAM1", some(3))
    with station.dock.running():
        station.dock.wait_for(lambda: station.listed("nas")["confirmed"] == 3)
        station.dock.wait_state("CAM1", "copied")


def test_a_store_taken_out_says_what_waits_and_holds_up_nothing_else(station):
    dock = station.dock
    waits_for_mirror(station)
    station.configure(table("nas"))
    dock.plug("CAM2", some(2, "later"))
    with dock.running():
        dock.wait_state("CAM2", "confirmed")
        assert dock.bay("CAM1")["state"] == "copied"
        (alarm,) = [a for a in dock.json("status")["alarms"] if a["code"] == "store_removed"]
        assert "3 recordings" in alarm["detail"]
        assert "stores retire mirror" in alarm["detail"]
    (line,) = [line for line in dock.lines() if line["event"] == "store.removed"]
    assert (line["store"], line["waiting"], line["waiting_bytes"]) == ("mirror", 3, 90_000)
    with dock.running():
        dock.wait_state("CAM2", "confirmed")
    assert dock.events().count("store.removed") == 1, "it is told once"
    assert "worker.crashed" not in dock.events()
    assert station.listed("mirror")["state"] == "removed"
    assert station.listed("mirror")["waiting"] == 3


@pytest.mark.parametrize("running", [True, False])
def test_what_waited_for_a_retired_store_alone_goes_on(station, running):
    dock = station.dock
    waits_for_mirror(station)
    refused = dock.run("stores", "retire", "mirror", "--reason", "burnt")
    assert refused.returncode == 2
    assert "configuration" in refused.stderr
    station.configure(table("nas"))
    retire = ("stores", "retire", "mirror", "--reason", "burnt")
    if running:
        with dock.running():
            dock.wait_state("CAM1", "copied")
            assert "3 recordings" in dock.ok(*retire)
            dock.wait_state("CAM1", "confirmed")
    else:
        with dock.running():
            dock.wait_state("CAM1", "copied")
        dock.ok(*retire)
        assert station.states() == {"confirmed": 3}
        with dock.running():
            dock.wait_state("CAM1", "confirmed")
    with dock.running():
        dock.wait_for(lambda: station.states() == {"released": 3})
        assert dock.json("status")["alarms"] == []
    station.holds()
    assert station.listed("mirror")["state"] == "retired"
    assert dock.run(*retire).returncode == 2
    assert dock.run("stores", "retire", "nope", "--reason", "x").returncode != 0


def test_a_retired_store_that_comes_back_gets_what_it_lacks(station):
    dock = station.dock
    waits_for_mirror(station)
    station.configure(table("nas"))
    with dock.running():
        dock.wait_state("CAM1", "copied")
        dock.ok("stores", "retire", "mirror", "--reason", "sent in for repair")
        dock.wait_state("CAM1", "confirmed")
    station.back("mirror")
    station.configure(table("nas"), table("mirror"))
    with dock.running():
        dock.wait_for(lambda: station.proven("mirror") == 3)
        dock.wait_state("CAM1", "confirmed")
    station.holds()


@pytest.mark.parametrize("required", [True, False])
def test_a_store_that_is_added_gets_what_staging_has(tmp_path, required):
    station = Station(tmp_path, table("nas"))
    dock = station.dock
    dock.plug("CAM1", some(3))
    with dock.running():
        dock.wait_for(lambda: station.states() == {"released": 3})
    station.configure(table("nas"), table("cloud", required=required))
    with dock.running():
        # The place is not marked yet: nothing can be there, and nobody may say that it is.
        dock.wait_for(lambda: station.listed("cloud")["waiting"] == 3)
        if required:
            bay = dock.wait_state("CAM1", "copied")
            assert "cloud" in " ".join(bay["reasons"])
            assert not bay["release"]
        else:
            dock.wait_state("CAM1", "confirmed")
        station.mark("cloud")
        dock.ok("retry", "--store", "cloud")
        dock.wait_for(lambda: station.listed("cloud")["confirmed"] == 3)
        assert station.held("cloud") == 3
        dock.ok("retry")
        dock.wait_state("CAM1", "confirmed")
    station.holds()


def test_what_a_new_store_can_no_longer_get_is_listed(tmp_path):
    station = Station(tmp_path, table("nas"), keep_days=0)
    dock = station.dock
    dock.plug("CAM1", some(2))
    with dock.running():
        dock.wait_for(lambda: station.states() == {"purged": 2})
    station.configure(table("nas"), table("cloud"))
    station.mark("cloud")
    dock.plug("CAM2", some(1, "new"))
    with dock.running():
        dock.wait_state("CAM2", "confirmed")
        bay = dock.wait_state("CAM1", "copied")
        assert "purged" in " ".join(bay["reasons"])
    cloud = station.listed("cloud")
    assert (cloud["confirmed"], cloud["never_sent"], cloud["impossible"]) == (1, 0, 2)
    (notice,) = [f for f in dock.json("findings") if f["code"] == "store_incomplete"]
    assert (notice["severity"], notice["subject"]) == ("notice", "store:cloud")
    # What a required store never had is not claimed: neither broken nor proven.
    done = dock.run("verify", "--files", "--stores", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["result"], told["findings"]) == (2, "unchecked", [])
    assert "2 recordings" in told["unreachable"][0]


def test_backfill_by_hand_says_what_it_queued(tmp_path):
    station = Station(tmp_path, table("nas"))
    dock = station.dock
    station.take(2)
    station.configure(table("nas"), table("cloud"))
    station.mark("cloud")
    assert "cloud: 2 recordings queued" in dock.ok("stores", "backfill", "cloud")
    assert dock.run("stores", "backfill", "nope").returncode != 0
    with dock.running():
        dock.wait_for(lambda: station.proven("cloud") == 2)
    station.holds()


def test_a_renamed_store_is_refused_with_the_way_to_do_it(tmp_path):
    station = Station(tmp_path, table("nas"))
    dock = station.dock
    station.take(2)
    station.configure(table("archive", path="nas"))
    for _ in range(2):
        refused = dock.run("run")
        assert refused.returncode == 2
        assert "knows as 'nas'" in refused.stderr
        assert "stores retire nas" in refused.stderr
    dock.ok("stores", "retire", "nas", "--reason", "it is called archive now")
    with dock.running():
        dock.wait_state("CAM1", "confirmed")
        dock.wait_for(lambda: station.listed("archive")["confirmed"] == 2)
    assert station.held("nas") == 2, "it looked first, and found its own"
    station.holds()


def test_two_names_of_one_place_are_refused(tmp_path):
    station = Station(tmp_path, table("nas"))
    (tmp_path / "mirror").symlink_to(tmp_path / "nas")
    station.configure(table("nas"), table("mirror"))
    told = station.dock.run("check-config")
    assert told.returncode == 2
    assert "same directory" in told.stdout + told.stderr
    # A second path that no link tells: what a bind mount or another share of one disk shows.
    (tmp_path / "mirror").unlink()
    (tmp_path / "mirror").mkdir()
    marker = (tmp_path / "nas" / ".bodycam-store").read_text()
    (tmp_path / "mirror" / ".bodycam-store").write_text(marker)
    station.dock.ok("check-config")
    refused = station.dock.run("run")
    assert refused.returncode == 2
    assert "one and the same place" in refused.stderr
    assert not (tmp_path / "mirror" / "evidence").exists()


def test_two_names_of_one_place_found_out_later_send_nothing(tmp_path):
    station = Station(tmp_path, table("nas"))
    station.configure(table("nas"), table("mirror"))
    dock = station.dock
    dock.plug("CAM1", some(1))
    with dock.running():
        dock.wait_for(lambda: station.listed("nas")["confirmed"] == 1)
        marker = (tmp_path / "nas" / ".bodycam-store").read_text()
        (tmp_path / "mirror" / ".bodycam-store").write_text(marker)

        def refused() -> bool:
            dock.run("retry")
            return bool(station.listed("mirror")["last_error"] == "store_misconfigured")

        dock.wait_for(refused)
        assert station.states() == {"verified": 1}
    assert not (tmp_path / "mirror" / "evidence").exists()


def test_an_optional_store_that_becomes_required_and_back(tmp_path):
    station = Station(tmp_path, table("nas"), table("mirror", required=False))
    dock = station.dock
    station.away("mirror")
    station.take(2)
    station.configure(table("nas"), table("mirror"))
    (station.root / "mirror").rmdir()
    dock.plug("CAM2", some(1, "more"))
    with dock.running():
        dock.wait_state("CAM1", "copied")
        dock.wait_state("CAM2", "copied")
    assert all(item["stores"]["mirror"]["required"] for item in dock.items())
    station.configure(table("nas"), table("mirror", required=False))
    with dock.running():
        dock.wait_state("CAM1", "confirmed")
        dock.wait_state("CAM2", "confirmed")
    (station.root / "mirror").rmdir()
    station.back("mirror")
    station.configure(table("nas"), table("mirror"))
    with dock.running():
        dock.wait_for(lambda: station.proven("mirror") == 3)
        dock.wait_state("CAM1", "confirmed")
    station.holds()


def test_an_object_that_a_store_lost_is_sent_again_by_retry(tmp_path):
    station = Station(tmp_path, table("nas"))
    dock = station.dock
    dock.plug("CAM1", some(2))
    with dock.running():
        dock.wait_state("CAM1", "confirmed")
        item = dock.items()[0]
        lost = station.root / "nas" / item["stores"]["nas"]["key"]
        lost.unlink()
        assert dock.run("verify", "--stores").returncode == 1
        assert "nas" in dock.ok("retry", item["item_id"])
        dock.wait_for(lost.exists)
        dock.wait_state("CAM1", "confirmed")
    station.holds()
    kinds = [entry["type"] for entry in station.entries(item["item_id"])]
    again = kinds.index("upload.repeated")
    assert [kind for kind in kinds[again:] if kind.startswith("item.")] == ["item.confirmed"]


def test_an_object_that_a_store_lost_comes_back_by_itself_before_the_purge(tmp_path):
    station = Station(tmp_path, table("nas"))
    dock = station.dock
    dock.plug("CAM1", some(2))
    with dock.running():
        dock.wait_for(lambda: station.states() == {"released": 2})
    lost = station.root / "nas" / dock.items()[0]["stores"]["nas"]["key"]
    lost.unlink()
    station.keep_days(0)
    with dock.running():
        dock.wait_for(lambda: station.states() == {"purged": 2})
        assert dock.json("status")["alarms"] == []
    assert lost.exists()
    assert station.held("nas") == 2
    assert "item.purge_held" in dock.events()
    station.holds()


def test_retry_says_when_nothing_matches(tmp_path):
    station = Station(tmp_path, table("nas"), keep_days=0)
    dock = station.dock
    dock.plug("CAM1", some(1))
    with dock.running():
        dock.wait_for(lambda: station.states() == {"purged": 1})
        size = dock.json("status")["ledger"]["size"]
        item = dock.items()[0]["item_id"]
        told = dock.run("retry", item)
        assert told.returncode == 2
        assert "purged" in told.stderr
        assert dock.run("retry", "--store", "nope").returncode != 0
        assert dock.run("retry", item, "--store", "nope").returncode != 0
        assert dock.json("status")["ledger"]["size"] == size, "none of it is in the ledger"
