"""What every command is given: where the configuration is, and the parts it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from bodycam_ingest.config import Config

CONFIG_PATH_DEFAULT: Final = Path("/etc/bodycam-ingest/config.toml")


@dataclass(frozen=True, slots=True)
class Context:
    """The command line's own options; commands get it with `@pass_context`.

    Args:
        config_path: the configuration file as named by option, environment or default.
    """

    config_path: Path

    def load(self) -> Config:
        """Read the configuration.

        Raises:
            ConfigError: it is unreadable or has faults.
        """
        from bodycam_ingest.config import load  # noqa: PLC0415 - pydantic only where it is needed

        return load(self.config_path)


pass_context = click.make_pass_decorator(Context)

json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON value on standard output."
)
