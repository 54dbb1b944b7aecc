"""The first schema.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from alembic import op

from bodycam_ingest.db.guards import GUARDS
from bodycam_ingest.db.schema import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make every table and guard."""
    metadata.create_all(op.get_bind())
    for statement in GUARDS.values():
        op.execute(statement)
