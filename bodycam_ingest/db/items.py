"""Items: projected rows with what waits for their next try, and the steps that entries make.

`item` is a projection of the ledger: it changes by adding an entry, through `step` and `steps`,
which refuse what another thread has moved meanwhile. `item_work` holds tries that failed; without
its row an item is due.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from bodycam_ingest.custody.entry import SYSTEM
from bodycam_ingest.db.schema import item, item_work
from bodycam_ingest.errors import ItemMovedError, UnknownSubjectError
from bodycam_ingest.model import object_keys, rows
from bodycam_ingest.model.lifecycle import UNCOPIED, ItemState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bodycam_ingest.custody.entries import Draft
    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.model.evidence import Digests

# SQLite takes 32,766 parameters at most, older ones 999.
_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item (the fields of `model.rows.Item`), and what waits for its next try.

    Args:
        attempts: failed tries in a row to read it, to read its copy back or to purge it.
        due_ms: not tried again before, ms since 1970.
        last_error: code of the last fault, empty when none.
    """

    item_id: str
    camera: str
    docking_id: str
    volume: str
    path: bytes
    size_bytes: int
    mtime_ns: int
    state: ItemState
    discovered_at: str
    recorded_at: str
    seen_docking_id: str
    seen_mtime_ns: int
    sha256: bytes | None = None
    sample_sha256: bytes | None = None
    part_size_bytes: int | None = None
    staged_path: str = ""
    verified_seq: int | None = None
    confirmed_seq: int | None = None
    released_at: str | None = None
    released_dock_ms: int | None = None
    purging_seq: int | None = None
    quarantine_reason: str = ""
    attempts: int = 0
    due_ms: int = 0
    last_error: str = ""

    def digests(self) -> Digests:
        """What its one reading yielded; UsageError for items that were never read."""
        return rows.digests_of(self)

    def key(self) -> str:
        """Its key, the same in every store."""
        return rows.key_of(self)

    def metadata(self, dock_id: str, checkpoint: str) -> Mapping[str, str]:
        """What its object bears in a store.

        Args:
            dock_id: this dock.
            checkpoint: a checkpoint that covers the entry which says that it was verified.
        """
        return object_keys.evidence_metadata(
            item_id=self.item_id,
            sha256=self.digests().sha256,
            camera=self.camera,
            dock_id=dock_id,
            ledger_entry=self.verified_seq or 0,
            checkpoint=checkpoint,
            path=self.path,
        )


_WORK: Final = (item_work.c.attempts, item_work.c.due_ms, item_work.c.last_error)
_SELECT: Final = sa.select(
    *item.c,
    sa.func.coalesce(item_work.c.attempts, 0),
    sa.func.coalesce(item_work.c.due_ms, 0),
    sa.func.coalesce(item_work.c.last_error, ""),
).select_from(item.outerjoin(item_work, item_work.c.item_id == item.c.item_id))
_STATE: Final = rows.Item._fields.index("state")


def _row(values: Any) -> ItemRow:
    found = list(values)
    found[_STATE] = ItemState(found[_STATE])
    return ItemRow(*found)


def select(conn: sa.Connection, *where: sa.ColumnElement[bool]) -> list[ItemRow]:
    """The items for which all of this holds, oldest first."""
    found = conn.execute(_SELECT.where(*where).order_by(item.c.item_id))
    return [_row(values) for values in found]


def get(conn: sa.Connection, item_id: str) -> ItemRow:
    """One item.

    Raises:
        UnknownSubjectError: there is no such item.
    """
    found = select(conn, item.c.item_id == item_id)
    if not found:
        raise UnknownSubjectError(f"no item {item_id!r}", hint="`bodycam-ingest items` lists them.")
    return found[0]


def unread_of_camera(conn: sa.Connection, camera: str, volume: str) -> list[ItemRow]:
    """Items of a camera's volume in state `discovered`, oldest first."""
    unread = item.c.state == ItemState.DISCOVERED.value
    return select(conn, item.c.camera == camera, item.c.volume == volume, unread)


def in_states(conn: sa.Connection, states: Iterable[ItemState]) -> list[ItemRow]:
    """All items in one of `states`, oldest first."""
    return select(conn, item.c.state.in_(states))


def by_ids(conn: sa.Connection, item_ids: Sequence[str]) -> list[ItemRow]:
    """The items with these ids, oldest first within each few hundred; unknown ones left out."""
    return [row for some in _some(item_ids) for row in select(conn, item.c.item_id.in_(some))]


def _some(item_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(item_ids), _AT_ONCE):
        yield item_ids[start : start + _AT_ONCE]


# -- steps ---------------------------------------------------------------------------------------


def step(txn: Txn, row: ItemRow, draft: Draft, *, actor: Actor = SYSTEM) -> int:
    """Take an item one step.

    Args:
        txn: the open transaction.
        row: the item as the step was decided on.
        draft: the entry that is the step.
        actor: who did it.

    Returns:
        The entry's number.

    Raises:
        IllegalTransitionError: the item was not in a state from which this can happen.
        ItemMovedError: another thread moved it first; look again.
    """
    return steps(txn, [(row, draft)], actor=actor)[0]


def steps(txn: Txn, taken: Sequence[tuple[ItemRow, Draft]], *, actor: Actor = SYSTEM) -> list[int]:
    """Take many items a step each; as `step`, none where one of them cannot be taken."""
    txn.rows.prefetch(rows.Item, [row.item_id for row, _ in taken])
    for row, _ in taken:
        now = txn.rows.get(rows.Item, row.item_id)
        if now is None or now.state is not row.state:
            # Whatever it moved to: what was to be recorded is about a row that is no more.
            state = now.state.value if now else "nothing"
            raise ItemMovedError(
                f"item {row.item_id} moved from {row.state.value} to {state} meanwhile"
            )
    numbers = [txn.add(draft, actor=actor) for _, draft in taken]
    make_due(txn, [row.item_id for row, _ in taken if row.attempts or row.due_ms])
    return numbers


# -- waiting -------------------------------------------------------------------------------------


def postpone(txn: Txn, item_ids: Sequence[str], *, attempts: int, due_ms: int, error: str) -> None:
    """Persist when items are tried again, for a cause that they share.

    Args:
        txn: the open transaction.
        item_ids: the items.
        attempts: failed tries in a row.
        due_ms: not tried before, ms since 1970.
        error: code of the fault.
    """
    if item_ids:
        # By number of words: an upsert of SQLite's own, once a row.
        txn.conn.exec_driver_sql(
            "INSERT INTO item_work (item_id, attempts, due_ms, last_error) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (item_id) DO UPDATE SET attempts = excluded.attempts, "
            "due_ms = excluded.due_ms, last_error = excluded.last_error",
            [(item_id, attempts, due_ms, error) for item_id in item_ids],
        )


def make_due(txn: Txn, item_ids: Sequence[str]) -> None:
    """Forget what failed tries left: the items are due at once."""
    for some in _some(item_ids):
        txn.conn.execute(item_work.delete().where(item_work.c.item_id.in_(some)))


def hurry(txn: Txn, item_ids: Sequence[str]) -> None:
    """Have items tried at once; how often and of what they failed is known until a try succeeds."""
    for some in _some(item_ids):
        chosen = item_work.c.item_id.in_(some)
        txn.conn.execute(item_work.update().where(chosen).values(due_ms=0))


def waiting_on(conn: sa.Connection, codes: Iterable[str]) -> list[tuple[str, int]]:
    """Id and length in bytes of every item that waits on one of these faults before it is verified.

    Args:
        conn: an open connection.
        codes: codes of faults.
    """
    found = conn.execute(
        sa.select(item.c.item_id, item.c.size_bytes)
        .select_from(item.join(item_work, item_work.c.item_id == item.c.item_id))
        .where(item.c.state.in_(UNCOPIED))
        .where(item_work.c.last_error.in_(list(codes)))
        .order_by(item.c.item_id)
    )
    return [(row.item_id, row.size_bytes) for row in found]
