"""What the ledger's entries make of the dock's tables: one pure function.

Facts are entries; every table that people read, or that a release, a purge, an upload or
known-ness is decided from, holds rows that `project` computed from entries, and nothing else. The
same function serves the writer (in the transaction that appends), `verify` (project again, compare
every row) and `migrate` (drop the rows, project anew). docs/decisions/0019-state-is-a-projection.md
"""

from bodycam_ingest.custody.projection.engine import project
from bodycam_ingest.custody.projection.items import waits_for
from bodycam_ingest.custody.projection.step import Fact, Fault, Projected, State

__all__ = ["Fact", "Fault", "Projected", "State", "project", "waits_for"]
