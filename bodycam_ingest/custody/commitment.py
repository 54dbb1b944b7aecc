"""Salted commitments: personal values that the ledger can prove and an order can erase (pure)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SALT_BYTES: Final = 32
_DOMAIN: Final = b"custody-private-v1\x00"


def commitment(field: str, salt: bytes, value: str) -> str:
    """Hex SHA-256 that stands in the ledger for a personal value.

    Args:
        field: the field's name, ASCII.
        salt: 32 random bytes, kept beside the value, outside of the ledger.
        value: the value.

    Raises:
        ValueError: the salt has another length.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    joined = _DOMAIN + field.encode("ascii") + b"\x00" + salt + value.encode("utf-8")
    return hashlib.sha256(joined).hexdigest()


class SealedRow(NamedTuple):
    """A row of the table of sealed values, as it lies there."""

    seq: Any
    field: Any
    salt: bytes
    value: str


class SealedValues:
    """The values kept beside the ledger; rows come by their entry's number, never decreasing."""

    def __init__(self, rows: Iterator[SealedRow]) -> None:
        self._rows = rows
        self._next = next(rows, None)
        self._seq = -1
        self._here: dict[Any, tuple[bytes, str]] = {}
        self._named: set[str] = set()
        # Entry and field of what no entry names.
        self.planted: list[tuple[Any, Any]] = []

    def of(self, seq: int) -> Mapping[Any, tuple[bytes, str]]:
        """The values of an entry, by field; entries are asked for in the order of numbers."""
        if seq != self._seq:
            self._leave()
            self._seq = seq
            while (row := self._next) is not None and not _is_beyond(row.seq, seq):
                if row.seq == seq:
                    self._here[row.field] = (row.salt, row.value)
                else:
                    self.planted.append((row.seq, row.field))
                self._next = next(self._rows, None)
        return self._here

    def name(self, field_name: str) -> None:
        """The entry asked for last names a field."""
        self._named.add(field_name)

    def finish(self) -> None:
        """No more entries."""
        self._leave()
        if self._next is not None:
            self.planted += [(row.seq, row.field) for row in (self._next, *self._rows)]

    def _leave(self) -> None:
        self.planted += [(self._seq, name) for name in self._here if name not in self._named]
        self._here, self._named = {}, set()


def _is_beyond(found: Any, seq: int) -> bool:
    """Whether a number as it lies there is none of an entry so far; SQLite sorts text last."""
    return found is not None and not (isinstance(found, (int, float)) and found <= seq)
