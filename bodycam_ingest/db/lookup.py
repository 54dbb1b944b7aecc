"""What a person means by part of an id, a digest or a name: one thing, or a fault that helps."""

from __future__ import annotations

import difflib
import string
from typing import TYPE_CHECKING, Final

import sqlalchemy as sa

from bodycam_ingest.db.projected import read_stores
from bodycam_ingest.db.schema import camera, docking, finding, item, upload
from bodycam_ingest.errors import UnknownSubjectError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_CANDIDATES_MAX: Final = 10
_DIGEST_HEX: Final = 64
# Shorter beginnings of a digest name too many things by chance.
_DIGEST_MIN: Final = 4
# How people read and type an id aloud; the alphabet of ids has none of these letters.
_MISREAD: Final = str.maketrans("ILO", "110")


def item_id(conn: sa.Connection, text: str) -> str:
    """The item that an id, a digest, or the beginning of either names, in any case.

    Raises:
        UnknownSubjectError: there is none.
        UsageError: there are several.
    """
    # Both are asked: what is the beginning of an id and of another item's digest is not one item.
    found = [*_by_prefix(conn, item.c.item_id, text), *_by_digest(conn, text)]
    return _the_one(list(dict.fromkeys(found)), "item", text, "bodycam-ingest items")


def docking_id(conn: sa.Connection, text: str) -> str:
    """The docking that an id or its beginning names; faults as for `item_id`."""
    found = _by_prefix(conn, docking.c.docking_id, text)
    return _the_one(found, "docking", text, "bodycam-ingest dockings")


def finding_id(conn: sa.Connection, text: str) -> str:
    """The finding, open or closed, that an id or its beginning names; faults as for `item_id`."""
    found = _by_prefix(conn, finding.c.finding_id, text)
    return _the_one(found, "finding", text, "bodycam-ingest findings --all")


def camera_serial(conn: sa.Connection, text: str) -> str:
    """The camera of that serial number; in any case where that leaves one.

    Raises:
        UnknownSubjectError: no such camera was ever docked.
    """
    return _by_name(conn.execute(sa.select(camera.c.camera)).scalars(), "camera", text)


def bay(conn: sa.Connection, text: str) -> str:
    """The bay of that name; UnknownSubjectError where no camera was ever docked in it."""
    return _by_name(conn.execute(sa.select(docking.c.bay).distinct()).scalars(), "bay", text)


def store(conn: sa.Connection, text: str, configured: Iterable[str]) -> str:
    """The store of that name, configured now or ever used; else UnknownSubjectError."""
    used = [*conn.execute(sa.select(upload.c.store).distinct()).scalars()]
    return _by_name([*configured, *used, *read_stores(conn)], "store", text)


def _by_prefix(conn: sa.Connection, column: sa.Column[str], text: str) -> Sequence[str]:
    prefix = text.strip().upper().translate(_MISREAD)
    if not prefix.isascii() or not prefix.isalnum():
        return []
    # A range, so that an index serves it; `~` comes after every letter of an id.
    query = sa.select(column).where(column >= prefix, column < prefix + "~").order_by(column)
    return conn.execute(query.limit(_CANDIDATES_MAX + 1)).scalars().all()


def _by_digest(conn: sa.Connection, text: str) -> Sequence[str]:
    digits = text.strip().lower()
    if not _DIGEST_MIN <= len(digits) <= _DIGEST_HEX or set(digits) - set(string.hexdigits):
        return []
    first, last = (bytes.fromhex(digits.ljust(_DIGEST_HEX, edge)) for edge in "0f")
    query = sa.select(item.c.item_id).where(item.c.sha256.between(first, last))
    found = conn.execute(query.order_by(item.c.item_id).limit(_CANDIDATES_MAX + 1))
    return found.scalars().all()


def _the_one(found: Sequence[str], kind: str, text: str, where: str) -> str:
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownSubjectError(f"no {kind} {text!r}", hint=f"`{where}` lists them.")
    shown = ", ".join(found[:_CANDIDATES_MAX])
    if len(found) > _CANDIDATES_MAX:
        shown += ", and more"
    raise UsageError(
        f"{text!r} is not one {kind}: {shown}", hint="Give more of the id, or all of it."
    )


def _by_name(names: Iterable[str], kind: str, text: str) -> str:
    known = sorted(set(names))
    if text in known:
        return text
    alike = [name for name in known if name.casefold() == text.casefold()]
    if len(alike) == 1:
        return alike[0]
    near = alike or difflib.get_close_matches(text, known, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else ""
    raise UnknownSubjectError(f"no {kind} {text!r}", hint=hint)
