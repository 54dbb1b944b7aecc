"""The custody ledger's format: entries, Merkle tree, signed notes (pure; docs/ledger-format.md)."""
