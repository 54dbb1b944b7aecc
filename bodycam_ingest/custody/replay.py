"""Item states as the ledger's events make them, to be compared with the states kept (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.custody.entry import read_figure
from bodycam_ingest.custody.log_check import Finding
from bodycam_ingest.errors import IllegalTransitionError
from bodycam_ingest.model.lifecycle import ItemEvent, ItemState, advance_item

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bodycam_ingest.custody.entry import Entry

_ITEM: Final = "item:"
_EVENTS: Final = frozenset(ItemEvent)
# These stand once a store; the state moves with the last required one.
_PER_STORE: Final = {
    ItemEvent.STORED: ItemState.VERIFIED,
    ItemEvent.CONFIRMED: ItemState.STORED,
}
_SENT_IN: Final = frozenset(
    {ItemState.VERIFIED, ItemState.STORED, ItemState.CONFIRMED, ItemState.RELEASED}
)
_NAMES_DIGEST: Final = frozenset(
    {ItemEvent.VERIFIED, ItemEvent.STORED, ItemEvent.CONFIRMED, ItemEvent.REINSTATED}
)
_COPY_GONE: Final = frozenset({ItemEvent.COPY_REJECTED, ItemEvent.PURGED, ItemEvent.REQUEUED})
# After these the stores are asked again for what they confirmed before.
_SENT_AGAIN: Final = frozenset({ItemEvent.COPY_REJECTED, ItemEvent.REQUEUED, ItemEvent.REINSTATED})
# An intent, not a step: its outcome is `item.purged`.
_PURGING: Final = "item.purging"
# A store is asked again for one item: what it confirmed counts no longer, until it confirms anew.
_REPEATED: Final = "upload.repeated"


@dataclass(slots=True)
class ItemHistory:
    """What the ledger says of one item.

    Args:
        state: where it stands.
        sha256: digest that was taken while it was read, empty before.
        size_bytes: its length.
        staged: path of its copy, empty when there is none.
        confirmed_seq: entry in which the last required store confirmed it.
        confirmed: key and version by store.
        asked_again: stores whose confirmation may be taken back, until they give it anew.
        purging_seq: entry of the intent to purge its copy.
    """

    state: ItemState | None = None
    sha256: str = ""
    size_bytes: int = -1
    staged: str = ""
    confirmed_seq: int | None = None
    confirmed: dict[str, tuple[str, str]] = field(default_factory=dict)
    asked_again: set[str] = field(default_factory=set)
    purging_seq: int | None = None


@dataclass(frozen=True, slots=True)
class KeptItem:
    """What the state tables say of one item; the arguments mean what they mean above."""

    item_id: str
    state: str
    sha256: str
    size_bytes: int
    staged: str
    confirmed_seq: int | None
    confirmed: Mapping[str, tuple[str, str]]
    purging_seq: int | None


def _completes(data: Mapping[str, Any]) -> bool:
    return bool(data.get("required")) and not data.get("outstanding")


class ItemFold:
    """Takes entries in order and folds them into item histories."""

    def __init__(self) -> None:
        self.histories: dict[str, ItemHistory] = {}
        self.findings: list[Finding] = []

    def take(self, seq: int, entry: Entry) -> None:
        """Fold one entry; those about other things are passed over."""
        subject = entry.position.subject
        if not subject.startswith(_ITEM):
            return
        if entry.type == _PURGING:
            self._fold_purging(seq, subject)
        if entry.type == _REPEATED:
            history = self.histories.setdefault(subject.removeprefix(_ITEM), ItemHistory())
            history.asked_again.add(str(entry.data.get("store")))
        if entry.type not in _EVENTS:
            return
        event = ItemEvent(entry.type)
        history = self.histories.setdefault(subject.removeprefix(_ITEM), ItemHistory())
        data = entry.data
        if self._moves(seq, subject, event, history, data):
            try:
                history.state = advance_item(history.state, event)
            except IllegalTransitionError as error:
                self._find("history_illegal", seq, subject, error.message)
            else:
                if event is ItemEvent.CONFIRMED:
                    history.confirmed_seq = seq
        self._fold_data(seq, subject, event, history, data)

    def _fold_purging(self, seq: int, subject: str) -> None:
        history = self.histories.setdefault(subject.removeprefix(_ITEM), ItemHistory())
        history.purging_seq = seq
        if history.state is not ItemState.RELEASED:
            self._find("history_illegal", seq, subject, f"{_PURGING} in state {history.state}")

    def _moves(
        self,
        seq: int,
        subject: str,
        event: ItemEvent,
        history: ItemHistory,
        data: Mapping[str, Any],
    ) -> bool:
        """Whether an entry is a step of the item, or only of one of its stores."""
        if event not in _PER_STORE:
            return True
        if history.state not in _SENT_IN:
            self._find("history_illegal", seq, subject, f"{event.value} in state {history.state}")
            return False
        # A store that is asked again after the item went on moves nothing.
        return _completes(data) and history.state is _PER_STORE[event]

    def _find(self, code: str, seq: int, subject: str, message: str) -> None:
        self.findings.append(Finding(code, f"entry {seq}: {message}", seq, subject))

    def _fold_data(
        self,
        seq: int,
        subject: str,
        event: ItemEvent,
        history: ItemHistory,
        data: Mapping[str, Any],
    ) -> None:
        if event in {ItemEvent.DISCOVERED, ItemEvent.CHANGED, ItemEvent.ACQUIRED}:
            size_bytes = read_figure(data.get("size_bytes", -1))
            history.size_bytes = size_bytes if isinstance(size_bytes, int) else -1
        if event is ItemEvent.ACQUIRED:
            history.sha256 = data.get("sha256", "")
            history.staged = data.get("staged", "")
        if event in _COPY_GONE:
            history.staged = ""
        if event in _NAMES_DIGEST and data.get("sha256") != history.sha256:
            self._find("digest_changed", seq, subject, "it names another digest than before")
        if event in _SENT_AGAIN:
            history.asked_again |= history.confirmed.keys()
        if event is ItemEvent.CONFIRMED:
            if history.state is ItemState.CONFIRMED and _completes(data):
                # The set of stores changed, or one was asked again: this one is the last now.
                history.confirmed_seq = seq
            store = str(data.get("store"))
            history.confirmed[store] = (str(data.get("key")), str(data.get("version_id", "")))
            history.asked_again.discard(store)

    def compare(self, kept: Iterable[KeptItem]) -> None:
        """Compare with the state tables; findings for every difference."""
        seen = set()
        for item in kept:
            seen.add(item.item_id)
            history = self.histories.get(item.item_id)
            subject = f"{_ITEM}{item.item_id}"
            if history is None:
                self.findings.append(
                    Finding("item_planted", "the ledger knows no such item", subject=subject)
                )
                continue
            self._compare_state(subject, item, history)
            self._compare_uploads(subject, item.confirmed, history)
        for item_id in self.histories.keys() - seen:
            self.findings.append(
                Finding("item_missing", "its row is gone", subject=f"{_ITEM}{item_id}")
            )

    def _compare_state(self, subject: str, item: KeptItem, history: ItemHistory) -> None:
        told = (
            history.state,
            history.sha256,
            history.size_bytes,
            history.staged,
            history.confirmed_seq,
            history.purging_seq,
        )
        is_kept = (
            item.state,
            item.sha256,
            item.size_bytes,
            item.staged,
            item.confirmed_seq,
            item.purging_seq,
        )
        if told != is_kept:
            self.findings.append(
                Finding(
                    "item_differs",
                    f"the state kept is {is_kept}, the ledger says {told}",
                    subject=subject,
                )
            )

    def _compare_uploads(
        self, subject: str, kept: Mapping[str, tuple[str, str]], history: ItemHistory
    ) -> None:
        unproven = {s for s, where in kept.items() if history.confirmed.get(s) != where}
        lost = history.confirmed.keys() - kept.keys() - history.asked_again
        if unproven or lost:
            self.findings.append(
                Finding(
                    "upload_unproven",
                    f"confirmed uploads kept {dict(kept)}, the ledger says {history.confirmed}",
                    subject=subject,
                )
            )
