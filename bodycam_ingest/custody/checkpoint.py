"""Checkpoints as C2SP tlog-checkpoint has them: origin, size and root in a signed note (pure)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bodycam_ingest.custody import note
from bodycam_ingest.custody.merkle import HASH_BYTES
from bodycam_ingest.custody.note import NoteError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bodycam_ingest.custody.note import Signer, VerifierKey

_LINES: Final = 3
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log's name, its entries counted, and the Merkle root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """The note's text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"


def sign(checkpoint: Checkpoint, signers: Sequence[Signer]) -> str:
    """The signed checkpoint."""
    return note.sign(checkpoint.text(), signers)


def parse(text: str) -> Checkpoint:
    """A checkpoint from a note's text; further lines are extensions and are skipped.

    Raises:
        NoteError: it is none.
    """
    lines = text.split("\n")
    if len(lines) <= _LINES or not lines[0]:
        raise NoteError("no checkpoint: it has too few lines")
    origin, size, encoded = lines[:_LINES]
    if not _SIZE.fullmatch(size):
        raise NoteError(f"no checkpoint: {size!r} is no size")
    try:
        root = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise NoteError("no checkpoint: the root is not base64") from error
    if len(root) != HASH_BYTES or base64.b64encode(root).decode("ascii") != encoded:
        raise NoteError("no checkpoint: the root is no SHA-256")
    return Checkpoint(origin, int(size), root)


def verified(signed: str, verifier: VerifierKey, origin: str) -> Checkpoint:
    """The checkpoint in a note, if the log's key signed it and it is this log's.

    Raises:
        NoteError: it is not.
    """
    found = parse(note.verified_text(signed, verifier))
    if found.origin != origin:
        raise NoteError(f"a checkpoint of {found.origin!r}, not of {origin!r}")
    return found
