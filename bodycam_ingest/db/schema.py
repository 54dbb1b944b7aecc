"""Every table. The ledger's own tables come first; the rest can be checked against them.

Times are RFC 3339 text in UTC with milliseconds, except `due_ms` (ms since 1970, so that due work
is one indexed comparison). Digests are raw bytes. Camera paths are raw bytes.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# -- the ledger: docs/ledger-format.md is normative ----------------------------------------------

ledger_log: Final = Table(
    "ledger_log",
    metadata,
    Column("log_id", Integer, primary_key=True),
    Column("origin", String(255), nullable=False, unique=True),
    Column("vkey", Text, nullable=False),
)
ledger_head: Final = Table(
    "ledger_head",
    metadata,
    Column("log_id", ForeignKey("ledger_log.log_id"), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("peaks", LargeBinary, nullable=False),
    Column("last", LargeBinary(32), nullable=False),
    Column("checkpoint", Text, nullable=False),
)
ledger_entry: Final = Table(
    "ledger_entry",
    metadata,
    Column("log_id", ForeignKey("ledger_log.log_id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("leaf_hash", LargeBinary(32), nullable=False),
    Column("type", String(64), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("t", String(24), nullable=False),
    Index("ix_ledger_entry_subject", "log_id", "subject", "seq"),
    Index("ix_ledger_entry_type", "log_id", "type", "seq"),
)
ledger_node: Final = Table(
    "ledger_node",
    metadata,
    Column("log_id", ForeignKey("ledger_log.log_id"), primary_key=True),
    Column("level", Integer, primary_key=True),
    Column("idx", BigInteger, primary_key=True),
    Column("hash", LargeBinary(32), nullable=False),
)
ledger_checkpoint: Final = Table(
    "ledger_checkpoint",
    metadata,
    Column("log_id", ForeignKey("ledger_log.log_id"), primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("note", Text, nullable=False),
)
ledger_timestamp: Final = Table(
    "ledger_timestamp",
    metadata,
    Column("log_id", ForeignKey("ledger_log.log_id"), primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("token", LargeBinary, nullable=False),
)
ledger_private: Final = Table(
    "ledger_private",
    metadata,
    Column("log_id", ForeignKey("ledger_log.log_id"), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("field", String(64), primary_key=True),
    Column("salt", LargeBinary(32), nullable=False),
    Column("value", Text, nullable=False),
)

# -- states: each is a fold of the ledger's events, kept for speed -------------------------------

camera: Final = Table(
    "camera",
    metadata,
    Column("camera", String(128), primary_key=True),
    Column("assigned", Boolean, nullable=False),
    Column("profile", String(64), nullable=False),
    Column("officer_seq", BigInteger),
    Column("first_docked_at", String(24), nullable=False),
    Column("last_docked_at", String(24), nullable=False),
)
docking: Final = Table(
    "docking",
    metadata,
    Column("docking_id", String(26), primary_key=True),
    Column("camera", ForeignKey("camera.camera"), nullable=False, index=True),
    Column("bay", String(255), nullable=False),
    Column("volume", String(255), nullable=False),
    Column("mount_path", LargeBinary, nullable=False),
    Column("started_at", String(24), nullable=False),
    Column("ended_at", String(24)),
    Column("end_reason", String(32), nullable=False),
    Column("inventoried", Boolean, nullable=False),
    Column("complete", Boolean, nullable=False),
    Column("inventory_sha256", String(64), nullable=False),
    Column("released_at", String(24)),
    Index("ix_docking_open", "docking_id", sqlite_where=text("ended_at IS NULL")),
)
item: Final = Table(
    "item",
    metadata,
    Column("item_id", String(26), primary_key=True),
    Column("camera", ForeignKey("camera.camera"), nullable=False),
    Column("docking_id", ForeignKey("docking.docking_id"), nullable=False, index=True),
    Column("volume", String(255), nullable=False),
    Column("path", LargeBinary, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("discovered_at", String(24), nullable=False),
    Column("recorded_at", String(32), nullable=False),
    Column("seen_docking_id", String(26), nullable=False),
    Column("seen_mtime_ns", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32)),
    Column("sample_sha256", LargeBinary(32)),
    Column("part_size_bytes", Integer),
    Column("staged_path", String(255), nullable=False),
    Column("verified_seq", BigInteger),
    Column("confirmed_seq", BigInteger),
    Column("released_at", String(24)),
    Column("released_dock_ms", BigInteger),
    Column("purging_seq", BigInteger),
    Column("quarantine_reason", Text, nullable=False),
    Index("ix_item_camera_path", "camera", "path"),
    # What waits, and what `status` counts, without a look at the rows.
    Index("ix_item_state", "state", "camera", "size_bytes"),
    Index("ix_item_sha256", "sha256"),
    Index("ix_item_seen", "seen_docking_id", "state"),
    Index("ix_item_confirmed_seq", "confirmed_seq", sqlite_where=text("state = 'confirmed'")),
    Index("ix_item_purging_seq", "purging_seq", sqlite_where=text("state = 'released'")),
    Index(
        "ix_item_released",
        "released_dock_ms",
        "item_id",
        sqlite_where=text("state = 'released' AND purging_seq IS NULL"),
    ),
)
item_work: Final = Table(
    "item_work",
    metadata,
    Column("item_id", String(26), primary_key=True),
    Column("attempts", Integer, nullable=False),
    Column("due_ms", BigInteger, nullable=False),
    Column("last_error", String(64), nullable=False),
    Index("ix_item_work_last_error", "last_error"),
)
upload: Final = Table(
    "upload",
    metadata,
    Column("item_id", ForeignKey("item.item_id"), primary_key=True),
    Column("store", String(64), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("version_id", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("proof", String(32), nullable=False),
    Column("checksum", Text, nullable=False),
    Column("confirmed_at", String(24), nullable=False),
    Index("ix_upload_store", "store", "state"),
)
upload_work: Final = Table(
    "upload_work",
    metadata,
    Column("item_id", String(26), primary_key=True),
    Column("store", String(64), primary_key=True),
    Column("upload_id", Text, nullable=False, server_default=""),
    Column("completing", Boolean, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("integrity_faults", Integer, nullable=False, server_default=text("0")),
    Column("due_ms", BigInteger, nullable=False, server_default=text("0")),
    Column("first_failed_at", String(24), nullable=False, server_default=""),
    Column("last_error", String(64), nullable=False, server_default=""),
    Column("last_message", Text, nullable=False, server_default=""),
    Index("ix_upload_work_due", "store", "due_ms", "item_id"),
)
upload_part: Final = Table(
    "upload_part",
    metadata,
    Column("item_id", String(26), primary_key=True),
    Column("store", String(64), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("upload_id", Text, nullable=False),
    Column("etag", Text, nullable=False),
)
# Small objects that the daemon itself makes: docking manifests and checkpoints.
metadata_object: Final = Table(
    "metadata_object",
    metadata,
    Column("store", String(64), primary_key=True),
    Column("key", String(512), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("state", String(16), nullable=False),
    # The ledger size that a checkpoint covers; NULL for a manifest.
    Column("ledger_size", BigInteger, index=True),
    # Entry that says so.
    Column("seq", BigInteger, nullable=False),
    Index(
        "ix_metadata_object_anchored",
        "store",
        "ledger_size",
        sqlite_where=text("state = 'confirmed'"),
    ),
    Index("ix_metadata_object_open", "store", "key", sqlite_where=text("state != 'confirmed'")),
)
object_work: Final = Table(
    "object_work",
    metadata,
    Column("store", String(64), primary_key=True),
    Column("key", String(512), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("ledger_size", BigInteger),
    Column("attempts", Integer, nullable=False, default=0),
    Column("due_ms", BigInteger, nullable=False, default=0),
    # The store, or the dock, gave it up: it waits for a person.
    Column("refused", Boolean, nullable=False, default=False),
    Column("last_error", String(64), nullable=False, default=""),
    Column("last_message", Text, nullable=False, default=""),
)
store: Final = Table(
    "store",
    metadata,
    Column("store", String(64), primary_key=True),
    Column("type", String(16), nullable=False),
    # What the store was at first contact; another identity later is an alarm.
    Column("identity", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("left_at", String(24), nullable=False),
    Column("retired_at", String(24), nullable=False),
)
store_work: Final = Table(
    "store_work",
    metadata,
    Column("store", String(64), primary_key=True),
    Column("paused_until_ms", BigInteger, nullable=False, default=0),
    # How often somebody wanted it asked at once.
    Column("lifted", Integer, nullable=False, default=0),
    Column("attempts", Integer, nullable=False, default=0),
    Column("last_error", String(64), nullable=False, default=""),
    Column("last_message", Text, nullable=False, default=""),
    Column("failing_since", String(24), nullable=False, default=""),
    Column("probe", Text, nullable=False, default=""),
    Column("probed_at", String(24), nullable=False, default=""),
)
finding: Final = Table(
    "finding",
    metadata,
    Column("finding_id", String(26), primary_key=True),
    Column("code", String(64), nullable=False),
    # alarm: needs a person and holds up the release it touches; notice: for the record.
    Column("severity", String(16), nullable=False),
    Column("subject", String(128), nullable=False),
    Column("docking_id", String(26)),
    Column("item_id", String(26)),
    Column("detail", Text, nullable=False),
    Column("opened_at", String(24), nullable=False),
    Column("closed_at", String(24)),
    Index("ix_finding_open", "closed_at", "code", "subject"),
)
setting: Final = Table(
    "setting",
    metadata,
    Column("key", String(255), primary_key=True),
    # JSON text; empty when the key was taken out.
    Column("value", Text, nullable=False),
)
dock_clock: Final = Table(
    "dock_clock",
    metadata,
    Column("clock", Integer, primary_key=True),
    Column("boot", String(36), nullable=False),
    Column("mono_ms", BigInteger, nullable=False),
    Column("checked_at", String(24), nullable=False),
    Column("dock_ms", BigInteger, nullable=False),
    Column("vouched", String(16), nullable=False),
    Column("doubt", String(32), nullable=False),
    Column("since", String(24), nullable=False),
)
# Documents that an entry names by their digest, compressed: inventories and manifests.
document: Final = Table(
    "document",
    metadata,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
# Facts about this dock that outlive a process: configuration digest, clock offset, …
dock_fact: Final = Table(
    "dock_fact",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)
