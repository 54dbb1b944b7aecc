"""What the ledger's entries make of the dock's tables: one pure function, and nothing else does.

It serves the writer, `verify` and `migrate` alike: docs/decisions/0019-state-is-a-projection.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bodycam_ingest.custody.projection import dock, items
from bodycam_ingest.custody.projection.items import waits_for
from bodycam_ingest.custody.projection.step import Fact, Fault, Projected, State, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Fact", "Fault", "Projected", "State", "project", "waits_for"]

_HANDLERS: Final[Mapping[str, Callable[[Step], None]]] = {**dock.HANDLERS, **items.HANDLERS}
# Data that this program never wrote: another field, another kind of value.
_STRANGE: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def project(state: State, fact: Fact) -> Projected:
    """What an entry makes of the rows so far.

    Pure and deterministic: the same entries in the same order give the same rows, whenever and by
    whichever program they are taken. Types without a handler change nothing.

    The state is read, never changed.
    """
    handler = _HANDLERS.get(fact.type)
    if handler is None:
        return Projected([], [])
    step = Step(state, fact)
    try:
        handler(step)
    except _STRANGE as error:
        step.faults.append(Fault("entry_malformed", f"{fact.type}: its data: {error!r:.200}"))
    return Projected(step.made, step.faults)
