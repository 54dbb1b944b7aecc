"""Salted commitments: personal values that the ledger can prove and an order can erase (pure)."""

from __future__ import annotations

import hashlib
from typing import Final

SALT_BYTES: Final = 32
_DOMAIN: Final = b"custody-private-v1\x00"


def commitment(field: str, salt: bytes, value: str) -> str:
    """What stands in the ledger for a personal value.

    Args:
        field: the field's name, ASCII.
        salt: 32 random bytes, kept beside the value, outside of the ledger.
        value: the value.

    Returns:
        Hex SHA-256 of the domain, the field, a zero byte, the salt and the value.

    Raises:
        ValueError: the salt has another length.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    joined = _DOMAIN + field.encode("ascii") + b"\x00" + salt + value.encode("utf-8")
    return hashlib.sha256(joined).hexdigest()
