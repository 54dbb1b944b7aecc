"""A dock with items in every state, staged copies, a store and anchors, to be tampered with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bodycam_ingest.audit.verify import Audit, Scope
from bodycam_ingest.custody import entries
from bodycam_ingest.custody.inventory import Line
from bodycam_ingest.db import items, known_stores
from bodycam_ingest.db.guards import GUARDS
from bodycam_ingest.db.keys import load_log_key
from bodycam_ingest.db.state_dir import initialise
from bodycam_ingest.model import object_keys, rows
from bodycam_ingest.model.evidence import EntryKind, StoreObject, Verdict
from bodycam_ingest.staging.copies import open_copies
from bodycam_ingest.stores.directory import DirectoryStore, prepare
from tests.support import facts, ledgers
from tests.support.dockbench import digests_of, docked
from tests.support.ledgers import ORIGIN
from tests.support.sending import Bytes, Journal

if TYPE_CHECKING:
    from pathlib import Path

DOCKING = "01J00000000000000000000DCK"
MOMENT = "2026-03-14T09:26:53.589Z"
BODIES = {f"01J000000000000000000{n:05d}": bytes([n]) * (5000 + n) for n in range(1, 5)}
CONFIRMED, VERIFIED, DISCOVERED, RELEASED = BODIES
DOCKED = rows.Docking(DOCKING, "CAM", "1", "", b"/x", MOMENT)
# By item, once it is verified: the day of a key is the day on which the dock was built.
KEYS: dict[str, str] = {}


class Dock:
    """A dock's directories and how to verify them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "state"
        self.staging = root / "staging"
        self.store = DirectoryStore("main", root / "store")

    def verify(self, *, files=False, stores=False, silence_max_s=60.0, required=()):
        """One run; `stores` may also be another store in place of its own, or several."""
        before = content(self.root)
        asked = {"main": self.store} if stores is True else stores or None
        if asked is not None and not isinstance(asked, dict):
            asked = {"main": asked}
        report = Audit(
            Scope(
                state_dir=self.state,
                origin=ORIGIN,
                copies=open_copies(self.staging) if files else None,
                stores=asked,
                progress=lambda _bytes: None,
                silence_max_s=silence_max_s,
                required=frozenset(required),
            )
        ).run()
        assert content(self.root) == before, "verify changed something"
        return report

    def codes(self, **how):
        return {finding.code for finding in self.verify(**how).findings}

    def sql(self, *statements, guards=True):
        """Change the database as one who knows of the guards, and puts them back."""
        with ledgers.shell(self.state) as connection:
            for name in GUARDS:
                connection.execute(f"DROP TRIGGER {name}")
            for statement, *values in statements:
                connection.execute(statement, values)
            for create in GUARDS.values() if guards else ():
                connection.execute(create)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def rows(self, query):
        return ledgers.sql(self.state, query)

    def bodies(self):
        return [body for (body,) in self.rows("SELECT body FROM ledger_entry ORDER BY seq")]

    def size(self):
        return len(self.bodies())

    def signer(self):
        return load_log_key(self.state / "keys/log.key", ORIGIN)

    def staged(self, item):
        (path,) = self.staging.glob(f"*/{item}-*")
        return path

    def open(self):
        return ledgers.opened(self.state)

    def object(self, key):
        return self.root / "store" / key


def content(root):
    return {
        str(path): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and path.stat().st_size < 1_000_000_000
        and not path.name.endswith(("-shm", "-wal"))
    }


def build(root):
    initialise(root / "state", ORIGIN)
    (root / "staging").mkdir(mode=0o700)
    (root / "store").mkdir()
    prepare(root / "store")
    dock = Dock(root)
    with dock.open() as (_, ledger):
        with ledger.transaction() as txn:
            known_stores.note(txn, [known_stores.Wanted("main", "directory", required=True)])
            txn.add(docked("CAM", DOCKING))
            txn.add(entries.camera_assigned("CAM", "Erika M."))
        for item, body in BODIES.items():
            take(dock, ledger, item, body)
            anchor(dock, ledger)
        with ledger.transaction() as txn:
            lines = [
                Line(b"DCIM/a.mp4", EntryKind.FILE, len(body), 0, Verdict.NEW, item)
                for item, body in BODIES.items()
            ]
            facts.inventory_of(txn, "CAM", DOCKING, lines)
            for number in range(258):
                data = {"code": "test", "severity": "notice", "about": "dock", "detail": "x"}
                txn.append("finding.raised", f"finding:{number}", data)
        anchor(dock, ledger)
        with ledger.transaction() as txn:
            for number in range(7):
                txn.append("finding.closed", f"finding:{number}", {"code": "test", "about": "dock"})
    return dock


def take(dock, ledger, item, body):
    digests = digests_of(body, 1024)
    staged = f"{DOCKING}/{item}-{digests.sha256.hex()}"
    with ledger.transaction() as txn:
        facts.discover(txn, item, DOCKED, b"DCIM/a.mp4", size_bytes=len(body))
    if item == DISCOVERED:
        return
    path = dock.staging / staged
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(body)
    with ledger.transaction() as txn:
        facts.acquire(txn, item, digests, staged)
        facts.verify(txn, item, digests)
        key = KEYS[item] = items.get(txn.conn, item).key()
    if item == VERIFIED:
        return
    send(dock, key, item, body)
    with ledger.transaction() as txn:
        facts.confirm(txn, item, "main")
        if item == RELEASED:
            facts.release(txn, item, DOCKING)


def anchor(dock, ledger):
    head = ledger.head
    key = object_keys.checkpoint_key(ORIGIN, head.size)
    send(dock, key, key, head.checkpoint.encode())


def send(dock, key, item, body):
    digests = digests_of(body, 1024)
    obj = StoreObject(key, digests, {"item-id": item, "sha256": digests.sha256.hex()})
    dock.store.send(obj, Bytes(body), Journal())
