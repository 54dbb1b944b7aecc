"""Every store that was ever in the configuration: is it still, is it required, was it retired?

The daemon notes the configuration's stores at each start, with an entry for each change; who is
required is asked here, never of an upload's own row. `bodycam_ingest.model.store_set` decides from
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bodycam_ingest.custody import entries
from bodycam_ingest.db import findings, store_health
from bodycam_ingest.db.figures import UPLOADS, Amount, amount, amounts
from bodycam_ingest.db.projected import read_stores
from bodycam_ingest.db.schema import item, upload
from bodycam_ingest.errors import StoreMisconfiguredError, UnknownSubjectError, UsageError
from bodycam_ingest.model import subjects
from bodycam_ingest.model.lifecycle import HELD_UP, PROVEN, SENT_FROM, ItemState, UploadState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.ledger import Txn
    from bodycam_ingest.model.rows import Store

REMOVED: str = "store_removed"
INCOMPLETE: str = "store_incomplete"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A store as the configuration has it; its kind is `directory` or `s3`."""

    name: str
    kind: str
    required: bool


def check_identity(conn: sa.Connection, name: str, identity: str) -> None:
    """Refuse a store that is not the one it was, or that another name stands for already.

    Raises:
        StoreMisconfiguredError: another place, or one place under two names.
    """
    stores = read_stores(conn)
    before = stores[name].identity if name in stores else ""
    if before and identity != before:
        raise StoreMisconfiguredError(
            f"{name} is {identity}, it was {before} at first contact",
            hint="Another bucket or disk stands where this store was. Bring the old one back, or "
            "give the new one a name of its own.",
        )
    for other in stores.values():
        if other.store != name and other.identity == identity and not other.retired_at:
            raise StoreMisconfiguredError(
                f"{name} is the place that is known as {other.store} ({identity})",
                hint="One copy must not count as two, and a store keeps its name: give this one a "
                f"place of its own, or retire {other.store} first.",
            )


def pin(txn: Txn, name: str, identity: str) -> None:
    """Remember who a store is at first contact; later it only compares.

    Raises:
        StoreMisconfiguredError: as `check_identity` says.
    """
    check_identity(txn.conn, name, identity)
    row = txn.rows.stores().get(name)
    if row is None or not row.identity:
        txn.add(entries.store_pinned(name, identity=identity))


def held_up_by(conn: sa.Connection, store: str) -> Amount:
    """Recordings that are queued for a store, not confirmed by it, and not confirmed as a whole."""
    waits = upload.c.state != UploadState.CONFIRMED.value
    return amount(conn, item.c.state.in_(HELD_UP), upload.c.store == store, waits, among=UPLOADS)


def out_of_reach(conn: sa.Connection, store: str) -> Amount:
    """Recordings that the dock has no copy of any more and that a store never confirmed."""
    return amount(conn, item.c.state == ItemState.PURGED.value, ~has_confirmed(store))


def has_confirmed(store: str) -> sa.ColumnElement[bool]:
    """Whether a store confirmed an item of the enclosing statement."""
    return queued_for(store, upload.c.state == UploadState.CONFIRMED.value)


def queued_for(store: str, *which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether an item of the enclosing statement has such an upload to a store, or any at all."""
    here = (upload.c.item_id == item.c.item_id, upload.c.store == store)
    return sa.exists().where(*here, *which).correlate(item)


def lacking_in_docking(
    conn: sa.Connection, docking_id: str, required: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Stores required now that do not hold a finished item of a docking, by item."""
    found: dict[str, tuple[str, ...]] = {}
    for store in required:
        rows = conn.execute(
            sa.select(item.c.item_id)
            .where(item.c.seen_docking_id == docking_id, item.c.state.in_(PROVEN))
            .where(~has_confirmed(store))
        ).scalars()
        for item_id in rows:
            found[item_id] = (*found.get(item_id, ()), store)
    return found


# -- changes of the set --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """What a start of the daemon found: a store was `added`, `changed` or `removed`.

    The amount is what waits for a removed one, or what an added one can no longer get.
    """

    store: str
    what: str
    required: bool
    amount: Amount


def note(txn: Txn, wanted: Sequence[Wanted]) -> list[Change]:
    """Note the configuration's stores; each change is an entry, and a finding where one is due."""
    before = txn.rows.stores()
    changes = []
    for one in wanted:
        row = before.get(one.name)
        if row is None or not row.configured:
            changes.append(_added(txn, one, row))
        elif (row.required, row.type) != (one.required, one.kind):
            changes.append(_changed(txn, one))
    names = {one.name for one in wanted}
    changes += [
        _removed(txn, row) for row in before.values() if row.configured and row.store not in names
    ]
    return changes


def _added(txn: Txn, one: Wanted, before: Store | None) -> Change:
    returned = before is not None and bool(before.role)
    added = entries.store_added(one.name, type=one.kind, required=one.required, returned=returned)
    txn.add(added)
    findings.close_finding(txn, code=REMOVED, subject=added.subject)
    return Change(one.name, "added", one.required, _report_lacking(txn, one))


def _changed(txn: Txn, one: Wanted) -> Change:
    txn.add(entries.store_changed(one.name, type=one.kind, required=one.required))
    return Change(one.name, "changed", one.required, _report_lacking(txn, one))


def _report_lacking(txn: Txn, one: Wanted) -> Amount:
    lacking = out_of_reach(txn.conn, one.name) if one.required else Amount()
    if lacking.items:
        detail = f"{one.name} never had {lacking}, and the dock has no copy of them any more"
        findings.notice(txn, subjects.store(one.name), INCOMPLETE, detail)
    else:
        findings.close_finding(txn, code=INCOMPLETE, subject=subjects.store(one.name))
    return lacking


def _removed(txn: Txn, row: Store) -> Change:
    waiting = held_up_by(txn.conn, row.store) if row.required else Amount()
    txn.add(
        entries.store_removed(
            row.store,
            required=row.required,
            items=waiting.items,
            size_bytes=waiting.size_bytes,
        )
    )
    store_health.recovered(txn, row.store)
    # Nobody asks it any more: what it did last is no news.
    findings.close_about(txn, subject=subjects.store(row.store))
    if waiting.items:
        detail = (
            f"{row.store} is no longer in the configuration, and {waiting} wait for it: "
            f"bring it back, or `stores retire {row.store} --reason TEXT`"
        )
        findings.alarm(txn, subjects.store(row.store), REMOVED, detail)
    return Change(row.store, "removed", row.required, waiting)


def retire(txn: Txn, name: str, reason: str, actor: Actor) -> Amount:
    """Give up a store that will not come back; returns what waited for it.

    The caller knows that the configuration of now does not have it; no start may have noted that
    yet, as where a renamed store was refused.

    Raises:
        UnknownSubjectError: no such store was ever in the configuration.
        UsageError: it was retired already.
    """
    row = txn.rows.stores().get(name)
    if row is None:
        raise UnknownSubjectError(f"no store {name!r}", hint="`stores list` lists them.")
    if row.retired_at:
        raise UsageError(f"store {name!r} was retired at {row.retired_at}")
    waiting = held_up_by(txn.conn, name)
    txn.add(
        entries.store_retired(
            name, reason=reason, items=waiting.items, size_bytes=waiting.size_bytes
        ),
        actor=actor,
    )
    findings.close_about_store(txn, name)
    return waiting


# -- for people ----------------------------------------------------------------------------------


def of_stores(
    conn: sa.Connection, configured: Mapping[str, tuple[str, bool]]
) -> list[dict[str, Any]]:
    """Every store that is or was in the configuration, by name, as `stores list --json` prints it.

    Of those `configured` now: type and `required`, by name.
    """
    known = read_stores(conn)
    return [
        _of_store(conn, name, configured.get(name), known.get(name))
        for name in sorted({*configured, *known})
    ]


def _of_store(
    conn: sa.Connection,
    name: str,
    wanted: tuple[str, bool] | None,
    row: Store | None,
) -> dict[str, Any]:
    health = store_health.health(conn, name)
    # Only what the dock still has a copy of waits, or can be sent.
    sendable = item.c.state.in_(SENT_FROM)
    unconfirmed = upload.c.state != UploadState.CONFIRMED.value
    open_uploads = amounts(
        conn, upload.c.store == name, unconfirmed, sendable, by=(upload.c.state,), among=UPLOADS
    )
    refused = open_uploads.pop((UploadState.REFUSED.value,), Amount())
    waiting = sum(open_uploads.values(), Amount())
    never = amount(conn, sendable, item.c.staged_path != "", ~queued_for(name))
    lost = out_of_reach(conn, name)
    confirmed = sa.select(sa.func.count()).where(upload.c.store == name, ~unconfirmed)
    return {
        "name": name,
        "type": wanted[0] if wanted else row.type if row else "",
        "required": wanted[1] if wanted else bool(row and row.required),
        "configured": wanted is not None,
        "identity": row.identity if row else "",
        "state": _state(wanted is not None, row, health.last_error),
        "left_at": row.left_at if row else "",
        "retired_at": row.retired_at if row else "",
        "last_error": health.last_error,
        "failing_since": health.failing_since,
        "confirmed": conn.execute(confirmed).scalar_one(),
        "waiting": waiting.items,
        "waiting_bytes": waiting.size_bytes,
        "refused": refused.items,
        "never_sent": never.items,
        "never_sent_bytes": never.size_bytes,
        "impossible": lost.items,
        "impossible_bytes": lost.size_bytes,
    }


def _state(configured: bool, row: Store | None, last_error: str) -> str:  # noqa: FBT001 - one of three facts
    if not configured:
        return "retired" if row and row.retired_at else "removed"
    if last_error:
        return "failing"
    return "ok" if row and row.identity else "new"
