"""What `doctor` asks with the daemon's own code: would `run` take this ledger and these stores.

The daemon lives in a sandbox and has keys that a command at a terminal has not. Where it runs, it
is asked; where it does not, what only it could tell is "not checked" and never "fit".
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bodycam_ingest.config import S3StoreConfig
from bodycam_ingest.daemon import control
from bodycam_ingest.doctor.machine import space
from bodycam_ingest.doctor.result import Check, Outcome, fail, judge, ok, warn
from bodycam_ingest.errors import IngestError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bodycam_ingest.config import Config
    from bodycam_ingest.config.stores import DirectoryStoreConfig
    from bodycam_ingest.model.evidence import StoreProbe

_UNIT: Final = "bodycam-ingest.service"
_SYSTEMCTL_TIMEOUT_S: Final = 5.0
_STORE_FREE_BYTES_MIN: Final = 10_000_000_000
_CREDENTIALS_OF_UNITS: Final = Path("/run/credentials")


def ledger(config: Config) -> Check:
    """Whether the daemon would continue this ledger, asked as it asks itself at its start."""
    from bodycam_ingest.db.state_dir import examine  # noqa: PLC0415 - sqlalchemy

    name = "ledger"
    try:
        head = examine(config.dock.state_dir, config.origin)
    except IngestError as error:
        return fail(name, error.message, error.hint)
    return ok(name, f"{config.origin}, {head.size} entries")


def stores(config: Config) -> Iterator[Check]:
    """Whether each store answers, is the one that it was, and what it really verifies."""
    daemon = _daemons_view(config)
    sandbox = _sandbox()
    pinned = _pinned(config)
    for wanted in config.stores:
        name = f"stores.{wanted.name}"
        bad = Outcome.FAIL if wanted.required else Outcome.WARN
        told = daemon.get(wanted.name)
        missing = _only_the_service_has(wanted) if isinstance(wanted, S3StoreConfig) else ""
        if missing:
            yield _from_daemon(name, told, bad, missing)
            continue
        yield _asked(wanted, name, bad, pinned.get(wanted.name, ""))
        if told is not None and told.get("last_error"):
            yield _from_daemon(f"{name}.daemon", told, bad, "")
        if not isinstance(wanted, S3StoreConfig):
            yield from _archive(wanted, name, bad, sandbox, in_daemon=told is not None)


def _asked(wanted: Any, name: str, bad: Outcome, pinned: str) -> Check:
    from bodycam_ingest.stores import open_store  # noqa: PLC0415 - botocore

    try:
        with contextlib.closing(open_store(wanted)) as store:
            # Before first contact nobody knows what it should be, and asking could mark it.
            identity = store.identity() if pinned else ""
            if identity != pinned:
                return Check(
                    name,
                    bad,
                    f"it is {identity}, it was {pinned} at first contact",
                    "Another bucket or disk stands where this store was. Bring the old one back, "
                    "or give the new one a name of its own.",
                )
            found = store.probe()
    except IngestError as error:
        return Check(name, bad, error.message, error.hint)
    return judge(
        name,
        _promises(found),
        good=found.verifies_checksum or found.verifies_payload or found.reads_back,
        bad=Outcome.FAIL,
        todo="This store can prove nothing about what it holds; use another.",
    )


def _promises(found: StoreProbe) -> str:
    kept = [
        words
        for holds, words in (
            (found.verifies_checksum, "refuses wrong checksums"),
            (found.verifies_payload, "refuses wrong payloads"),
            (found.returns_checksum, "tells the digest it holds"),
            (found.reads_back, "is confirmed by reading back"),
        )
        if holds
    ]
    return ", ".join(kept) or "verifies nothing"


def _pinned(config: Config) -> dict[str, str]:
    """What each store was at first contact; empty where no database says."""
    from bodycam_ingest.db.projected import read_stores  # noqa: PLC0415 - sqlalchemy
    from bodycam_ingest.db.reading import open_for_reading  # noqa: PLC0415 - the same

    try:
        engine = open_for_reading(config.dock.state_dir)
    except IngestError:
        # The ledger's own check says so.
        return {}
    try:
        with engine.connect() as conn:
            return {name: row.identity for name, row in read_stores(conn).items()}
    except IngestError:
        return {}
    finally:
        engine.dispose()


# -- what only the service knows --


def _daemons_view(config: Config) -> dict[str, Mapping[str, Any]]:
    """What the running daemon says of its stores, by name; empty where none answers."""
    try:
        status = control.ask(config.dock.state_dir, control.StatusRequest())
    except IngestError:
        return {}
    return {str(store.get("store")): store for store in (status or {}).get("stores", ())}


def _only_the_service_has(wanted: S3StoreConfig) -> str:
    """The keys of a store that exist inside of the service alone, empty where they are here."""
    credentials = wanted.credentials
    if credentials.source == "environment":
        names = (credentials.access_key_variable, credentials.secret_key_variable)
        missing = [name for name in names if not os.environ.get(name)]
        return f"its keys are not in this environment ({', '.join(missing)})" if missing else ""
    if credentials.source == "file":
        path = credentials.path
        if path.is_relative_to(_CREDENTIALS_OF_UNITS) and not os.access(path, os.R_OK):
            return f"its keys are the service's alone ({path})"
    return ""


def _from_daemon(name: str, told: Mapping[str, Any] | None, bad: Outcome, missing: str) -> Check:
    """A store as the daemon sees it, from inside of its sandbox and with its keys."""
    if told is None:
        return warn(
            name,
            f"not checked: {missing}; only the service has them",
            "Start the service, then run doctor again: it asks the daemon.",
        )
    if told.get("last_error"):
        return Check(
            name,
            bad,
            f"the running daemon: {told['last_error']}: {told.get('last_message') or ''}",
            "Fix what it says, then `bodycam-ingest retry` has it tried at once.",
        )
    if not told.get("identity"):
        return warn(
            name,
            "not checked: the running daemon had nothing to send to it yet",
            "Dock a camera, then run doctor again.",
        )
    return ok(name, "the running daemon reaches it")


def _sandbox() -> Mapping[str, str] | None:
    """The service's sandbox as systemd knows it; empty where it has none, None if untold."""
    wanted = ("LoadState", "ProtectSystem", "ReadWritePaths", "StateDirectory")
    command = ["systemctl", "show", _UNIT, *(f"--property={name}" for name in wanted)]
    try:
        done = subprocess.run(  # noqa: S603 - constant words
            command, capture_output=True, text=True, timeout=_SYSTEMCTL_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        return {}
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return found if found.get("LoadState") == "loaded" else {}


def _archive(
    wanted: DirectoryStoreConfig,
    name: str,
    bad: Outcome,
    sandbox: Mapping[str, str] | None,
    *,
    in_daemon: bool,
) -> Iterator[Check]:
    """A directory store's room, and whether the service may write there."""
    try:
        yield space(f"{name}.free", wanted.path, _STORE_FREE_BYTES_MIN, Outcome.WARN)
    except OSError:
        # That it cannot be reached is said already.
        return
    if not sandbox:
        if sandbox is None and not in_daemon:
            yield warn(
                f"{name}.sandbox",
                "not checked inside of the service's sandbox",
                "Where the daemon runs as a service, look at ReadWritePaths of its unit.",
            )
        return
    yield judge(
        f"{name}.sandbox",
        "the service may write there"
        if writable_in(sandbox, wanted.path)
        else f"{wanted.path} is read-only for the service",
        good=writable_in(sandbox, wanted.path),
        bad=bad,
        todo=f"systemctl edit {_UNIT}: [Service], ReadWritePaths={wanted.path}; then restart it.",
    )


def writable_in(sandbox: Mapping[str, str], path: Path) -> bool:
    """Whether a unit's sandbox, as `systemctl show` tells it, lets it write below a path."""
    if sandbox.get("ProtectSystem") not in {"strict", "full", "yes"}:
        return True
    allowed = [
        Path(re.sub(r"^[-+]+", "", word)) for word in sandbox.get("ReadWritePaths", "").split()
    ]
    allowed += [Path("/var/lib", word) for word in sandbox.get("StateDirectory", "").split()]
    if any(path.is_relative_to(place) for place in allowed):
        return True
    # "full" and "yes" leave everything but the system's own directories writable.
    closed = [Path(one) for one in ("/usr", "/boot", "/efi", "/etc")]
    strict = sandbox["ProtectSystem"] == "strict"
    return not strict and not any(path.is_relative_to(place) for place in closed)
