"""The schema with state as a projection of the ledger, as a mark to migrate from.

Databases of the versions before it cannot be brought here: their entries do not tell all that the
tables hold. A new database is made from `schema.metadata` and stamped with the newest version
(`schema_version.create_schema`), so nothing is ever made by this step.

Revision ID: 0003
Revises:
"""

from __future__ import annotations

revision = "0003"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing: every database begins at this version or a later one."""
