"""Where a multipart upload stands, kept in the database so that any process can continue it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from bodycam_ingest.db import uploads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bodycam_ingest.db.ledger import LedgerWriter
    from bodycam_ingest.db.uploads import UploadRow


class DatabaseJournal:
    """The persisted part of one upload; safe to use from several threads.

    Args:
        ledger: the only way to write.
        row: the upload.
        etags: tags of the parts that were sent under its upload id, by number.
    """

    def __init__(self, ledger: LedgerWriter, row: UploadRow, etags: Mapping[int, str]) -> None:
        self._ledger = ledger
        self._item_id = row.item_id
        self._store = row.store
        self._lock = threading.Lock()
        # Whether this process got anything across: then a fault after it begins a new row of them.
        self.progressed = False
        self.upload_id = row.upload_id
        self.completing = row.completing
        self._etags = dict(etags)

    @property
    def etags(self) -> Mapping[int, str]:
        """Tags of the parts that were sent under `upload_id`, by number."""
        with self._lock:
            return dict(self._etags)

    def begun(self, upload_id: str) -> None:
        """Keep the store's id of a new multipart upload; parts of an older one are forgotten."""
        self._replace(upload_id)

    def part_stored(self, number: int, etag: str) -> None:
        """Keep the tag of a part that the store has."""
        with self._ledger.transaction() as txn:
            uploads.put_part(txn.conn, self._item_id, self._store, number, self.upload_id, etag)
        with self._lock:
            self._etags[number] = etag
            self.progressed = True

    def completing_now(self) -> None:
        """Keep that the completing call is about to be made: from now on its answer may be lost."""
        with self._ledger.transaction() as txn:
            uploads.update_work(txn.conn, self._item_id, self._store, completing=True)
        self.completing = True

    def forgotten(self) -> None:
        """Keep that the store no longer knows the upload id."""
        self._replace("")

    def _replace(self, upload_id: str) -> None:
        with self._ledger.transaction() as txn:
            uploads.forget_parts(txn.conn, self._item_id, self._store)
            uploads.update_work(
                txn.conn, self._item_id, self._store, upload_id=upload_id, completing=False
            )
        self.upload_id, self.completing = upload_id, False
        with self._lock:
            self._etags = {}


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
        """As `DatabaseJournal.begun`, in memory."""
        self.upload_id, self.completing, self._etags = upload_id, False, {}

    def part_stored(self, number: int, etag: str) -> None:
        """As `DatabaseJournal.part_stored`, in memory."""
        self._etags[number] = etag

    def completing_now(self) -> None:
        """As `DatabaseJournal.completing_now`, in memory."""
        self.completing = True

    def forgotten(self) -> None:
        """As `DatabaseJournal.forgotten`, in memory."""
        self.begun("")
