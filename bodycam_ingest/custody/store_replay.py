"""What the ledger says of the stores: which were given up, what required ones lack (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bodycam_ingest.custody.entry import Entry
    from bodycam_ingest.custody.replay import ItemHistory

_ADDED = "store.added"
_RETIRED = "store.retired"
_PINNED = "store.pinned"
# From here on an item counts as kept by every required store.
_KEPT = frozenset({"confirmed", "released", "purged"})


class StoreFold:
    """Takes entries in order; remembers who each store is and which a person gave up for good."""

    def __init__(self) -> None:
        self.retired: set[str] = set()
        self.pinned: dict[str, str] = {}

    def take(self, entry: Entry) -> None:
        """Fold one entry; those about other things are passed over."""
        if entry.type == _RETIRED:
            self.retired.add(str(entry.data.get("store")))
        elif entry.type == _ADDED:
            self.retired.discard(str(entry.data.get("store")))
        elif entry.type == _PINNED:
            self.pinned[str(entry.data.get("store"))] = str(entry.data.get("identity"))


def lacking(histories: Mapping[str, ItemHistory], required: Iterable[str]) -> dict[str, int]:
    """How many recordings that count as confirmed a store never confirmed, by store.

    Args:
        histories: what the ledger says of each item.
        required: the stores that are required now, whichever were when an item was confirmed.
    """
    kept = [one for one in histories.values() if one.state is not None and one.state.value in _KEPT]
    counts = {store: sum(store not in one.confirmed for one in kept) for store in required}
    return {store: count for store, count in counts.items() if count}
