"""What sets a dock up: `init`, `run`, `migrate`, `check-config`, `example-config`, `version`."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import platform
import sqlite3
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

import bodycam_ingest
from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import answer, emit_json, line

_GIT_WITHIN_S: Final = 5.0


@click.command("init")
@pass_context
def init(context: Context) -> None:
    """Make state directory, keys and ledger; never over an existing one.

    Also makes the staging directory, and prepares each directory store; its directory must be
    there, because a path that is missing is most often a file system that is not mounted.
    """
    from bodycam_ingest.db.state_dir import initialise  # noqa: PLC0415 - alembic
    from bodycam_ingest.stores import prepare_store  # noqa: PLC0415 - botocore

    config = context.config
    config.staging.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    for store in config.stores:
        prepared = prepare_store(store)
        if prepared:
            line(f"store {store.name}: {prepared}")
    # Last: where a store is not there yet, `init` can simply be run again.
    vkey = initialise(config.dock.state_dir, config.origin)
    line(f"state directory: {config.dock.state_dir}")
    line(f"ledger: {config.origin}")
    line(f"verifier key, to be kept off this machine: {vkey}")


@click.command("run")
@pass_context
def run(context: Context) -> int:
    """Run the daemon until SIGTERM; SIGHUP reads the configuration again."""
    from bodycam_ingest import daemon  # noqa: PLC0415 - everything hangs on it

    return daemon.run(context.config_path)


@click.command("migrate")
@click.option("--check", is_flag=True, help="Only say whether there is anything to do.")
@json_option
@pass_context
def migrate(context: Context, *, check: bool, as_json: bool) -> None:
    """Bring the database to this version's schema, on a copy.

    Stop the daemon first. The old database is kept beside the new one; ledger entries are never
    changed, so every signature stays valid.
    """
    from bodycam_ingest.db import migrate as database  # noqa: PLC0415 - alembic

    look = database.standing if check else database.migrate
    found = look(context.config.dock.state_dir)
    told = f"schema {found.before} -> {found.after}"
    if found.before == found.after:
        told = f"schema {found.after}: nothing to do"
    elif check:
        told += ": stop the daemon, migrate, start it again"
    else:
        told += f"; the old database is kept as {found.backup}"
    answer(asdict(found), told, as_json=as_json)


@click.command("check-config")
@json_option
@pass_context
def check_config(context: Context, *, as_json: bool) -> int:
    """Check the configuration and report every fault.

    Looks at the file alone; `doctor` looks at the machine and the stores.
    """
    from bodycam_ingest.config import digest, examine, settings  # noqa: PLC0415 - pydantic

    if not as_json:
        config = context.config
        stores = ", ".join(store.name for store in config.stores)
        line(f"{config.path} holds: stores {stores}, ledger {config.origin}")
        return 0
    found, faults = examine(context.config_path)
    emit_json(
        {
            "result": "holds" if found else "broken",
            "path": context.config_path.absolute(),
            "digest": digest(settings(found)) if found else None,
            "faults": [asdict(fault) for fault in faults],
        }
    )
    return 0 if found else 2


@click.command("example-config")
def example_config() -> None:
    """Print an example of the configuration, with every key.

    What has to be set is set; everything else stands there as a comment, with its default.
    """
    text = importlib.resources.files("bodycam_ingest").joinpath("config.example.toml")
    click.echo(text.read_text(encoding="utf-8"), nl=False)


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
def version(*, as_json: bool) -> None:
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
