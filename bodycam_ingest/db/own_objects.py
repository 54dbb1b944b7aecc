"""The daemon's own small objects in the stores: dockings' manifests, checkpoints of the ledger.

What a store has of them is told by entries (`metadata_object`). What is to be sent stands in
`object_work` with its tries: it may be lost, and is made again from what is queued. No bytes stand
there: a manifest is the document that its `camera.undocked` names, a checkpoint the note that was
signed at its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.custody.entry import parse_entry
from bodycam_ingest.db import store_health, uploads
from bodycam_ingest.db.ledger_tree import LOG_ID
from bodycam_ingest.db.projected import ProjectedRows, read_document
from bodycam_ingest.db.schema import (
    item,
    ledger_checkpoint,
    ledger_entry,
    metadata_object,
    object_work,
)
from bodycam_ingest.model import object_keys
from bodycam_ingest.model.backoff import is_due, wait_s
from bodycam_ingest.model.lifecycle import ItemState, UploadState
from bodycam_ingest.model.rows import CHECKPOINT, MetadataObject

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from bodycam_ingest.custody.entry import Entry
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.errors import IngestError

# As literals: an index of some of the rows alone is used only where the statement says so.
_CONFIRMED = metadata_object.c.state == sa.literal_column(f"'{UploadState.CONFIRMED}'")
_NOT_CONFIRMED = metadata_object.c.state != sa.literal_column(f"'{UploadState.CONFIRMED}'")
_OWN_ENTRIES = ("object.confirmed", "object.refused")


@dataclass(frozen=True, slots=True)
class OwnObject:
    """A `manifest`, or a `checkpoint` over `ledger_size` entries, that waits to be sent.

    The body is None where its bytes are gone, or nobody ever made such an object.
    """

    store: str
    key: str
    kind: str
    ledger_size: int | None
    attempts: int
    last_error: str
    body: bytes | None


# -- what is to be sent --------------------------------------------------------------------------


def restore_work(conn: sa.Connection) -> None:
    """Have every manifest sent that no store confirmed; those refused wait for a person."""
    columns = ["store", "key", "kind", "ledger_size", "refused"]
    conn.execute(object_work.insert().from_select(columns, _without_work()))


def any_without_work(conn: sa.Connection) -> bool:
    """Whether there is something for `restore_work`."""
    return conn.execute(_without_work().limit(1)).first() is not None


def _without_work() -> sa.Select[Any]:
    made, work = metadata_object.c, object_work.c
    refused = made.state == UploadState.REFUSED.value
    return sa.select(made.store, made.key, made.kind, made.ledger_size, refused).where(
        _NOT_CONFIRMED, ~sa.exists().where(work.store == made.store, work.key == made.key)
    )


def queue_checkpoint(txn: Txn, stores: Iterable[str], key: str, size: int) -> None:
    """Have a checkpoint over `size` entries sent to each of these stores that does not have it."""
    lacking = lacking_checkpoint(txn.conn, stores, size)
    if lacking:
        work = {"key": key, "kind": CHECKPOINT, "ledger_size": size}
        txn.conn.execute(object_work.insert(), [{"store": store, **work} for store in lacking])


def lacking_checkpoint(conn: sa.Connection, stores: Iterable[str], size: int) -> list[str]:
    """Those of these stores that neither have the checkpoint of that size nor are to get it."""
    there = set(
        conn.execute(
            sa.union(
                *(
                    sa.select(table.c.store).where(table.c.ledger_size == size)
                    for table in (object_work, metadata_object)
                )
            )
        ).scalars()
    )
    return [store for store in stores if store not in there]


def next_due(
    conn: sa.Connection, store: str, now_ms: int, in_hand: Collection[str]
) -> OwnObject | None:
    """The object of a store that has been due for longest; None when none is.

    Keys `in_hand` are claimed by workers of this process.
    """
    row = conn.execute(
        sa.select(object_work)
        .where(_open(store, in_hand), is_due(object_work.c.due_ms, now_ms))
        .order_by(object_work.c.due_ms, object_work.c.ledger_size, object_work.c.key)
        .limit(1)
    ).first()
    if row is None:
        return None
    return OwnObject(
        row.store,
        row.key,
        row.kind,
        row.ledger_size,
        row.attempts,
        row.last_error,
        _body(conn, row),
    )


def _open(store: str, in_hand: Collection[str]) -> sa.ColumnElement[bool]:
    return sa.and_(
        object_work.c.store == store,
        ~object_work.c.refused,
        object_work.c.key.not_in(list(in_hand)),
    )


def _body(conn: sa.Connection, work: Any) -> bytes | None:
    if work.kind != CHECKPOINT:
        row = ProjectedRows(conn).get(MetadataObject, work.store, work.key)
        return read_document(conn, row.sha256.hex()) if row else None
    if object_keys.checkpoint_size(work.key.rpartition("/")[2]) != work.ledger_size:
        return None
    note: str | None = conn.execute(
        sa.select(ledger_checkpoint.c.note).where(
            ledger_checkpoint.c.log_id == LOG_ID, ledger_checkpoint.c.size == work.ledger_size
        )
    ).scalar()
    return None if note is None else note.encode()


def next_due_ms(conn: sa.Connection, store: str, in_hand: Collection[str]) -> int | None:
    """When the next object of a store is due, ms since 1970; None when none waits."""
    due = conn.execute(sa.select(sa.func.min(object_work.c.due_ms)).where(_open(store, in_hand)))
    found = due.scalar()
    return None if found is None else int(found)


def failed(
    txn: Txn,
    one: OwnObject,
    error: IngestError,
    *,
    attempts: int,
    due_ms: int,
    key: str = "",
    refused: bool = False,
) -> None:
    """Keep that an object could not be put, after so many faults in a row.

    It is tried again then, under another key where one is given; a refused one not by itself.
    """
    txn.conn.execute(
        object_work.update()
        .where(*_is(one))
        .values(
            key=key or one.key,
            refused=refused,
            attempts=attempts,
            due_ms=due_ms,
            last_error=error.code,
            last_message=error.message,
        )
    )


def done(txn: Txn, one: OwnObject) -> None:
    """A store has an object; a checkpoint covers as well what was refused before it."""
    txn.conn.execute(object_work.delete().where(*_is(one)))
    if one.kind == CHECKPOINT:
        txn.conn.execute(
            object_work.delete().where(
                object_work.c.store == one.store,
                object_work.c.kind == CHECKPOINT,
                object_work.c.refused,
            )
        )


def _is(one: OwnObject) -> tuple[sa.ColumnElement[bool], ...]:
    return object_work.c.store == one.store, object_work.c.key == one.key


def retry(txn: Txn, stores: Collection[str]) -> None:
    """Have everything of these stores tried now, the refused too."""
    restore_work(txn.conn)
    txn.conn.execute(
        object_work.update()
        .where(object_work.c.store.in_(list(stores)))
        .values(refused=False, due_ms=0)
    )


# -- what the stores have ------------------------------------------------------------------------


def anchored_size(conn: sa.Connection, required: Sequence[str]) -> int:
    """Entries under a checkpoint that every required store confirmed, 0 when there is none."""
    return min((_confirmed_size(conn, store) for store in required), default=0)


def _confirmed_size(conn: sa.Connection, store: str) -> int:
    newest_first = (
        sa.select(metadata_object.c.ledger_size, ledger_entry.c.body)
        .outerjoin(
            ledger_entry,
            sa.and_(ledger_entry.c.log_id == LOG_ID, ledger_entry.c.seq == metadata_object.c.seq),
        )
        .where(metadata_object.c.store == store, _CONFIRMED)
        .where(metadata_object.c.ledger_size.is_not(None))
        .order_by(metadata_object.c.ledger_size.desc())
    )
    for size, body in conn.execute(newest_first, execution_options={"yield_per": 5}):
        # Releases hang on it: a row counts only as far as its entry says the same.
        if body is not None and _says(parse_entry(body), store, size):
            return int(size)
    return 0


def _says(entry: Entry, store: str, size: int) -> bool:
    told = entry.data.get("store"), entry.data.get("kind"), entry.data.get("size")
    return entry.type == "object.confirmed" and told == (store, CHECKPOINT, size)


def newest_checkpoint(conn: sa.Connection, stores: Iterable[str], size: int) -> int:
    """Entries under the newest checkpoint that one of these stores has or is to get, 0 for none.

    What is to be sent counts as far as the `size` of the ledger.
    """
    queued = conn.execute(
        sa.select(sa.func.max(object_work.c.ledger_size)).where(object_work.c.ledger_size <= size)
    ).scalar()
    return max(int(queued or 0), *(_confirmed_size(conn, store) for store in stores), 0)


def counts(conn: sa.Connection, stores: Collection[str]) -> dict[str, int]:
    """Objects of these stores by state; `waiting` are those whose last try failed."""
    have = sa.select(sa.func.count()).where(metadata_object.c.store.in_(list(stores)), _CONFIRMED)
    confirmed = conn.execute(have).scalar_one()
    found = {UploadState.CONFIRMED.value: confirmed} if confirmed else {}
    for work in conn.execute(sa.select(object_work).where(object_work.c.store.in_(list(stores)))):
        failed = UploadState.WAITING if work.last_error else UploadState.QUEUED
        state = UploadState.REFUSED if work.refused else failed
        found[state.value] = found.get(state.value, 0) + 1
    return found


# -- what was recorded since ---------------------------------------------------------------------


def first_news_at(conn: sa.Connection, seq: int) -> str | None:
    """When the first entry from `seq` on was written that says more than where checkpoints went.

    None for none. That a checkpoint was stored is an entry, too: it must not make another one due.
    """
    since = sa.select(ledger_entry.c.type, ledger_entry.c.t, ledger_entry.c.body).where(
        ledger_entry.c.log_id == LOG_ID, ledger_entry.c.seq >= seq
    )
    since = since.order_by(ledger_entry.c.seq)
    for kind, at, body in conn.execute(since, execution_options={"yield_per": 20}):
        if kind not in _OWN_ENTRIES or parse_entry(body).data["kind"] != CHECKPOINT:
            return str(at)
    return None


@dataclass(frozen=True, slots=True)
class AnchorState:
    """What was anchored and what waits for it.

    The newest checkpoint queued or stored covers `queued_size` entries, 0 for none; it was written
    at `written_at`, empty for never. A release or a purge waits on `waiting_seq`, None when none
    waits; a required store that came later, without any checkpoint, counts as waiting.
    `under_way` is to how many required stores something can be sent now, `news` whether more was
    recorded since than where checkpoints went.
    """

    queued_size: int
    written_at: str
    waiting_seq: int | None
    under_way: int
    news: bool


def anchor_state(
    conn: sa.Connection, stores: Sequence[str], required: Sequence[str], size: int, now_ms: int
) -> AnchorState:
    """The newest checkpoint over at most `size` entries, and the last that something waits on."""
    newest = newest_checkpoint(conn, stores, size)
    confirmed = conn.execute(
        sa.select(sa.func.max(item.c.confirmed_seq)).where(
            item.c.state == ItemState.CONFIRMED.value
        )
    ).scalar()
    purging = conn.execute(
        sa.select(sa.func.max(item.c.purging_seq)).where(item.c.state == ItemState.RELEASED.value)
    ).scalar()
    waiting = [seq for seq in (confirmed, purging) if seq is not None]
    if newest and lacking_checkpoint(conn, required, newest):
        waiting.append(newest)
    # A store that is away can take no checkpoint either: it must not slow down the others' ones.
    under_way = sum(
        not wait_s(store_health.health(conn, store).paused_until_ms, now_ms)
        and uploads.any_due(conn, store, now_ms)
        for store in required
    )
    written_at = conn.execute(
        sa.select(ledger_entry.c.t).where(
            ledger_entry.c.log_id == LOG_ID, ledger_entry.c.seq == newest - 1
        )
    ).scalar()
    return AnchorState(
        queued_size=newest,
        written_at=written_at or "",
        waiting_seq=max(waiting, default=None),
        under_way=under_way,
        news=first_news_at(conn, newest) is not None,
    )
