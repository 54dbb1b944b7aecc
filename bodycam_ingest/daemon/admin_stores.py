"""The admin's admin on the set of stores: retire one, queue what one never got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.db import knownstores, resending
from bodycam_ingest.errors import UnknownSubjectError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from bodycam_ingest.custody.entry import Actor
    from bodycam_ingest.db.ledger import LedgerWriter

# A request does so many pages itself; what is left is the daemon's, page by page.
_PAGE_ITEMS: Final = 200
_PAGES_MAX: Final = 25


class StoreCommands:
    """Carries out what an admin asks of the set of stores.

    Args:
        ledger: the only way to write.
        stores: names of the configured stores.
    """

    def __init__(self, ledger: LedgerWriter, stores: Collection[str]) -> None:
        self._ledger = ledger
        self._stores = frozenset(stores)

    def named(self, store: str | None) -> frozenset[str]:
        """The configured store of that name; all of them for None.

        Raises:
            UnknownSubjectError: no store of that name is configured.
        """
        if store is None:
            return self._stores
        if store not in self._stores:
            known = ", ".join(sorted(self._stores))
            raise UnknownSubjectError(f"no store {store!r}", hint=f"The stores are: {known}.")
        return frozenset({store})

    def retire(self, store: str, reason: str, actor: Actor) -> dict[str, Any]:
        """Give up a store; what waited for it alone is completed.

        Raises:
            UnknownSubjectError: there never was such a store.
            UsageError: it is still configured, or was retired already.
        """
        if store in self._stores:
            raise UsageError(
                f"store {store!r} is in the configuration",
                hint="Take its [[stores]] table out, restart the daemon, then retire it.",
            )
        with self._ledger.transaction() as txn:
            waiting = knownstores.retire(txn, store, reason, actor)
        after, settled = "", 0
        for _ in range(_PAGES_MAX):
            with self._ledger.transaction() as txn:
                done, after = resending.settle_page(txn, after, _PAGE_ITEMS)
            settled += done
            if not after:
                break
        return {
            "store": store,
            "waited_items": waiting.items,
            "waited_bytes": waiting.size_bytes,
            "confirmed_items": settled,
        }

    def backfill(self, store: str | None, actor: Actor) -> dict[str, Any]:
        """Queue what staging still has and a store never got.

        Raises:
            UnknownSubjectError: no store of that name is configured.
        """
        queued = dict.fromkeys(sorted(self.named(store)), 0)
        for name in queued:
            for _ in range(_PAGES_MAX):
                with self._ledger.transaction() as txn:
                    found = resending.backfill_page(txn, name, actor)
                queued[name] += found
                if found < resending.PAGE_ITEMS:
                    break
        return {"queued": queued}
