"""`version`: what a report about the program should say."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import sqlite3
import subprocess
from pathlib import Path
from typing import Final

import click

import bodycam_ingest
from bodycam_ingest.cli.context import json_option
from bodycam_ingest.cli.output import emit_json, line

_GIT_WITHIN_S: Final = 5.0


def _commit() -> str | None:
    """The commit that was installed or is checked out; None where nobody knows."""
    try:
        told = importlib.metadata.distribution("bodycam-ingest").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        told = None
    commit = json.loads(told or "{}").get("vcs_info", {}).get("commit_id")
    if commit:
        return str(commit)
    checkout = Path(bodycam_ingest.__file__).parent.parent
    if not (checkout / ".git").exists():
        return None
    try:
        done = subprocess.run(  # noqa: S603 - our own words
            ["git", "-C", str(checkout), "rev-parse", "HEAD"],  # noqa: S607 - found on the PATH
            capture_output=True,
            text=True,
            timeout=_GIT_WITHIN_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@click.command("version")
@json_option
def command(*, as_json: bool) -> None:
    """Show the versions of the program and of what it stands on."""
    told = {
        "version": bodycam_ingest.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "botocore": importlib.metadata.version("botocore"),
        "system": platform.platform(),
    }
    if as_json:
        emit_json(told)
        return
    line(f"bodycam-ingest {told['version']}")
    for name in ("commit", "python", "sqlite", "botocore", "system"):
        line(f"  {name:<8}  {told[name] or 'not known'}")
