"""A dock with a real ledger and verified items, for tests of what comes after staging."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.custody import entries
from bodycam_ingest.db import items, known_stores, own_objects, uploads
from bodycam_ingest.db.known_stores import Wanted
from bodycam_ingest.db.schema import store_work
from bodycam_ingest.db.state_dir import initialise, open_ledger
from bodycam_ingest.model import rows
from bodycam_ingest.model.evidence import Digests
from bodycam_ingest.model.sampling import sample_digest
from bodycam_ingest.staging.area import StagingArea
from tests.support import facts, ledgers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bodycam_ingest.db.ledger import Txn

ORIGIN = "pd.example/custody/dock-1"
CAMERA = "X81-0042"
DOCKING_ID = "01J00000000000000000000DCK"
MOMENT = "2026-03-14T09:26:53.589Z"
DOCKING = rows.Docking(DOCKING_ID, CAMERA, "1", "", b"/none", MOMENT)


def digests_of(body: bytes, part_size_bytes: int) -> Digests:
    """What reading `body` off a camera would have yielded."""
    return Digests(
        size_bytes=len(body),
        sha256=hashlib.sha256(body).digest(),
        part_size_bytes=part_size_bytes,
        sample_sha256=sample_digest(b"clip", len(body), lambda at, n: body[at : at + n]),
    )


def docked(
    camera: str, docking_id: str, *, profile: str = "", first_seen: bool = True
) -> entries.Draft:
    """A camera that was docked in bay 1."""
    return entries.camera_docked(
        camera,
        docking_id=docking_id,
        bay="1",
        volume="",
        mount_path=b"/none",
        first_seen=first_seen,
        profile=profile,
        serial_told=camera,
        properties={},
        ntp_synchronised=None,
    )


class Bench:
    """A dock below one directory; `reopen` is a restart.

    Args:
        directory: where it lies; made new when `create`.
        create: whether to initialise it.
    """

    def __init__(self, directory: Path, *, create: bool = True) -> None:
        self.directory = directory
        self.staging = StagingArea(directory / "staging")
        self._numbers = itertools.count(1)
        if create:
            initialise(directory / "state", ORIGIN)
            (directory / "staging").mkdir()
        self.engine, self.ledger = open_ledger(directory / "state", ORIGIN)
        if create:
            self._begin()

    def _begin(self) -> None:
        with self.ledger.transaction() as txn:
            txn.add(docked(CAMERA, DOCKING_ID, profile="x81"))

    def close(self) -> None:
        self.ledger.close()
        self.engine.dispose()

    def reopen(self) -> None:
        """As after a restart."""
        self.close()
        self.engine, self.ledger = open_ledger(self.directory / "state", ORIGIN)

    def add(
        self, body: bytes, stores: Sequence[tuple[str, bool]], *, part_size_bytes: int = 1024
    ) -> str:
        """A verified item with a sealed copy, queued for stores; returns its id."""
        number = next(self._numbers)
        item_id = f"01J000000000000000000{number:05d}"
        digests = digests_of(body, part_size_bytes)
        staged = self.staging.sealed_name(DOCKING_ID, item_id, digests.sha256)
        path = self.directory / "staging" / staged
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)
        with self.ledger.transaction() as txn:
            self._note(txn, stores)
            facts.discover(
                txn, item_id, DOCKING, f"DCIM/clip{number}.MP4".encode(), size_bytes=len(body)
            )
            facts.acquire(txn, item_id, digests, staged)
            facts.verify(txn, item_id, digests)
        return item_id

    def _note(self, txn: Txn, stores: Sequence[tuple[str, bool]]) -> None:
        """Have these stores be the configuration's, as a start of the daemon notes them."""
        known_stores.note(txn, [Wanted(name, "directory", required) for name, required in stores])

    def record(self, *drafts: entries.Draft) -> None:
        """Entries, in one transaction."""
        with self.ledger.transaction() as txn:
            for draft in drafts:
                txn.add(draft)

    # -- looking --

    def item(self, item_id: str) -> items.ItemRow:
        with self.engine.connect() as conn:
            return items.get(conn, item_id)

    def upload(self, item_id: str, store: str) -> uploads.UploadRow:
        with self.engine.connect() as conn:
            return uploads.get(conn, item_id, store)

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """The data of all entries of a type, oldest first."""
        return ledgers.entries(self.engine, kind)

    def open_alarms(self) -> list[tuple[str, str]]:
        """Code and subject of each open alarm."""
        found = ledgers.open_findings(self.engine)
        return [(row.code, row.subject) for row in found if row.severity == "alarm"]

    def anchored(self, *stores: str) -> int:
        """How many entries stand under a checkpoint in each of these."""
        with self.engine.connect() as conn:
            return own_objects.anchored_size(conn, stores)

    def store_row(self, store: str) -> Any:
        with self.engine.connect() as conn:
            return conn.execute(sa.select(store_work).where(store_work.c.store == store)).one()
