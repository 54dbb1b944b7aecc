"""Which stores an item waits for: decided from the stores of now and from what each one reached.

No upload's row says who is required, the configuration of now does. A store taken out of it still
holds up what had been queued for it, until a person retires it: a recording that was to lie in two
places is not called safe in one because a file was edited (pure).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bodycam_ingest.model.rows import Store


@dataclass(frozen=True, slots=True)
class StoreSet:
    """The stores that were ever in the configuration, by what they are now.

    Args:
        required: in the configuration, required.
        left: taken out of it while required, and not retired.
        passed: all others: optional, retired, or taken out while optional.
    """

    required: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    passed: frozenset[str] = frozenset()

    def waits_for(self, reached: Mapping[str, bool], *, but: str = "") -> list[str]:
        """The stores that an item still waits for, sorted.

        Args:
            reached: whether the item got as far as is asked for, by store that it was queued for.
            but: a store left out, because it is getting there now.
        """
        wanted = self.required | (self.left & reached.keys())
        return sorted(store for store in wanted - {but} if not reached.get(store))


def store_set(stores: Iterable[Store]) -> StoreSet:
    """The stores by what they are now; those that no start of the daemon has noted are left out."""
    required, left, passed = set(), set(), set()
    for row in stores:
        if row.required and row.configured:
            required.add(row.store)
        elif row.required and not row.retired_at:
            left.add(row.store)
        elif row.role:
            passed.add(row.store)
    return StoreSet(frozenset(required), frozenset(left), frozenset(passed))
