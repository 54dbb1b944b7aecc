"""Writes the generated parts of the documents: `make docs`. With `--check` it only compares.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bodycam_ingest import errors
from bodycam_ingest.model import lifecycle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DOCS: Final = Path(__file__).parent


def exit_codes() -> str:
    """The table of exit codes, from the error classes."""
    rows = ["| exit code | fault | what is done with it | meaning | what to do |"]
    rows.append("|---|---|---|---|---|")
    for fault in sorted(errors.all_error_classes(), key=lambda f: (f.exit_code, f.code)):
        meaning = (fault.__doc__ or "").split("\n", maxsplit=1)[0].replace("|", "\\|")
        done = fault.disposition.value
        if fault.disposition is errors.Disposition.RETRY:
            done += f" ({fault.delay_class.value})"
        hint = fault.default_hint.replace("|", "\\|")
        rows.append(f"| {fault.exit_code} | `{fault.code}` | {done} | {meaning} | {hint} |")
    return "\n".join(rows)


def _diagram(text: str) -> str:
    return f"```mermaid\n{text.rstrip()}\n```"


PARTS: Final[Mapping[str, tuple[str, Callable[[], str]]]] = {
    "exit codes": ("exit-codes.md", exit_codes),
    "item states": ("states.md", lambda: _diagram(lifecycle.mermaid(lifecycle.ITEM_TRANSITIONS))),
    "upload states": (
        "states.md",
        lambda: _diagram(lifecycle.mermaid(lifecycle.UPLOAD_TRANSITIONS)),
    ),
}


def renewed(name: str, text: str) -> str:
    """A document's text with one part made anew.

    Args:
        name: the part's name in `PARTS`.
        text: the whole document.

    Raises:
        ValueError: the document has no place for the part.
    """
    start, end = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"no place for {name!r}: {start}")
    part = f"{start}\n{PARTS[name][1]()}\n{end}"
    return pattern.sub(lambda _found: part, text)


def main(arguments: list[str]) -> int:
    """Write or compare; 1 when something was out of date with `--check`."""
    stale = []
    for name, (file_name, _make) in PARTS.items():
        path = DOCS / file_name
        text = path.read_text(encoding="utf-8")
        fresh = renewed(name, text)
        if fresh == text:
            continue
        stale.append(f"{file_name}: {name}")
        if "--check" not in arguments:
            path.write_text(fresh, encoding="utf-8")
    for each in stale:
        sys.stderr.write(("out of date" if "--check" in arguments else "written") + f": {each}\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
