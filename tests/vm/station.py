"""A police station in small: the dock in its machine, installed and running; a store outside."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Any, Final

from tests.vm.image import GUEST
from tests.vm.machine import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.seaweedfs import SeaweedServer
    from tests.vm.cards import Card
    from tests.vm.machine import Machine
    from tests.vm.usbcamera import UsbCamera

# Everything is emulated, and other work may share the processor.
PATIENCE_S: Final = 300.0
UNIT: Final = "bodycam-ingest.service"
DONE: Final = frozenset({"confirmed", "released"})
MIN_FREE_BYTES: Final = 200_000_000
_AS_SERVICE: Final = ("runuser", "-u", "bodycam-ingest", "--")
_LOOK: Final = ["python3", "-S", "/usr/local/sbin/look"]
_CONFIG: Final = """
[dock]
id = "dock-test"
agency = "police.example.org"
[cameras]
source = "usb"
mount_roots = ["/run/bodycam-ingest/volumes"]
settle_s = 1.0
rescan_s = 2.0
max_parallel = 8
only_profiled = true
[[cameras.profile]]
name = "Acme BodyCam 3"
match = {{ ID_VENDOR_ID = "2fb7" }}
[staging]
min_free_bytes = {min_free_bytes}
[[stores]]
name = "cloud"
type = "s3"
bucket = "{bucket}"
prefix = "{prefix}"
endpoint_url = "https://{host}:{port}"
ca_bundle = "/etc/bodycam-ingest/ca.pem"
[stores.credentials]
source = "file"
path = "/etc/bodycam-ingest/s3-credentials.ini"
[upload]
part_size_bytes = 5242880
backoff_initial_s = 1.0
backoff_max_s = 5.0
[log]
format = "json"
level = "debug"
"""


class Station:
    """The dock of one machine.

    Args:
        machine: it runs, with the software installed and nothing configured.
        server: the store.
        prefix: put before the store's keys, so that stations may share it.
    """

    def __init__(self, machine: Machine, server: SeaweedServer, prefix: str) -> None:
        self.machine = machine
        self.server = server
        self.prefix = prefix
        self._lines: list[dict[str, Any]] = []
        self._cursor = ""

    def set_up(self) -> None:
        """What docs/operations.md says under "First start"."""
        config = _CONFIG.format(
            bucket=self.server.bucket,
            prefix=self.prefix,
            host=HOST,
            port=self.server.https_port,
            min_free_bytes=MIN_FREE_BYTES,
        )
        keys = (
            f"[default]\naws_access_key_id = {self.server.access_key}\n"
            f"aws_secret_access_key = {self.server.secret_key}\n"
        )
        put, ok = self.machine.put, self.machine.ok
        put("/etc/bodycam-ingest/config.toml", config, 0o640)
        put("/etc/bodycam-ingest/ca.pem", self.server.ca_bundle.read_bytes())
        put("/etc/bodycam-ingest/s3-credentials.ini", keys, 0o600)
        put("/usr/local/sbin/look", (GUEST / "look.py").read_bytes())
        ok("chgrp bodycam-ingest /etc/bodycam-ingest/config.toml")
        ok("chown bodycam-ingest /etc/bodycam-ingest/s3-credentials.ini")
        ok(f"date -u -s @{time.time():.0f}")
        ok([*_AS_SERVICE, "bodycam-ingest", "init"])
        # In README's order: it finds a dock fit before the service ever ran, keys included.
        ok([*_AS_SERVICE, "bodycam-ingest", "doctor"], timeout_s=PATIENCE_S)
        ok(f"systemctl enable --now {UNIT}", timeout_s=PATIENCE_S)

    # -- what the dock says --

    def events(self) -> list[dict[str, Any]]:
        """Every line of the daemon's log that was seen so far, over all boots."""
        after = f"--after-cursor='{self._cursor}'" if self._cursor else ""
        done = self.machine.run(f"journalctl -q -u {UNIT} -o cat --show-cursor {after}")
        for line in done.output.splitlines():
            if line.startswith("-- cursor: "):
                self._cursor = line.removeprefix("-- cursor: ")
            elif line.startswith("{"):
                self._lines.append(json.loads(line))
        return self._lines

    def said(self, event: str, **data: object) -> list[dict[str, Any]]:
        """Lines of that name with those values."""
        return [
            line
            for line in self.events()
            if line["event"] == event and all(line.get(k) == v for k, v in data.items())
        ]

    def wait_said(self, event: str, *, times: int = 1, **data: object) -> dict[str, Any]:
        """Wait until a line of that name with those values came so often; returns the last."""
        found = self.wait_for(
            lambda: self.said(event, **data)[times - 1 :], f"{event} {data} {times} times"
        )
        line: dict[str, Any] = found[-1]
        return line

    def wait_for(self, condition: Callable[[], Any], what: str, *, poll_s: float = 2.0) -> Any:
        """Poll until a condition holds; returns its value.

        Args:
            condition: what must become true.
            what: its name, for the failure.
            poll_s: time between looks, s; a look into the machine costs it a second.
        """
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            if value := condition():
                return value
            time.sleep(poll_s)
        raise AssertionError(f"it did not come to pass: {what}\n{self.tail()}")

    def tail(self) -> str:
        """The end of the journal, for failures."""
        done = self.machine.run("journalctl -q --no-pager -o short-monotonic | tail -n 60")
        return done.output

    def items(self, camera: str) -> list[dict[str, Any]]:
        """A camera's items, from the database."""
        items: list[dict[str, Any]] = json.loads(self.machine.ok([*_LOOK, camera]))["items"]
        return items

    def dockings(self, camera: str) -> list[dict[str, Any]]:
        """A camera's dockings, from the database."""
        found: list[dict[str, Any]] = json.loads(self.machine.ok([*_LOOK, camera]))["dockings"]
        return found

    def wait_done(self, *cameras: str, but: frozenset[str] = frozenset(), count: int = 1) -> None:
        """Until every recording of these cameras is confirmed by the store.

        Args:
            cameras: serial numbers.
            but: paths that are not waited for.
            count: how many recordings must be there at least.
        """

        left = set(cameras)

        def done() -> bool:
            for camera in sorted(left):
                items = [item for item in self.items(camera) if item["path"] not in but]
                if len(items) < count or any(item["state"] not in DONE for item in items):
                    return False
                left.discard(camera)
            return True

        self.wait_for(done, f"{cameras} confirmed")

    def command(self, *words: str, code: int = 0) -> Any:
        """A command of the product with `--json`, as the service's user."""
        command = [*_AS_SERVICE, "bodycam-ingest", *words, "--json"]
        done = self.machine.run(command, timeout_s=PATIENCE_S)
        assert done.code == code, f"{words}: {done.code}\n{done.output}"
        return json.loads(done.output)

    def wait_bay(self, camera: str, state: str) -> dict[str, Any]:
        """Until `status` shows that of a camera's bay; returns what it shows."""

        def shown() -> Any:
            bays = json.loads(self.machine.ok(_LOOK))["bays"]
            return next((b for b in bays if (b["camera"], b["state"]) == (camera, state)), None)

        bay: dict[str, Any] = self.wait_for(shown, f"{camera} {state}")
        return bay

    def findings(self) -> list[str]:
        """Codes of the findings that are open."""
        codes: list[str] = json.loads(self.machine.ok([*_LOOK, "-"]))["findings"]
        return codes

    # -- what must be true in the end --

    def pull(self, camera: UsbCamera) -> None:
        """Pull a camera, if it is not off the bus already; wait until every docking of it ended."""
        camera.pull()
        self.wait_for(
            lambda: all(docking["ended_at"] for docking in self.dockings(camera.serial)),
            f"{camera.serial} undocked",
        )

    def mounts(self) -> list[str]:
        """Where volumes are mounted."""
        points = self.machine.ok("findmnt -rn -o TARGET").splitlines()
        return [point for point in points if point.startswith("/run/bodycam-ingest/volumes/")]

    def wait_unmounted(self) -> None:
        """Until no volume is mounted."""
        self.wait_for(lambda: not self.mounts(), "nothing mounted")

    def check(
        self, camera: UsbCamera, card: Card, before: str, *, but: tuple[str, ...] = ()
    ) -> None:
        """Each recording is in the store, whole, once; and the card is what it was.

        Args:
            camera: which.
            card: its card, with what was put on it.
            before: digest of the card's image before it was docked.
            but: recordings that need not be there.
        """
        wanted = {path: digest for path, digest in card.digests().items() if path not in but}
        items = [item for item in self.items(camera.serial) if item["path"] not in but]
        assert {item["path"]: item["sha256"] for item in items} == wanted
        assert len(items) == len(wanted), "a recording was taken twice"
        assert self.stored(item["key"] for item in items) == sorted(wanted.values())
        assert camera.disk.writes == [], "the dock wrote to the card"
        assert card.sha256() == before, "the card's image changed"

    def stored(self, keys: Any) -> list[str]:
        """Digests of the objects at these keys, by the test's own reading."""
        client = self.server.client()
        bodies = (
            client.get_object(Bucket=self.server.bucket, Key=f"{self.prefix}/{key}")["Body"]
            for key in keys
        )
        return sorted(hashlib.sha256(body.read()).hexdigest() for body in bodies)

    def evidence(self, camera: str) -> list[str]:
        """Keys of a camera's recordings in the store."""
        pages = self.server.client().get_paginator("list_objects_v2")
        prefix = f"{self.prefix}/evidence/{camera}/"
        found = [
            entry["Key"]
            for page in pages.paginate(Bucket=self.server.bucket, Prefix=prefix)
            for entry in page.get("Contents", [])
        ]
        return [key for key in found if not key.endswith("/manifest.json")]

    def check_ledger(self) -> None:
        """Nothing stays mounted; the ledger holds, with copies and objects; no upload is open."""
        self.wait_unmounted()
        result = self.command("verify", "--files", "--stores")
        assert result["result"] == "holds", json.dumps(result, indent=1)
        assert self.server.uploads(prefix=f"{self.prefix}/") == []
