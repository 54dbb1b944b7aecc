"""The command line: one file a command, loaded only when it is asked for."""

from bodycam_ingest.cli.group import main

__all__ = ["main"]
