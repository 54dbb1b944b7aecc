"""What a handler of one entry is given, and what it returns through it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from bodycam_ingest.errors import LedgerEntryError
from bodycam_ingest.model import rows, subjects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bodycam_ingest.model.rows import Row
    from bodycam_ingest.model.store_set import StoreSet

R = TypeVar(
    "R",
    rows.Camera,
    rows.Docking,
    rows.Item,
    rows.Upload,
    rows.Finding,
    rows.Store,
    rows.MetadataObject,
    rows.Setting,
    rows.DockClock,
)


class State(Protocol):
    """The rows so far. Whoever calls `project` keeps them; what it returns has to be put there."""

    def get(self, kind: type[R], *key: str | int) -> R | None:
        """The row of that key, None when there is none."""
        ...

    def prefetch(self, kind: type[Row], keys: Sequence[str]) -> None:
        """Read many rows at once that `get` is to be asked for."""
        ...

    def stores(self) -> Mapping[str, rows.Store]:
        """Every store's row, by name."""
        ...

    def store_set(self) -> StoreSet:
        """The same stores by what they are now."""
        ...

    def document(self, sha256: str) -> bytes | None:
        """A document that an entry names by its digest; None when it is gone or altered."""
        ...


class Fact(NamedTuple):
    """An entry as far as its projection goes.

    The fields are the entry's own; `first`: it is its subject's first entry.
    """

    seq: int
    t: str
    boot: str
    mono: int
    type: str
    subject: str
    first: bool
    data: Mapping[str, Any]

    @classmethod
    def of(cls, seq: int, value: Mapping[str, Any]) -> Fact:
        """What an entry's object says, which stands at this number."""
        subject = value["subj"]
        first = subject["n"] == 0
        t, boot, mono, kind = value["t"], value["boot"], value["mono"], value["type"]
        return cls(seq, t, boot, mono, kind, subject["id"], first, value["data"])

    @classmethod
    def read(cls, seq: int, body: bytes) -> Fact:
        """An entry from its bytes, which somebody else has held to the format.

        Raises:
            LedgerEntryError: they are none.
        """
        try:
            return cls.of(seq, json.loads(body))
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise LedgerEntryError(f"entry {seq} is none: {error!r:.200}") from error


class Fault(NamedTuple):
    """Something that an entry says and that the entries before it do not allow.

    `code` is one of `verify`'s findings.
    """

    code: str
    message: str


class Projected(NamedTuple):
    """New rows and new versions of rows, in the order in which they apply.

    Faults say why the entry could not stand here: a writer refuses it, `verify` reports it.
    """

    rows: list[Row]
    faults: list[Fault]


class Step:
    """One entry in the hands of its handler."""

    __slots__ = ("data", "fact", "faults", "id", "made", "state", "t")

    def __init__(self, state: State, fact: Fact) -> None:
        self.state = state
        self.fact = fact
        self.data = fact.data
        self.t = fact.t
        self.id = subjects.split(fact.subject)[1]
        self.made: list[Row] = []
        self.faults: list[Fault] = []

    def put(self, row: Row) -> None:
        """Add a row, or a new version of one."""
        self.made.append(row)

    def illegal(self, message: str) -> None:
        """The entry breaks the order of things."""
        self.faults.append(Fault("history_illegal", f"{self.fact.type}: {message}"))

    def docking(self) -> rows.Docking | None:
        """The docking that the entry's data names; a fault where there is none."""
        docking_id = self.data["docking_id"]
        row = self.state.get(rows.Docking, docking_id)
        if row is None:
            self.illegal(f"no docking {docking_id}")
        return row
