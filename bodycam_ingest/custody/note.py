"""Signed notes as C2SP signed-note has them, with Ed25519 (pure).

A note is a text that ends in a newline, a blank line, and one line a signature. Signatures by
keys that the reader does not know are skipped, so that a second key can sign beside the log's.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_ED25519: Final = b"\x01"
_DASH: Final = "\u2014 "
_ID_BYTES: Final = 4
_PUBLIC_BYTES: Final = 32


class NoteError(ValueError):
    """A text is no signed note, or no known key signed it."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key, 32 bytes, under its name: no spaces, no `+`."""

    name: str
    public: bytes

    def key_id(self) -> bytes:
        """The first four bytes of SHA-256(name || 0x0a || 0x01 || public key)."""
        joined = self.name.encode() + b"\n" + _ED25519 + self.public
        return hashlib.sha256(joined).digest()[:_ID_BYTES]

    def vkey(self) -> str:
        """The verifier key as text: `name+id+base64`."""
        encoded = base64.b64encode(_ED25519 + self.public).decode("ascii")
        return f"{self.name}+{self.key_id().hex()}+{encoded}"

    @classmethod
    def parse(cls, vkey: str) -> VerifierKey:
        """The key that `vkey` wrote.

        Raises:
            NoteError: it is no Ed25519 verifier key.
        """
        try:
            name, key_id, encoded = vkey.split("+", 2)
            raw = base64.b64decode(encoded, validate=True)
        except ValueError as error:
            raise NoteError(f"no verifier key: {vkey!r}") from error
        found = cls(name, raw[1:])
        if raw[:1] != _ED25519 or len(found.public) != _PUBLIC_BYTES:
            raise NoteError(f"no Ed25519 key: {vkey!r}")
        if found.key_id().hex() != key_id:
            raise NoteError(f"the key's id does not fit: {vkey!r}")
        return found


@dataclass(frozen=True, slots=True)
class Signer:
    """A private key under its name: no spaces, no `+`."""

    name: str
    private: Ed25519PrivateKey

    def verifier(self) -> VerifierKey:
        """The public half."""
        return VerifierKey(self.name, self.private.public_key().public_bytes_raw())

    def line(self, text: str) -> str:
        """The signature line for a text that ends in a newline."""
        signature = self.private.sign(text.encode())
        encoded = base64.b64encode(self.verifier().key_id() + signature).decode("ascii")
        return f"{_DASH}{self.name} {encoded}\n"


def sign(text: str, signers: Sequence[Signer]) -> str:
    """A signed note, its signatures in the order of the signers.

    Raises:
        NoteError: the text does not end in one newline.
    """
    if not text.endswith("\n") or text.endswith("\n\n") or text == "\n":
        raise NoteError("a note's text ends in one newline")
    return text + "\n" + "".join(signer.line(text) for signer in signers)


def verified_text(note: str, verifier: VerifierKey) -> str:
    """The text of a note that a key signed; other signatures may stand beside.

    Raises:
        NoteError: it is no note, or that key's signature is missing or bad.
    """
    text, separator, signatures = note.rpartition("\n\n")
    if not separator or not signatures.endswith("\n"):
        raise NoteError("no signed note")
    if any(c < " " and c != "\n" for c in note):
        raise NoteError("no signed note: it has control characters")
    text += "\n"
    good = False
    for line in signatures[:-1].split("\n"):
        good |= _check_line(line, text, verifier)
    if not good:
        raise NoteError(f"not signed by {verifier.name}")
    return text


def _check_line(line: str, text: str, verifier: VerifierKey) -> bool:
    """Whether a line is this key's good signature; raises where it is this key's and bad."""
    if not line.startswith(_DASH):
        raise NoteError("a line among the signatures is none")
    name, _, encoded = line[len(_DASH) :].partition(" ")
    try:
        raw = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise NoteError("a signature is not base64") from error
    if name != verifier.name or raw[:_ID_BYTES] != verifier.key_id():
        return False
    try:
        Ed25519PublicKey.from_public_bytes(verifier.public).verify(raw[_ID_BYTES:], text.encode())
    except InvalidSignature as error:
        raise NoteError(f"the signature by {verifier.name} is bad") from error
    return True
