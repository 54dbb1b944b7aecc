"""Uploads: what each store has of each item, and what is due there.

`upload` is a projection of the ledger. `upload_work` holds when an open upload is tried next and
how far its parts got; it follows the projected rows (`follow`), and rows of it that were lost are
made again (`restore_work`). Without them nothing is lost but time: the store is looked at first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

import sqlalchemy as sa

from bodycam_ingest.db.schema import item, upload, upload_part, upload_work
from bodycam_ingest.errors import UsageError
from bodycam_ingest.model import rows
from bodycam_ingest.model.backoff import is_due
from bodycam_ingest.model.lifecycle import OPEN_UPLOADS, SENT_FROM, UploadState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence


_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class UploadRow:
    """What one store has of one item, and how far the work on it is; texts are empty for nothing.

    The `upload_id` is the store's of an upload in parts, which was begun to be completed where
    `completing`. `attempts` failed in a row since `first_failed_at` (RFC 3339); `integrity_faults`
    times in a row the store received other bytes than were sent.
    """

    item_id: str
    store: str
    state: UploadState
    version_id: str = ""
    etag: str = ""
    proof: str = ""
    checksum: str = ""
    confirmed_at: str = ""
    upload_id: str = ""
    completing: bool = False
    attempts: int = 0
    integrity_faults: int = 0
    due_ms: int = 0
    first_failed_at: str = ""
    last_error: str = ""
    last_message: str = ""

    @property
    def shown_state(self) -> str:
        """Its state for people: a queued one is `sending` in parts, or `waiting` after a fault."""
        if self.state is not UploadState.QUEUED:
            return self.state.value
        if self.last_error:
            return UploadState.WAITING.value
        return UploadState.SENDING.value if self.upload_id else self.state.value


_NOTHING: Final = {"upload_id": "", "completing": sa.false(), "attempts": 0, "integrity_faults": 0}
_WORK: Final = tuple(
    sa.func.coalesce(upload_work.c[name], _NOTHING.get(name, 0 if name == "due_ms" else ""))
    for name in UploadRow.__dataclass_fields__
    if name not in rows.Upload._fields
)
_BOTH: Final = upload.outerjoin(
    upload_work,
    sa.and_(upload_work.c.item_id == upload.c.item_id, upload_work.c.store == upload.c.store),
)
_SELECT: Final = sa.select(*upload.c, *_WORK).select_from(_BOTH)
_STATE: Final = rows.Upload._fields.index("state")


def _row(values: Any) -> UploadRow:
    found = list(values)
    found[_STATE] = UploadState(found[_STATE])
    return UploadRow(*found)


def get(conn: sa.Connection, item_id: str, store: str) -> UploadRow:
    """One upload; it must exist."""
    where = (upload.c.item_id == item_id, upload.c.store == store)
    return _row(conn.execute(_SELECT.where(*where)).one())


def of_item(conn: sa.Connection, item_id: str) -> list[UploadRow]:
    """All uploads of an item, by store."""
    found = conn.execute(_SELECT.where(upload.c.item_id == item_id).order_by(upload.c.store))
    return [_row(values) for values in found]


def of_items(conn: sa.Connection, item_ids: Sequence[str]) -> dict[tuple[str, str], UploadRow]:
    """Uploads of many items, by item and store."""
    found = {}
    for start in range(0, len(item_ids), _AT_ONCE):
        some = item_ids[start : start + _AT_ONCE]
        for values in conn.execute(_SELECT.where(upload.c.item_id.in_(some))):
            row = _row(values)
            found[row.item_id, row.store] = row
    return found


# -- what is due ---------------------------------------------------------------------------------

_DUE: Final = (
    sa.select(*upload.c, *_WORK, item.c.size_bytes)
    .select_from(
        upload_work.join(
            upload,
            sa.and_(
                upload.c.item_id == upload_work.c.item_id, upload.c.store == upload_work.c.store
            ),
        ).join(item, item.c.item_id == upload.c.item_id)
    )
    .where(upload.c.state.in_(OPEN_UPLOADS), item.c.state.in_(SENT_FROM))
)


def next_due(
    conn: sa.Connection,
    store: str,
    now_ms: int,
    claimed: Collection[str],
    *,
    small_bytes: int,
    limit: int,
) -> list[UploadRow]:
    """The upload that has been due for longest; with it the small ones that come next.

    One row of any size, or a batch of items of `small_bytes` at most; empty when none is due.
    Claimed items are in the hands of workers of this process.
    """
    found = conn.execute(
        _DUE.where(upload_work.c.store == store, is_due(upload_work.c.due_ms, now_ms))
        .where(upload_work.c.item_id.not_in(list(claimed)))
        .order_by(upload_work.c.due_ms, upload_work.c.item_id)
        .limit(limit)
    ).all()
    if not found or found[0].size_bytes > small_bytes:
        return [_row(values[:-1]) for values in found[:1]]
    return [_row(values[:-1]) for values in found if values.size_bytes <= small_bytes]


def next_due_ms(conn: sa.Connection, store: str, claimed: Collection[str]) -> int | None:
    """When the next upload of a store is due, ms since 1970; None when none waits."""
    found = conn.execute(
        _DUE.with_only_columns(upload_work.c.due_ms)
        .where(upload_work.c.store == store, upload_work.c.item_id.not_in(list(claimed)))
        .order_by(upload_work.c.due_ms)
        .limit(1)
    ).scalar()
    return None if found is None else int(found)


def any_due(conn: sa.Connection, store: str, now_ms: int) -> bool:
    """Whether anything can be sent to a store now."""
    found = conn.execute(
        _DUE.with_only_columns(upload_work.c.item_id)
        .where(upload_work.c.store == store, is_due(upload_work.c.due_ms, now_ms))
        .limit(1)
    ).first()
    return found is not None


def any_waits_on(conn: sa.Connection, store: str, code: str) -> bool:
    """Whether an upload to a store waits that met this fault last."""
    found = conn.execute(
        sa.select(upload_work.c.item_id)
        .where(upload_work.c.store == store, upload_work.c.last_error == code)
        .limit(1)
    ).first()
    return found is not None


def forbid_if_sent(conn: sa.Connection, item_id: str) -> None:
    """Refuse to let an item be read anew once a store may hold some of it.

    Raises:
        UsageError: an upload of the item was begun.
    """
    for row in of_item(conn, item_id):
        if row.state is not UploadState.QUEUED or row.upload_id or row.attempts:
            raise UsageError(
                f"an upload of item {item_id} to {row.store} was begun",
                hint="`quarantine reinstate ITEM` sends the copy that was read; it stays one item.",
            )


# -- work ----------------------------------------------------------------------------------------


def follow(conn: sa.Connection, changed: Iterable[rows.Row]) -> None:
    """Bring the work of uploads whose projected rows were just written in line with them."""
    queued, stored, ended = [], [], []
    for row in changed:
        if not isinstance(row, rows.Upload):
            continue
        if row.state is UploadState.QUEUED:
            queued.append((row.item_id, row.store))
        elif row.state is UploadState.STORED:
            stored.append((row.item_id, row.store))
        elif row.state is UploadState.CONFIRMED:
            ended.append((row.item_id, row.store))
    if queued:
        # How far parts got stays, as the store may still have them; so does the last fault, which
        # tells at the proof that there is a finding to close.
        conn.exec_driver_sql(
            "INSERT INTO upload_work (item_id, store) VALUES (?, ?) ON CONFLICT (item_id, store) "
            "DO UPDATE SET attempts = 0, integrity_faults = 0, due_ms = 0, first_failed_at = ''",
            queued,
        )
    if stored:
        conn.exec_driver_sql(
            "UPDATE upload_work SET upload_id = '', completing = 0, integrity_faults = 0 "
            "WHERE item_id = ? AND store = ?",
            stored,
        )
    if ended:
        conn.exec_driver_sql("DELETE FROM upload_work WHERE item_id = ? AND store = ?", ended)
    if gone := stored + ended:
        conn.exec_driver_sql("DELETE FROM upload_part WHERE item_id = ? AND store = ?", gone)


def restore_work(conn: sa.Connection) -> None:
    """Make the work rows that are missing: every open upload is due at some time."""
    waiting = sa.select(upload.c.item_id, upload.c.store).where(upload.c.state.in_(OPEN_UPLOADS))
    inserted = upload_work.insert().prefix_with("OR IGNORE")
    conn.execute(inserted.from_select(["item_id", "store"], waiting, include_defaults=False))


class Work(TypedDict, total=False):
    """What is known of the work on an open upload; `UploadRow` says what each is."""

    upload_id: str
    completing: bool
    attempts: int
    integrity_faults: int
    due_ms: int
    first_failed_at: str
    last_error: str
    last_message: str


def update_work(conn: sa.Connection, item_id: str, store: str, **values: Unpack[Work]) -> None:
    """Set what is known of the work on one open upload."""
    conn.execute(
        upload_work.update()
        .where(upload_work.c.item_id == item_id, upload_work.c.store == store)
        .values(**values)
    )


def make_due(conn: sa.Connection, stores: Collection[str], codes: Collection[str] = ()) -> int:
    """Have what waits for these stores tried at once; returns how many uploads those are.

    With `codes` only what met one of these faults last.
    """
    statement = upload_work.update().where(upload_work.c.store.in_(list(stores)))
    if codes:
        statement = statement.where(upload_work.c.last_error.in_(list(codes)))
    return conn.execute(statement.values(due_ms=0)).rowcount


def forget_parts_of(conn: sa.Connection, item_ids: Sequence[str]) -> None:
    """Forget what stores have of parts of these items, whose bytes were read anew.

    The stores' side of them is found and aborted as orphaned when the items are sent.
    """
    for start in range(0, len(item_ids), _AT_ONCE):
        some = item_ids[start : start + _AT_ONCE]
        conn.execute(upload_part.delete().where(upload_part.c.item_id.in_(some)))
        conn.execute(
            upload_work.update()
            .where(upload_work.c.item_id.in_(some))
            .values(upload_id="", completing=False)
        )
