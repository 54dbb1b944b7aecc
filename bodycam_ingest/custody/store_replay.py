"""What required stores lack of what the ledger calls confirmed (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bodycam_ingest.custody.replay import ItemHistory

# From here on an item counts as kept by every required store.
_KEPT = frozenset({"confirmed", "released", "purged"})


def lacking(histories: Mapping[str, ItemHistory], required: Iterable[str]) -> dict[str, int]:
    """How many recordings that count as confirmed a store never confirmed, by store.

    Args:
        histories: what the ledger says of each item.
        required: the stores that are required now, whichever were when an item was confirmed.
    """
    kept = [one for one in histories.values() if one.state is not None and one.state.value in _KEPT]
    counts = {store: sum(store not in one.confirmed for one in kept) for store in required}
    return {store: count for store, count in counts.items() if count}
