"""The schema of the first release, as a mark to migrate from.

A new database is made from `schema.metadata` and stamped with the newest version
(`versions.create_schema`), so nothing is ever made by this step; it must not follow the metadata.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing: every database begins at this version or a later one."""
