"""How times and states read to people; scripts get them as docs/json.md says."""

from __future__ import annotations

from typing import Final

from bodycam_ingest.linux import clock

_WORDS: Final = {
    "green": "confirmed released purged ok holds running whole complete",
    "yellow": "discovered acquired verified stored reading copied queued sending waiting notice "
    "warn unchecked unknown docked",
    "red": "attention alarm ALARM fail quarantined vanished broken refused FINDING incomplete",
}
_COLOURS: Final = {
    **{word: hue for hue, states in _WORDS.items() for word in states.split()},
    **dict.fromkeys(["NOT RUNNING", "NOT TAKEN"], "red"),
}


def colour(state: str) -> str | None:
    """The colour of a state's word: green is done, yellow is under way, red wants a person."""
    return _COLOURS.get(state)


def local(moment: str | None) -> str:
    """A time of the ledger or a table as people read it: `2026-11-24 20:12:04 +01:00`.

    None or empty gives an empty text, and what is no time stays as it is.
    """
    if not moment:
        return ""
    try:
        found = clock.parse_rfc3339(moment).astimezone()
    except (ValueError, OverflowError):
        return moment
    text = found.isoformat(sep=" ", timespec="seconds")
    # 19 characters of date and time, then the offset.
    return f"{text[:19]} {text[19:]}"
