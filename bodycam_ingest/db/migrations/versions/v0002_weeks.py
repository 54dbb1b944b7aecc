"""Indexes for what is asked after every commit.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Literal and never changed once released: it must not follow `schema.metadata`. A column that is
# added NOT NULL has the same server_default here and there; `ALTER TABLE ADD COLUMN` keeps the
# guards, a table that is made anew (`batch_alter_table`) would lose them.
_STATEMENTS = (
    "CREATE INDEX ix_docking_open ON docking (docking_id) WHERE ended_at IS NULL",
    "CREATE INDEX ix_inventory_item_id ON inventory (item_id)",
    "CREATE INDEX ix_item_confirmed_seq ON item (confirmed_seq) WHERE state = 'confirmed'",
    "CREATE INDEX ix_item_purging_seq ON item (purging_seq) WHERE state = 'released'",
    "ALTER TABLE item ADD COLUMN released_dock_ms BIGINT",
    """CREATE INDEX ix_item_released ON item (released_dock_ms, item_id)
    WHERE state = 'released' AND purging_seq IS NULL""",
    """CREATE INDEX ix_item_purge_due ON item (due_ms, item_id)
    WHERE state = 'released' AND purging_seq IS NOT NULL""",
    "CREATE INDEX ix_outbox_ledger_size ON outbox (kind, ledger_size)",
    "CREATE INDEX ix_outbox_anchored ON outbox (store, ledger_size) WHERE state = 'confirmed'",
    """CREATE INDEX ix_upload_unsettled ON upload (required)
    WHERE state NOT IN ('confirmed', 'refused')""",
    # A confirmed object is known by its digest; its bytes stand in the store.
    "UPDATE outbox SET body = x'' WHERE state = 'confirmed'",
    "ALTER TABLE store_state ADD COLUMN role VARCHAR(16) DEFAULT '' NOT NULL",
    "ALTER TABLE store_state ADD COLUMN left_at VARCHAR(24) DEFAULT '' NOT NULL",
    "ALTER TABLE store_state ADD COLUMN retired_at VARCHAR(24) DEFAULT '' NOT NULL",
    # Every store that anything was ever queued for counts as configured until the next start.
    """INSERT INTO store_state
        (store, identity, paused_until_ms, attempts, last_error, last_message, failing_since,
        probe, probed_at)
    SELECT DISTINCT store, '', 0, 0, '', '', '', '', '' FROM upload
    WHERE store NOT IN (SELECT store FROM store_state)""",
    """UPDATE store_state SET role = CASE WHEN EXISTS
        (SELECT 1 FROM upload WHERE upload.store = store_state.store AND upload.required)
    THEN 'required' ELSE 'optional' END""",
)


def upgrade() -> None:
    """From the first release."""
    for statement in _STATEMENTS:
        op.execute(statement)
