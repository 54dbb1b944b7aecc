"""Where a multipart upload stands; one journal belongs to one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from bodycam_ingest.db import uploads
from bodycam_ingest.db.schema import upload_part

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bodycam_ingest.db.ledger import LedgerWriter
    from bodycam_ingest.db.uploads import UploadRow


class PassingJournal:
    """A journal for objects that are small and made again at will: nothing is persisted.

    What an interrupted upload leaves in the store is found and aborted at the next try.
    """

    def __init__(self) -> None:
        self.upload_id = ""
        self.completing = False
        self._etags: dict[int, str] = {}

    @property
    def etags(self) -> Mapping[int, str]:
        """Tags of the parts that were sent under `upload_id`, by number."""
        return dict(self._etags)

    def begun(self, upload_id: str) -> None:
        """Keep the store's id of a new multipart upload; parts of an older one are forgotten."""
        self.upload_id, self.completing, self._etags = upload_id, False, {}

    def part_stored(self, number: int, etag: str) -> None:
        """Keep the tag of a part that the store has."""
        self._etags[number] = etag

    def completing_now(self) -> None:
        """Keep that the completing call is about to be made: from now on its answer may be lost."""
        self.completing = True

    def forgotten(self) -> None:
        """Keep that the store no longer knows the upload id."""
        self.begun("")


class DatabaseJournal(PassingJournal):
    """A journal that is kept in the database, so that any process can continue the upload."""

    def __init__(self, engine: sa.Engine, ledger: LedgerWriter, row: UploadRow) -> None:
        super().__init__()
        self._ledger = ledger
        self._key = (row.item_id, row.store)
        self._mine = (upload_part.c.item_id == row.item_id, upload_part.c.store == row.store)
        # Whether this process got anything across: then a fault after it begins a new row of them.
        self.progressed = False
        self.upload_id, self.completing = row.upload_id, row.completing
        if row.upload_id:
            sent = sa.select(upload_part.c.number, upload_part.c.etag).where(
                *self._mine, upload_part.c.upload_id == row.upload_id
            )
            with engine.connect() as conn:
                self._etags = {row.number: row.etag for row in conn.execute(sent)}

    def begun(self, upload_id: str) -> None:
        """As `PassingJournal.begun`, durably."""
        with self._ledger.transaction() as txn:
            txn.conn.execute(upload_part.delete().where(*self._mine))
            uploads.update_work(txn.conn, *self._key, upload_id=upload_id, completing=False)
        super().begun(upload_id)

    def part_stored(self, number: int, etag: str) -> None:
        """As `PassingJournal.part_stored`, durably; a tag that it had before is replaced."""
        item_id, store = self._key
        with self._ledger.transaction() as txn:
            txn.conn.execute(
                upload_part.insert().prefix_with("OR REPLACE"),
                {
                    "item_id": item_id,
                    "store": store,
                    "number": number,
                    "upload_id": self.upload_id,
                    "etag": etag,
                },
            )
        super().part_stored(number, etag)
        self.progressed = True

    def completing_now(self) -> None:
        """As `PassingJournal.completing_now`, durably."""
        with self._ledger.transaction() as txn:
            uploads.update_work(txn.conn, *self._key, completing=True)
        super().completing_now()
