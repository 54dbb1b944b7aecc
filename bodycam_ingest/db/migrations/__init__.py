"""Schema versions, oldest first (alembic)."""
