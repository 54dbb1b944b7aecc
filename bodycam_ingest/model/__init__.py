"""The values and tables that every stage speaks of: states, digests, keys, waits (pure)."""
