"""`check-config`: says every fault of the configuration at once, and changes nothing."""

from __future__ import annotations

from dataclasses import asdict

import click

from bodycam_ingest.cli.context import Context, json_option, pass_context
from bodycam_ingest.cli.output import emit_json, line
from bodycam_ingest.config import digest, examine, load, settings


@click.command("check-config")
@json_option
@pass_context
def command(context: Context, *, as_json: bool) -> int:
    """Check the configuration and report every fault.

    Looks at the file alone; `doctor` looks at the machine and the stores.
    """
    if not as_json:
        config = load(context.config_path)
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
